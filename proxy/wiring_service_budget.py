"""Budgets of services across restarts: what was used is kept, and recounted from the log after a crash.

Decided: as with the budgets of tasks, the log is the authority and the task file holds the same figures, so
that an orderly start need not read the log. A boot keeps its own figures and at its start takes over those
of all others; so two sidecars on one state directory count separately while both run.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from proxy.audit.canonical import Json
from proxy.audit.record import Record
from proxy.identity.principal import Principal
from proxy.policy.catalogue import Service
from proxy.policy.price import cost
from proxy.policy.service_budget import Used
from proxy.policy.tally import Account, Kept, Tally
from proxy.policy.window import Left, Subject, Taken, Windows
from proxy.store.tasks import TaskBook, TaskStore, TaskStoreError

_EVERY_S = 1.0
_SET_BACK_S = 60  # less is a clock being kept right


class _Counted(NamedTuple):
    windows: Windows
    service: Service
    taken: Taken


def recount_services(path: Path, records: Iterable[Record], services: Iterable[Service]) -> None:
    """After a crash: make the task file know what the records say was used, by the budgets of today.

    A call counts in the window in which it was recorded, also one that was given back later.

    :raises TaskStoreError: if it cannot be written.
    """
    budgeted = {service.name: service for service in services if service.budgets}
    if not budgeted:
        return
    boots: dict[str, Windows] = {}
    calls: dict[str, _Counted] = {}  # by decision, until their outcome
    for record in records:
        if record.kind == "decision" and record.effect == "allow":
            why, links = _object(record.raw, "why"), _links(record)
            service = budgeted.get(str(why.get("service")))
            if service is not None:
                windows = boots.setdefault(record.boot, Windows())
                taken = windows.count(service, links, record.time // 1_000_000_000)
                calls[record.id] = _Counted(windows, service, taken)
        elif record.kind == "outcome" and (call := calls.pop(record.decision_id, None)) is not None:
            used, price = _used(record, call.service)
            call.windows.add(call.taken, used, price)
    with TaskStore.open(path) as store:
        for boot, windows in boots.items():
            store.raise_service_usage(boot, windows.changed(0))


def services_left(
    services: Iterable[Service], windows: Windows, principal: Principal, now: int
) -> dict[str, tuple[Left, ...]]:
    """By service, what is left for a principal of the budgets of those that its task was given."""
    granted = principal.right.services
    return {
        service.name: windows.left(service, principal.chain, now)
        for service in services
        if service.budgets and (granted is None or service.name in granted)
    }


def _object(holder: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _links(record: Record) -> list[Subject]:
    """The chain that a call was charged to."""
    chain = _object(record.raw, "who").get("chain")
    return [
        Subject(str(link["agent"]), str(link["task"]))
        for link in (chain if isinstance(chain, list) else ())
        if isinstance(link, dict) and "agent" in link and "task" in link
    ]


def _used(record: Record, service: Service) -> tuple[Used, int]:
    """What a call has used, and what it cost: as it was recorded, else by the prices of today."""
    what = _object(record.raw, "what")
    told = _object(what, "used")
    model = told.get("model")
    used = Used(
        octets=_number(what, "bytes_up") + _number(what, "bytes_down"),
        input_tokens=_number(told, "input_tokens"),
        output_tokens=_number(told, "output_tokens"),
        model=model if isinstance(model, str) else "",
    )
    price = told.get("cost")
    return used, price if type(price) is int else cost(used, service.prices) or 0


def _number(holder: Mapping[str, Json], name: str) -> int:
    value = holder.get(name)
    return value if type(value) is int else 0


class ServiceKeeper:
    """Keeps what was used of services, every second in which it has changed. Made by ``start``."""

    def __init__(
        self, book: TaskBook, windows: Windows, alarm: Callable[[str], None], now: Callable[[], float]
    ) -> None:
        self._book = book
        self._windows = windows
        self._alarm = alarm
        self._now = now
        self._failed = self._set_back = False
        self._pending: dict[tuple[Account, int, int], Tally] = {}  # not kept yet
        self._task = asyncio.get_running_loop().create_task(self._run())

    @classmethod
    async def start(
        cls,
        book: TaskBook,
        windows: Windows,
        alarm: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> Self:
        """Restore what earlier runs used, before anybody calls; from then on keep what this one does.

        :raises TaskStoreError: if it cannot be read.
        """
        windows.restore(await book.ask(lambda store: store.service_usage(book.boot)))
        book.on_end(lambda task: windows.forget(task.id))
        return cls(book, windows, alarm, now)

    async def close(self) -> None:
        """Keep what is left, and stop."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._keep()

    async def _run(self) -> None:
        while True:
            self._watch_clock()
            await asyncio.sleep(_EVERY_S)
            await self._keep()

    async def _keep(self) -> None:
        changed = self._windows.changed(int(self._now()))
        self._pending |= {(one.account, one.length, one.begin): one for one in changed.tallies}
        if not self._pending:
            return
        kept = Kept(changed.seen, tuple(self._pending.values()))
        try:
            await self._book.ask(lambda store: store.keep_service_usage(self._book.boot, kept))
        except TaskStoreError as error:
            if not self._failed:  # once: the figures are in the log as well
                self._alarm(f"what was used of services cannot be kept: {error}")
            self._failed = True
        else:
            self._pending.clear()

    def _watch_clock(self) -> None:
        behind = self._windows.behind(int(self._now()))
        if behind > _SET_BACK_S and not self._set_back:
            self._alarm(
                f"the clock was set back by {behind} seconds: until it has caught up, "
                "no budget of a service begins anew"
            )
        self._set_back = behind > _SET_BACK_S
