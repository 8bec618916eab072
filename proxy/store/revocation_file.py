"""The revocation file, watched: stat(2) in a thread of its own, a callback on the loop for each change.

What is new in the file is told at once. What is gone from it is told when the file has not changed for
``SETTLED_S``: one that is being written in place is shorter for a moment. A file that cannot be read, or has
a mistake, or has vanished, changes nothing: the last orders stay.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from proxy.identity.revocation import Order
from proxy.identity.revocation_file import parse_revocations
from proxy.problems import MAX_OCTETS, Problem

INTERVAL_S = 0.1
SETTLED_S = 1.0

_Signature = tuple[int, int, int]
T = TypeVar("T")


class RevocationFile:
    """A file of orders. Made by ``open``; ``follow`` it from the event loop that is to be told."""

    def __init__(self, path: Path, now_ns: Callable[[], int], orders: tuple[Order, ...]) -> None:
        self.path = path
        self.orders = orders
        self._now_ns = now_ns
        self._signature: _Signature | None = None  # the first look reads what changed since ``open``
        self._settles_at: float | None = None
        self._complaint = ""
        self._changed: Callable[[tuple[Order, ...]], None]
        self._failed: Callable[[str], None]
        self._loop: asyncio.AbstractEventLoop
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def open(cls, path: Path, now_ns: Callable[[], int]) -> Self | list[Problem]:
        """Read the file for the first time. ``now_ns`` gives POSIX time. Never raises."""
        orders = _read(path, now_ns())
        return orders if isinstance(orders, list) else cls(path, now_ns, orders)

    def follow(
        self,
        changed: Callable[[tuple[Order, ...]], None],
        failed: Callable[[str], None],
        *,
        interval: float = INTERVAL_S,
        settled: float = SETTLED_S,
    ) -> None:
        """Call ``changed`` with all orders of the file when they change, ``failed`` once for each mistake.

        Both are called on the running loop; ``interval`` and ``settled`` are seconds.
        """
        self._changed, self._failed = changed, failed
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(
            target=self._watch, args=(interval, settled), name="gatepass-revocations", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Stop following; nobody is called back any more."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _watch(self, interval: float, settled: float) -> None:
        while not self._stop.is_set():
            signature = _signature(self.path)
            if signature != self._signature or self._settles_at is None:
                self._signature = signature
                self._settles_at = time.monotonic() + settled
                self._complaint = ""
                self._take(final=False)
            elif time.monotonic() >= self._settles_at:
                self._settles_at = float("inf")
                # Read again: a second change within a tick of the file system's clock shows only here.
                self._take(final=True)
            self._stop.wait(interval)

    def _take(self, *, final: bool) -> None:
        found = _read(self.path, self._now_ns())
        if isinstance(found, list):
            complaint = "; ".join(map(str, found))
            if complaint != self._complaint:
                self._complaint = complaint
                self._tell(self._failed, complaint)
            return
        before = {(order.kind, order.id): order for order in self.orders}
        after = {(order.kind, order.id): order for order in found}
        if not final:
            after |= before
        if after.keys() != before.keys():
            self.orders = tuple(after.values())
            self._tell(self._changed, self.orders)

    def _tell(self, callback: Callable[[T], None], words: T) -> None:
        self._loop.call_soon_threadsafe(self._call, callback, words)

    def _call(self, callback: Callable[[T], None], words: T) -> None:
        if not self._stop.is_set():
            callback(words)


def _signature(path: Path) -> _Signature | None:
    """What differs when a file has been written or replaced; None if there is no telling."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path, now_ns: int) -> tuple[Order, ...] | list[Problem]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_OCTETS + 1)
    except OSError as error:
        return [Problem(str(path), None, f"cannot be read: {error.strerror}")]
    return parse_revocations(data, str(path), now_ns)
