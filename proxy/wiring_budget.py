"""Budgets across restarts: what tasks have used is kept, and recounted from the log after a crash.

Decided: the log is the authority on what was used, because an allowed call is in it before it leaves; the
task file holds the same numbers so that an orderly start need not read the log.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from proxy.audit.record import Record
from proxy.identity.budget import Spending
from proxy.store.tasks import TaskBook, TaskStore, TaskStoreError

_EVERY_S = 1.0


def recount(path: Path, records: Iterable[Record]) -> None:
    """After a crash: make the task file know what the records of the last boot say was used.

    :raises TaskStoreError: if it cannot be written.
    """
    boots: dict[str, dict[str, list[int]]] = {}
    chains: dict[str, list[str]] = {}
    for record in records:
        if record.kind == "decision" and record.effect == "allow":
            chains[record.id] = _chain(record)
        spent = boots.setdefault(record.boot, {})
        for task in chains.get(record.decision_id, ()):
            used = spent.setdefault(task, [0, 0])
            if record.kind == "decision":
                used[0] += 1
            elif record.kind == "outcome":
                used[1] += _octets(record)
    with TaskStore.open(path) as store:
        for boot, spent in boots.items():
            store.set_usage(boot, {task: (used[0], used[1]) for task, used in spent.items()})


def _chain(record: Record) -> list[str]:
    """The tasks that a call was charged to; a call to the desk is charged to none."""
    who, why = record.raw.get("who"), record.raw.get("why")
    if not isinstance(who, dict) or not isinstance(why, dict) or why.get("service", ...) is ...:
        return []
    chain = who.get("chain")
    links = chain if isinstance(chain, list) else []
    return [str(link["task"]) for link in links if isinstance(link, dict) and "task" in link]


def _octets(record: Record) -> int:
    what = record.raw.get("what")
    if not isinstance(what, dict):
        return 0
    return sum(value for name in ("bytes_up", "bytes_down") if isinstance(value := what.get(name), int))


class Keeper:
    """Keeps what tasks have used, every second in which it has changed."""

    def __init__(self, book: TaskBook, spending: Spending, alarm: Callable[[str], None]) -> None:
        self._book = book
        self._spending = spending
        self._alarm = alarm
        self._failed = False
        self._rows: dict[str, tuple[int, int]] = {}  # not kept yet
        self._over: list[str] = []
        book.on_end(lambda task: self._over.append(task.id))
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Keep what is left, and stop."""
        self._task.cancel()
        await self._keep()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self._keep()

    async def _keep(self) -> None:
        over, self._over = self._over, []
        self._rows |= self._spending.changed()
        for task in over:
            self._spending.forget(task)
        if not self._rows:
            return
        rows, self._rows = self._rows, {}
        try:
            await self._book.keep_usage(rows)
        except TaskStoreError as error:
            self._rows = rows | self._rows
            if not self._failed:  # once: the numbers are in the log as well
                self._alarm(f"what tasks have used cannot be kept: {error}")
            self._failed = True
