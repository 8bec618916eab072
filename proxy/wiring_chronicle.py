"""What the log tells of tasks and orders: a record for every change in the task file, whoever made it.

Commands change the file while no sidecar runs, and in quicker succession than one looks. So the records are
made from the file's own history, in its order, and the main log keeps a mark there: the change up to which
its records are durable. A start goes on behind the mark; what had happened before it is told with ``late``
and the time, ``at_ns``. The logs of further sidecars of a state directory keep no mark: they tell what
happens while they live.

Decided: the mark moves once a second, and only over records that are durable, because one that moved first
would lose what a crash takes from the log. After a crash the next start may tell again what was told since
the mark moved last: a change is told at least once, and exactly once where every stop was orderly.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial

from proxy.audit.canonical import Json
from proxy.control.operations import RevokeReport
from proxy.engine.scribe import Scribe
from proxy.identity.principal import TaskState
from proxy.identity.revocation import Kind, Order
from proxy.store.task_history import Ended, Event, Lifted, Opened, Ordered, Place
from proxy.store.tasks import StoredTask, TaskBook, TaskStore, TaskStoreError
from proxy.wiring_parts import task_event

_EVERY_S = 1.0
PATIENCE_S = 1.0
_PAGE = 200
_MOST_NAMED = 256
_NS = 1_000_000_000
_UNTOLD = "changes of tasks are recorded later"
_UNMARKED = "the next start may record changes of tasks again"


@dataclass(slots=True)
class _Order:
    """An order that is carried out here: its number, once it was come by, and whether it has its record."""

    seq: int | None = None
    told: bool = False


class Chronicle:
    """See the module. ``log`` names the mark; None is a log that keeps none.

    A start, and a stop, waits at most ``patience`` seconds for the records of a long history; what is left
    is told while the sidecar runs, or by the next one.
    """

    def __init__(
        self,
        book: TaskBook,
        scribe: Scribe,
        alarm: Callable[[str], None],
        log: str | None,
        patience: float = PATIENCE_S,
    ) -> None:
        self._book = book
        self._scribe = scribe
        self._alarm = alarm
        self._log = log
        self._patience = patience
        self._first = 0  # what had happened before the book was followed
        self._marked = 0
        self._place: Place | None = None
        self._orders: dict[Order, _Order] = {}
        self._woken = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self._failing: set[str] = set()

    def attach(self) -> None:
        """From now on, what changes is not late."""
        self._first = self._book.seq
        self._book.on_change(self._woken.set)

    async def start(self) -> None:
        """Tell what is still to be told, as far as patience goes; then go on, with that and with what comes.

        :raises TaskStoreError: the file cannot be read.
        """
        log, self._marked = self._log, self._first
        if log is not None:
            self._marked = await self._book.ask(lambda store: store.recorded(log))
        self._place = Place(self._marked)
        await self._tell(self._place, self._patience)
        self._woken.set()
        self._run(self._follow())
        self._run(self._keep())

    async def close(self) -> None:
        """Tell what has happened so far, as far as patience goes, and remember up to where."""
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._place is not None:
            await self._try(self._tell(self._place, self._patience), _UNTOLD)
            await self._try(self._mark(self._place), _UNMARKED)

    def carrying_out(self, order: Order) -> None:
        """Wait with the record of this new order for what it comes to: see ``carried_out``."""
        self._orders[order] = _Order()

    def carried_out(self, order: Order, tasks: tuple[str, ...], report: RevokeReport) -> None:
        """Record an order that ended these tasks, and what it came to."""
        self._scribe.note("revocation", order_event(order, tasks, report))
        known = self._orders.get(order)  # None: the very same order was given twice, and is told twice
        if known is not None:
            known.told = True
        if known is not None and known.seq is not None:
            del self._orders[order]

    def _run(self, main: Coroutine[None, None, None]) -> None:
        running = asyncio.get_running_loop().create_task(main)
        running.add_done_callback(self._stopped)
        self._running.append(running)

    def _stopped(self, done: "asyncio.Task[None]") -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            self._alarm(
                f"changes of tasks are recorded at the next start only: {type(error).__name__}: {error}"
            )

    async def _follow(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            assert self._place is not None, "it follows only after start"
            await self._try(self._tell(self._place, math.inf), _UNTOLD)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            self._woken.set()  # if it could not be read before
            assert self._place is not None, "it follows only after start"
            await self._try(self._mark(self._place), _UNMARKED)

    async def _try(self, job: Coroutine[None, None, None], failing: str) -> None:
        """What cannot be read or written now is tried again; the operator is told ``failing``, once."""
        try:
            await job
        except TaskStoreError as error:
            if failing not in self._failing:
                self._alarm(f"{failing}: {error}")
            self._failing.add(failing)
        else:
            self._failing.discard(failing)

    async def _tell(self, place: Place, seconds: float) -> None:
        """Record what happened behind this place, a page at a time, until there is no more or time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while place.complete < (until := self._book.seq) and loop.time() < deadline:
            events = await self._book.ask(partial(TaskStore.history, after=place, until=until, limit=_PAGE))
            for event in events:
                self._note(event)
            self._place = place = events[-1].place if len(events) == _PAGE else Place(until)
            if not await self._scribe.written():  # else a long history would fill the memory
                return

    async def _mark(self, place: Place) -> None:
        """Remember up to where all is recorded, durably."""
        log = self._log
        pending = [order.seq - 1 for order in self._orders.values() if order.seq is not None]
        seq = min([place.complete, *pending])
        if log is None or seq <= self._marked or not await self._scribe.written():
            return
        await self._book.ask(lambda store: store.set_recorded(log, seq))
        self._marked = seq

    def _note(self, event: Event) -> None:
        late = event.place.seq <= self._first
        match event:
            case Opened(_, stored):
                task = stored.task
                body = task_event(replace(task, state=TaskState.OPEN), stored.opened_by, task.purpose)
                kind, at_ns = "task.open", task.issued_at * _NS
            case Ended(_, stored):
                kind, body, at_ns = "task.end", _end_event(stored), _ended_at(stored) * _NS
            case Ordered(place, order, tasks):
                if self._is_told(order, place.seq):
                    return
                nothing = RevokeReport(order.ordered_at_ns, len(tasks), 0, 0, 0)
                kind, body, at_ns = "revocation", order_event(order, tasks, nothing), order.ordered_at_ns
            case Lifted(_, about, identity, by, at_ns):
                what = f"{about.value} {identity}"
                kind = "revocation.lifted"
                body = {"kind": about.value, "id": identity, "by": by}
                body["detail"] = f"{what} by {by}" if by else what
        self._scribe.note(kind, body | {"late": True, "at_ns": str(at_ns)} if late else body)

    def _is_told(self, order: Order, seq: int) -> bool:
        """Whether this order has its record from its carrying out, or is about to."""
        known = self._orders.get(order)
        if known is None:
            return False
        known.seq = seq
        if known.told:
            del self._orders[order]
        return True


def order_event(order: Order, tasks: tuple[str, ...], report: RevokeReport) -> dict[str, Json]:
    """What the log says of an order, of the tasks that it ended, and of what it came to."""
    return {
        "kind": order.kind.value,
        "id": order.id,
        "agent": order.id if order.kind is Kind.AGENT else None,
        "task": order.id if order.kind is Kind.TASK else None,
        "detail": f"{order.kind.value} {order.id} by {order.ordered_by}: {order.reason}",
        "reason": order.reason,
        "ordered_by": order.ordered_by,
        "ordered_at_ns": str(order.ordered_at_ns),
        "tasks": list(tasks[:_MOST_NAMED]),
        "tasks_ended": report.ended_tasks,
        "connections_cut": report.connections,
        "to_last_byte_us": report.to_last_byte_us,
        "leases": report.leases,
    }


def _end_event(stored: StoredTask) -> dict[str, Json]:
    state = stored.task.state.value
    return task_event(stored.task, stored.ended_by, f"{state}: {stored.reason}" if stored.reason else state)


def _ended_at(stored: StoredTask) -> int:
    """When it was over: one that expired, before anybody found that out."""
    expires_at = stored.task.expires_at
    return expires_at if stored.ended_at is None else min(stored.ended_at, expires_at)
