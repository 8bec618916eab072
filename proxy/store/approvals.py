"""The queue of held requests as a running sidecar knows it: who waits, and what people have said.

Sidecars, the control API and ``gatepass approvals`` write to one file. While a call is kept waiting it is
looked at every ``INTERVAL_S``, else every ``IDLE_S``: SQLite's ``PRAGMA data_version`` tells in
microseconds whether anybody else has written. Whatever cannot be looked up is not approved.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from proxy.errors import Code, Refusal
from proxy.policy.approval import Approval, Asked, Declined, Entry, State, Waiting
from proxy.settings import ApprovalSettings
from proxy.store.approvals_table import ApprovalStore, ApprovalStoreError, Event, Kind, Terms
from proxy.store.approvals_thread import ApprovalThread

__all__ = ["ApprovalBook", "ApprovalStore", "ApprovalStoreError", "Event", "Kind", "Terms"]

INTERVAL_S = 0.05
IDLE_S = 0.5
_SHOWN = 50
_FAILED = Refusal(Code.INTERNAL, "the queue of approvals cannot be used; the operator is told")
_ANSWERED = frozenset({State.APPROVED, State.USED, State.DENIED})

T = TypeVar("T")


class ApprovalBook:
    """Implements ``ports.Approvals``. Made by ``open`` on an event loop and used on that loop alone."""

    def __init__(
        self, path: Path, terms: Terms, now: Callable[[], float], alarm: Callable[[str], None]
    ) -> None:
        self._thread = ApprovalThread(path)
        self._terms = terms
        self._now = now
        self._alarm = alarm
        self._waiters: dict[str, set[asyncio.Future[bool]]] = {}
        self._seen = -1  # no version SQLite gives: the first look always tells
        self._woken = asyncio.Event()
        self._on_change: list[Callable[[], None]] = []
        self._failing = False
        self._follower: asyncio.Task[None] | None = None
        self._over: set[asyncio.Task[None]] = set()
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path,
        settings: ApprovalSettings,
        *,
        now: Callable[[], float],
        alarm: Callable[[str], None],
        interval: float = INTERVAL_S,
        idle: float = IDLE_S,
    ) -> Self:
        """Open the file and follow it. ``now`` gives POSIX seconds; ``interval`` and ``idle`` are seconds.

        :raises ApprovalStoreError: if the file cannot be opened.
        """
        book = cls(path, Terms(settings.expires, settings.queue, settings.separate_owner), now, alarm)
        await book._thread.start()
        book._follower = asyncio.get_running_loop().create_task(book._follow(interval, idle))
        return book

    async def redeem(self, asked: Asked) -> Approval | Declined | None:
        """See ``ports.Approvals``."""
        now = int(self._now())
        try:
            found = await self._thread.run(lambda store: store.redeem(asked, now))
        except ApprovalStoreError as error:
            self._fail(error)
            return None
        if isinstance(found, Approval):
            self._tell()
        return found

    async def file(self, asked: Asked) -> Waiting | Refusal:
        """See ``ports.Approvals``."""
        now, terms = int(self._now()), self._terms
        try:
            filed = await self._thread.run(lambda store: store.file(asked, now, terms))
        except ApprovalStoreError as error:
            self._fail(error)
            return _FAILED
        self._tell()
        return filed

    async def answered(self, waiting: Waiting, seconds: float) -> bool:
        """See ``ports.Approvals``."""
        heard: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(waiting.id, set())
        waiters.add(heard)
        self._woken.set()  # from now on it is looked at more often
        try:
            await self._settle()  # it may have been answered before anybody waited
            async with asyncio.timeout(None if heard.done() else seconds):
                return await heard
        except TimeoutError:
            return False
        finally:
            waiters.discard(heard)
            if not waiters and self._waiters.get(waiting.id) is waiters:
                del self._waiters[waiting.id]

    def task_over(self, task: str) -> None:
        """A task has ended: nothing of it waits any more, and no approval of it is left."""
        if self._closed:
            return  # its requests expire, and nobody can use them
        ending = asyncio.get_running_loop().create_task(self._withdraw(task))
        self._over.add(ending)
        ending.add_done_callback(self._over.discard)

    async def of_task(self, task: str) -> tuple[Entry, ...]:
        """The latest requests of a task, the newest first.

        :raises ApprovalStoreError: if the file cannot be read.
        """
        return await self._thread.run(lambda store: store.list(task=task, limit=_SHOWN))

    async def ask(self, job: Callable[[ApprovalStore], T]) -> T:
        """What ``job`` finds in the file, or keeps there that is no change of a request.

        :raises ApprovalStoreError: if the file cannot be read or written.
        """
        return await self._thread.run(job)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back, on the event loop, after something has happened, whoever did it."""
        self._on_change.append(callback)

    async def close(self) -> None:
        """Stop following; whoever waits hears that nobody has answered."""
        self._closed = True
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, *self._over, return_exceptions=True)
        for heard in [heard for waiters in self._waiters.values() for heard in waiters]:
            _set(heard, answered=False)
        await self._thread.stop()

    async def _withdraw(self, task: str) -> None:
        now = int(self._now())
        try:
            if await self._thread.run(lambda store: store.withdraw(task, now)):
                await self._changed()
        except ApprovalStoreError as error:
            self._fail(error)

    async def _follow(self, interval: float, idle: float) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval if self._waiters else idle):
                    await self._woken.wait()
            self._woken.clear()
            try:
                if await self._thread.run(self._look):
                    await self._changed()
            except Exception as error:  # noqa: BLE001 - whatever it is, the file is not being followed
                self._fail(error)
            else:
                self._failing = False

    def _look(self, store: ApprovalStore) -> bool:
        """In the thread: let time have its effect; whether anything has changed."""
        seen, self._seen = self._seen, -1  # if this fails, the next one tells in any case
        expired = store.expire(int(self._now()))
        self._seen = store.version()
        return bool(expired) or seen != self._seen

    async def _changed(self) -> None:
        self._tell()
        await self._settle()

    async def _settle(self) -> None:
        """Tell those whose requests do not wait any more."""
        wanted = tuple(self._waiters)
        if not wanted:
            return
        try:
            found = await self._thread.run(lambda store: [store.get(one) for one in wanted])
        except ApprovalStoreError as error:
            self._fail(error)
            return
        for request_id, entry in zip(wanted, found, strict=True):
            if entry is None or entry.state is not State.WAITING:
                for heard in self._waiters.get(request_id, ()):
                    _set(heard, answered=entry is not None and entry.state in _ANSWERED)

    def _tell(self) -> None:
        for callback in self._on_change:
            callback()

    def _fail(self, error: Exception) -> None:
        """Tell the operator, once until it works again."""
        if not self._failing:
            self._alarm(f"calls that need approval are refused: {str(error) or repr(error)}")
        self._failing = True


def _set(heard: "asyncio.Future[bool]", *, answered: bool) -> None:
    if not heard.done():
        heard.set_result(answered)
