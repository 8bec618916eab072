"""The tasks and orders a running sidecar knows: answered from memory, kept in step with the file by a thread.

Commands (``gatepass task end``, ``gatepass revoke``) write to the same file. SQLite's ``PRAGMA
data_version`` tells in microseconds whether somebody has, so a revocation from another process holds
within ``INTERVAL_S``. A sidecar that can no longer read the file knows no tasks: it could be missing one.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

from proxy.credential.placeholder import Holding, digest
from proxy.identity.principal import Evidence, Task, TaskState
from proxy.identity.revocation import EVERYTHING, Kind, Order, Revocations
from proxy.store.followers_table import CarriedOut, Follower
from proxy.store.known_tasks import KEEP_S, KnownTasks
from proxy.store.task_rows import StoredTask, TaskExistsError, TaskOverError, TaskStoreError
from proxy.store.task_table import Changes, Revoked, TaskStore
from proxy.store.task_thread import TaskThread
from proxy.store.usage_table import Spent

__all__ = [
    "KEEP_S",
    "CarriedOut",
    "Follower",
    "Revoked",
    "Spent",
    "StoredTask",
    "TaskBook",
    "TaskExistsError",
    "TaskOverError",
    "TaskStore",
    "TaskStoreError",
]

INTERVAL_S = 0.05
_LONGEST_TIMER_S = 30.0  # the wall clock may be set; the loop's timers do not notice

T = TypeVar("T")


class TaskBook:
    """Implements ``ports.Tasks``. Made by ``open`` (see there for ``boot``); used on its event loop alone."""

    def __init__(self, path: Path, now: Callable[[], float], boot: str, interval: float) -> None:
        self._now = now
        self.boot = boot
        self._loop = asyncio.get_running_loop()
        self._known = KnownTasks()
        self._revocations = Revocations()
        self._spent: dict[str, Spent] = {}
        self._read = 0  # belongs to the thread: what it has read up to
        self._seq = 0  # what memory has taken over
        self._unacknowledged: dict[Order, int] = {}
        self._on_end: list[Callable[[Task], None]] = []
        self._on_revoke: list[Callable[[Order, tuple[Task, ...]], None]] = []
        self._on_change: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._lock = asyncio.Lock()
        self._asked = self._served = 0
        self._closed = False
        self._fault: str | None = None
        self._thread = TaskThread(
            path,
            interval=interval,
            changed=self._changed,
            failed=self._failed,
            known=self._known.tasks,
        )

    @classmethod
    async def open(
        cls, path: Path, *, now: Callable[[], float], boot: str, interval: float = INTERVAL_S
    ) -> Self:
        """Load what is in ``path`` and follow it. ``now`` gives POSIX seconds, ``interval`` is seconds.

        ``boot`` names this start of the sidecar among all that there were and are.

        :raises TaskStoreError: if the file cannot be opened, read or written.
        """
        book = cls(path, now, boot, interval)
        await asyncio.wrap_future(book._thread.start())
        try:
            # From here on whoever revokes waits for this process; what came before, the look finds.
            await book._do(lambda store: store.follow(boot), look=True)
            seq = book._seq
            await book._do(lambda store: store.acknowledge(boot, seq, 0, 0))
            book._spent = await book._do(lambda store: store.spent(boot))
        except BaseException:
            await book.close()
            raise
        return book

    @property
    def fault(self) -> str | None:
        """Why no task is known at the moment, or None if all is well."""
        return self._fault

    @property
    def seq(self) -> int:
        """The number of the last change that memory has taken over."""
        return self._seq

    @property
    def revocations(self) -> Revocations:
        """Every order that holds: the same object as long as none comes or goes."""
        return self._revocations

    def get(self, task_id: str) -> Task | None:
        """The task with this id in its present state, or None."""
        return None if self._fault else self._known.tasks.get(task_id)

    def holding(self, placeholder: bytes) -> Holding | None:
        """What this placeholder stands for, or None."""
        return None if self._fault else self._known.held.get(digest(placeholder))

    def on_end(self, callback: Callable[[Task], None]) -> None:
        """Call back, on the event loop, for every task that leaves the state ``open``."""
        self._on_end.append(callback)

    def on_revoke(self, callback: Callable[[Order, tuple[Task, ...]], None]) -> None:
        """Call back, on the event loop, for every order that is new, with all tasks that it ended.

        ``get`` and ``revocations`` show it already. It is called before ``on_end`` for those tasks; each
        order has to be acknowledged.
        """
        self._on_revoke.append(callback)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back, on the event loop, after any change, whoever made it, and after all other callbacks."""
        self._on_change.append(callback)

    async def refresh(self) -> None:
        """Look now for what other processes wrote; one look serves all who asked before it began.

        :raises TaskStoreError: if the file cannot be read.
        """
        self._asked += 1
        ticket = self._asked
        async with self._lock:
            if self._served >= ticket:
                return
            serves = self._asked
            await self._do(lambda _: None, look=True)
            self._served = serves

    async def create(
        self,
        task: Task,
        manifest: bytes,
        holdings: Iterable[Holding] = (),
        by: str = "",
        evidence: tuple[Evidence, ...] = (),
    ) -> None:
        """Keep a new task durably; see ``TaskStore.create``.

        :raises TaskOverError: if what it stands on is not open, or revoked.
        :raises TaskStoreError: if it cannot be kept.
        """
        held = tuple(holdings)
        await self._do(lambda store: store.create(task, manifest, held, by, evidence), look=True)

    async def end(
        self, task_id: str, reason: str, state: TaskState = TaskState.ENDED, by: str = ""
    ) -> tuple[Task, ...] | None:
        """End a task and all below it, durably; once this returns, none makes a further call.

        Returns those that were open. None if there is no such task.

        :raises TaskStoreError: if the end cannot be kept.
        """
        now = int(self._now())
        return await self._do(lambda store: store.end_all(task_id, reason, now, state, by), look=True)

    async def revoke(self, order: Order) -> bool:
        """Keep an order, durably; once this returns, nothing it reaches makes a further call.

        False if it is about a task that there is not.

        :raises TaskStoreError: if the order cannot be kept.
        """
        return await self._do(lambda store: store.revoke(order), look=True) is not None

    async def lift(self, kind: Kind, identity: str = EVERYTHING, by: str = "") -> bool:
        """Let an order hold no longer, durably; ``by`` says who. False if there is none, or it is a task's.

        :raises TaskStoreError: if that cannot be kept.
        """
        return await self._do(lambda store: store.lift(kind, identity, by), look=True)

    async def acknowledge(self, order: Order, connections: int, at_ns: int) -> None:
        """Tell other processes that what a new order reached is cut.

        ``connections`` were cut, the last at ``at_ns`` (POSIX time).

        :raises TaskStoreError: if that cannot be kept.
        """
        done = self._unacknowledged.pop(order, None)
        seq = min(self._unacknowledged.values(), default=self._seq + 1) - 1
        await self._do(lambda store: store.acknowledge(self.boot, seq, connections, at_ns, done))

    async def ask(self, job: Callable[[TaskStore], T]) -> T:
        """What ``job`` finds in the file, or keeps there that is no change of a task or an order.

        :raises TaskStoreError: if the file cannot be read or written.
        """
        return await self._do(job)

    def spent(self) -> dict[str, Spent]:
        """What the open tasks had used before this start."""
        return dict(self._spent)

    async def keep_usage(self, rows: Mapping[str, tuple[int, int]]) -> None:
        """Keep what tasks have used since this start: requests and octets, in all.

        :raises TaskStoreError: if it cannot be kept.
        """
        used = dict(rows)
        await self._do(lambda store: store.keep_usage(self.boot, used))

    async def close(self) -> None:
        """Stop following."""
        with suppress(TaskStoreError):  # whoever looks drops the rows of processes that are gone
            await self._do(lambda store: store.leave(self.boot))
        self._closed = True
        if self._timer:
            self._timer.cancel()
        await self._loop.run_in_executor(None, self._thread.stop)

    async def _do(self, job: Callable[[TaskStore], T], *, look: bool = False) -> T:
        return await asyncio.wrap_future(self._thread.submit(job, look=look))

    def _changed(self, store: TaskStore) -> None:
        # In the thread. Memory takes it over before anybody hears that the job before it is done.
        changes = store.changes(self._read, int(self._now()) - KEEP_S)
        self._read = changes.seq
        self._loop.call_soon_threadsafe(self._apply, changes)

    def _failed(self, error: Exception) -> None:
        self._loop.call_soon_threadsafe(self._fail, str(error) or repr(error))

    def _fail(self, why: str) -> None:
        self._fault = why

    def _apply(self, changes: Changes) -> None:
        """Take over what changed, all of it before anybody is called back."""
        if self._closed:
            return
        self._fault = None
        before, self._seq = self._seq, changes.seq
        self._known.hold(changes.holdings)
        ended = [task for task in changes.tasks if self._known.move(task)]
        if changes.standing is not None:
            self._replace(changes.standing)
        if self._on_revoke:
            self._unacknowledged.update((revoked.order, revoked.seq) for revoked in changes.revoked)
        elif changes.revoked:  # nobody is served yet, so nothing is left to be done
            told = self._thread.submit(lambda store: store.acknowledge(self.boot, changes.seq, 0, 0))
            told.add_done_callback(self._written)
        self._tell(self._on_revoke, [(revoked.order, revoked.tasks) for revoked in changes.revoked])
        self._tell(self._on_end, [(task,) for task in ended])
        self._expire()
        if self._seq != before:
            self._tell(self._on_change, [()])

    def _replace(self, standing: tuple[Order, ...]) -> None:
        """Let these orders hold, and no others."""
        orders = Revocations(standing)
        if orders != self._revocations:
            self._revocations = orders

    def _tell(self, callbacks: Iterable[Callable[..., None]], words: Iterable[tuple[object, ...]]) -> None:
        for word in words:
            for callback in callbacks:
                self._loop.call_soon(callback, *word)  # so that none can keep the others from theirs

    def _expire(self) -> None:
        """Expire what is due, forget what has been over for long, and come back for the next."""
        now = self._now()
        expired = self._known.expire(now)
        if expired:
            self._tell(self._on_end, [(task,) for task in expired])
            expiry = self._thread.submit(lambda store: store.expire(int(now)), look=True)
            expiry.add_done_callback(self._written)
        if self._timer:
            self._timer.cancel()
        due = self._known.next_due()
        wait = None if due is None else min(max(due - now, 0.0), _LONGEST_TIMER_S)
        self._timer = None if wait is None else self._loop.call_later(wait, self._expire)

    def _written(self, done: Future[T]) -> None:
        # In the thread. In memory it is so in any case; of tasks that are over the next start tells the file.
        error = done.exception()
        if isinstance(error, Exception):
            self._failed(error)
