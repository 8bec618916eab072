"""The tasks a running sidecar knows: answered from memory, kept in step with the file by a thread.

Commands (``gatepass task end``) write to the same file. SQLite's ``PRAGMA data_version`` tells in
microseconds whether somebody has, so a revocation from another process holds within ``INTERVAL_S``.
A sidecar that can no longer read the file knows no tasks: it could be missing a revocation.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Self

from proxy.credential.placeholder import Holding, digest
from proxy.identity.principal import Task, TaskState
from proxy.store.task_table import (
    Changes,
    StoredTask,
    TaskExistsError,
    TaskStore,
    TaskStoreError,
)
from proxy.store.task_thread import TaskThread

__all__ = ["StoredTask", "TaskBook", "TaskExistsError", "TaskStore", "TaskStoreError"]

INTERVAL_S = 0.15
KEEP_S = 3600  # how long a task that is over is still told from an unknown one
_LONGEST_TIMER_S = 30.0  # the wall clock may be set; the loop's timers do not notice


class TaskBook:
    """Implements ``ports.Tasks``. Made by ``open`` on an event loop and used on that loop alone."""

    def __init__(self, path: Path, now: Callable[[], float], interval: float) -> None:
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._thread = TaskThread(path, interval=interval, changed=self._changed, failed=self._failed)
        self._tasks: dict[str, Task] = {}
        self._held: dict[str, Holding] = {}
        self._seq = 0
        self._callbacks: list[Callable[[Task], None]] = []
        self._openings: list[Callable[[Task], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._lock = asyncio.Lock()
        self._asked = self._served = 0
        self._closed = False
        self._fault: str | None = None

    @classmethod
    async def open(cls, path: Path, *, now: Callable[[], float], interval: float = INTERVAL_S) -> Self:
        """Load the tasks in ``path`` and follow them. ``now`` gives POSIX seconds, ``interval`` is seconds.

        :raises TaskStoreError: if the file cannot be opened or read.
        """
        book = cls(path, now, interval)
        await asyncio.wrap_future(book._thread.start())
        try:
            await book.refresh()
        except TaskStoreError:
            await book.close()
            raise
        return book

    @property
    def fault(self) -> str | None:
        """Why no task is known at the moment, or None if all is well."""
        return self._fault

    def get(self, task_id: str) -> Task | None:
        """The task with this id in its present state, or None."""
        return None if self._fault else self._tasks.get(task_id)

    def holding(self, placeholder: bytes) -> Holding | None:
        """What this placeholder stands for, or None."""
        return None if self._fault else self._held.get(digest(placeholder))

    def on_end(self, callback: Callable[[Task], None]) -> None:
        """Call back, on the event loop, for every task that leaves the state ``open``."""
        self._callbacks.append(callback)

    def on_open(self, callback: Callable[[Task], None]) -> None:
        """Call back, on the event loop, for every task that is started from now on."""
        self._openings.append(callback)

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
            await self._look()
            self._served = serves

    async def create(self, task: Task, manifest: bytes, holdings: Iterable[Holding] = ()) -> None:
        """Keep a new task, the canonical bytes of its manifest, and what it holds, durably.

        :raises TaskStoreError: if it cannot be kept.
        """
        held = tuple(holdings)
        await asyncio.wrap_future(self._thread.submit(lambda store: store.create(task, manifest, held)))
        await self._look()

    async def end(self, task_id: str, reason: str, state: TaskState = TaskState.ENDED) -> Task | None:
        """End a task, durably; once this returns, no further call of it is let through. None if unknown.

        :raises TaskStoreError: if the end cannot be kept.
        """
        now = int(self._now())
        stored = await asyncio.wrap_future(
            self._thread.submit(lambda store: store.end(task_id, reason, now, state))
        )
        await self._look()
        return stored.task if stored else None

    async def close(self) -> None:
        """Stop following."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        await self._loop.run_in_executor(None, self._thread.stop)

    async def _look(self) -> None:
        after, since = self._seq, int(self._now()) - KEEP_S
        self._apply(await asyncio.wrap_future(self._thread.submit(lambda store: store.changes(after, since))))

    def _changed(self, store: TaskStore) -> None:
        # In the thread. A ``seq`` that is behind by a look means reading a row twice, no more.
        changes = store.changes(self._seq, int(self._now()) - KEEP_S)
        self._loop.call_soon_threadsafe(self._apply, changes)

    def _failed(self, error: Exception) -> None:
        self._loop.call_soon_threadsafe(self._fail, str(error) or repr(error))

    def _fail(self, why: str) -> None:
        self._fault = why

    def _apply(self, changes: Changes) -> None:
        """Take over what changed. Looks may overtake each other: a state never goes back to open."""
        if self._closed:
            return
        self._fault = None
        self._seq = max(self._seq, changes.seq)
        for held in changes.holdings:
            self._held[held.placeholder_sha256] = held
        for task in changes.tasks:
            self._move(task)
        self._expire()

    def _move(self, task: Task) -> None:
        before = self._tasks.get(task.id)
        if before is not None and before.state is not TaskState.OPEN:
            return
        self._tasks[task.id] = task
        if before is None and task.state is TaskState.OPEN:
            for callback in self._openings:
                self._loop.call_soon(callback, task)
        if before is not None and task.state is not TaskState.OPEN:
            for callback in self._callbacks:
                self._loop.call_soon(callback, task)  # so that none can keep the others from their task

    def _expire(self) -> None:
        """Expire what is due, forget what has been over for long, and come back for the next."""
        now = self._now()
        due = [task for task in self._tasks.values() if task.expires_at <= now]
        for task in due:
            self._move(replace(task, state=TaskState.EXPIRED))
            if task.expires_at <= now - KEEP_S:
                self._forget(task.id)
        if any(task.state is TaskState.OPEN for task in due):
            self._thread.submit(lambda store: store.expire(int(now))).add_done_callback(self._expired)
        if self._timer:
            self._timer.cancel()
        ends = [task.expires_at for task in self._tasks.values() if task.state is TaskState.OPEN]
        wait = min(max(min(ends) - now, 0.0), _LONGEST_TIMER_S) if ends else None
        self._timer = None if wait is None else self._loop.call_later(wait, self._expire)

    def _expired(self, done: Future[tuple[Task, ...]]) -> None:
        # In the thread. In memory the tasks are over in any case; the file will say so at the next start.
        error = done.exception()
        if isinstance(error, Exception):
            self._failed(error)

    def _forget(self, task_id: str) -> None:
        del self._tasks[task_id]
        for key in [key for key, holding in self._held.items() if holding.task_id == task_id]:
            del self._held[key]
