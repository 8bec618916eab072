"""The audit log on disk: a tiled log (c2sp.org/tlog-tiles) written by one thread with group commit.

The way of an entry: ``append`` queues it; the writer takes everything queued, appends it to ``pending``,
syncs once, tells the waiters, and only then hashes, writes tiles and now and then signs a checkpoint.

Decided: after any failure to write or sync the log stays unavailable until restart, because what the
kernel dropped after a failed fsync cannot be known; instead of retrying.
"""

import asyncio
import fcntl
import os
import queue
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Final, Self

from proxy.audit.checkpoint import Checkpoint
from proxy.audit.merkle import leaf_hash
from proxy.audit.note import Signer, Vkey
from proxy.audit.record import MAX_ENTRY
from proxy.audit.tile import WIDTH, Tile, bundle_path, frame, frames
from proxy.ports import LogUnavailable
from proxy.store import durable
from proxy.store.recovery import LogCorrupt, Recovered, recover
from proxy.store.tiles import CHECKPOINT, LOCK, PENDING, VKEY, Tiles, sync_directory

__all__ = ["LogCorrupt", "LogInUse", "LogUnavailable", "TiledLog"]

_Waiter = tuple[bytes, "asyncio.Future[int]"]
_STOP: Final = None
ROOM: Final = 512 * 1024
"""Octets made ready for a bundle: 256 entries of 2 KiB."""
PATIENCE_S: Final = 0.005
"""Seconds that an entry nobody waits for may wait for company."""
GATHER_S: Final = 0.0005
"""Seconds in which a commit gathers more entries, while several callers are at it: a lone one never waits."""
_CLOSED: Final = "the log is closed"


class LogInUse(Exception):
    """Another process holds the log. Two writers would fork it."""


class TiledLog:
    """An open log. ``open`` it, ``start`` it on the running loop, ``append``, ``close``."""

    def __init__(self, tiles: Tiles, signer: Signer, lock: int, recovered: Recovered, every: float) -> None:
        """Not to be called: ``open`` is."""
        self.recovered = recovered.recovery
        self._tiles = tiles
        self._signer = signer
        self._lock = lock
        self._every = every
        self._edge = recovered.edge
        self._bundle = bytearray(recovered.pending)
        self._count = sum(1 for _ in frames(recovered.pending))
        self._signed = recovered.checkpoint.size if recovered.checkpoint else None
        # The first checkpoint is signed at the start: without any, a log that is cut off proves nothing.
        self._signed_at = monotonic() - (every if recovered.checkpoint is None else 0)
        self._pending = _open_pending(tiles)
        self._queue: queue.SimpleQueue[list[_Waiter] | None] = queue.SimpleQueue()
        self._crowded = False  # several callers waited for the last commit
        self._failure: str | None = "the log has not been started"
        self._held: list[_Waiter] = []
        self._releasing = False  # a call to ``_release`` is scheduled
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def open(cls, directory: Path, *, origin: str, signer_seed: bytes, checkpoint_every: float = 1.0) -> Self:
        """Open or create the log ``origin`` in ``directory`` and bring it in order after a crash.

        ``signer_seed`` is the 32-octet Ed25519 seed of the log's own key. ``checkpoint_every`` is in
        seconds: while entries come, a checkpoint is signed at most that often (0: after every batch).

        :raises LogInUse: if another process has it open.
        :raises LogCorrupt: if it is not what its checkpoint signed, or belongs to another key.
        :raises OSError: if the directory cannot be written.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        tiles, signer = Tiles(directory), Signer(origin, signer_seed)
        lock = _take_lock(directory)
        try:
            recovered = recover(tiles, signer.vkey, interrupted=os.fstat(lock).st_size > 0)
            if not tiles.exists(VKEY):
                tiles.publish_durably(VKEY, f"{signer.vkey}\n".encode())
            return cls(tiles, signer, lock, recovered, checkpoint_every)
        except BaseException:
            os.close(lock)
            raise

    @property
    def vkey(self) -> Vkey:
        """The public key that verifies this log's checkpoints."""
        return self._signer.vkey

    @property
    def failure(self) -> str | None:
        """Why nothing can be appended, in words for the operator; None while all is well."""
        return self._failure

    def start(self) -> None:
        """Start the writer; waiters are resolved on the running event loop."""
        self._loop = asyncio.get_running_loop()
        os.pwrite(self._lock, b"open\n", 0)  # until close: who finds it there knows that this run was cut off
        os.fsync(self._lock)
        self._failure = None
        self._thread = threading.Thread(target=self._run, name="gatepass-log", daemon=True)
        self._thread.start()

    def append(self, entry: bytes, *, urgent: bool = True) -> "asyncio.Future[int]":
        """Append one entry; resolves to its leaf index once it is durable. Call it on the loop.

        What is not ``urgent`` waits for the next entry that is, or for ``PATIENCE_S``: a sync of its
        own would make that next one wait for the disk twice.

        The future raises ``LogUnavailable`` if the entry could not be made durable, and from then on
        every later one does. A cancelled future does not take its entry back.

        :raises ValueError: if the entry is empty or longer than 65,535 octets.
        :raises LogUnavailable: if the log was never started.
        """
        if not 0 < len(entry) <= MAX_ENTRY:
            raise ValueError(f"an entry of {len(entry)} octets")
        if self._loop is None:
            raise LogUnavailable(self._failure)
        future = self._loop.create_future()
        if self._failure is not None:
            future.set_exception(LogUnavailable(self._failure))
            return future
        self._held.append((entry, future))
        if urgent:
            self._release()
        elif not self._releasing:
            self._releasing = True
            self._loop.call_later(PATIENCE_S, self._release)
        return future

    def _release(self) -> None:
        """Hand everything held back to the writer, in order."""
        self._releasing = False
        if self._held:
            held, self._held = self._held, []
            self._queue.put(held)

    def close(self) -> None:
        """Make what is queued durable, sign the last checkpoint, release the lock. Blocks; safe to repeat."""
        if self._lock < 0:
            return
        if self._thread is not None:
            self._failure = self._failure or _CLOSED
            self._release()
            self._queue.put(_STOP)
            self._thread.join()
            if self._failure == _CLOSED:
                _trim(self._lock, 0)
        if self._thread is None or self._failure == _CLOSED:
            _trim(self._pending, len(self._bundle))
        os.close(self._pending)
        os.close(self._lock)
        self._lock = -1

    # from here on: the writer thread

    def _run(self) -> None:
        while True:
            batch, last = self._take()
            try:
                self._commit(batch)
                if self._is_due() or (last and self._signed != self._edge.size):
                    self._checkpoint()
            except Exception as error:  # noqa: BLE001 - whatever it is, no waiter may be left hanging
                return self._refuse_all(f"the log cannot be written: {error}", batch, last=last)
            if last:
                return None

    def _take(self) -> tuple[list[_Waiter], bool]:
        """Everything queued (waits for it, at most until a checkpoint is due), and whether to stop."""
        dirty = self._signed != self._edge.size
        timeout = max(0.0, self._signed_at + self._every - monotonic()) if dirty else None
        batch: list[_Waiter] = []
        callers = 0
        try:
            item = self._queue.get(timeout=timeout)
            if self._crowded and item is not _STOP:
                sleep(GATHER_S)
            while item is not _STOP:
                batch += item
                callers += 1
                item = self._queue.get_nowait()
        except queue.Empty:
            self._crowded = callers > 1
            return batch, False
        return batch, True

    def _commit(self, batch: list[_Waiter]) -> None:
        while batch:
            part = batch[: WIDTH - self._count]
            data = b"".join([frame(entry) for entry, _ in part])
            durable.append(self._pending, data, len(self._bundle))
            self._tell(partial(_resolve, part, self._edge.size))
            del batch[: len(part)]  # what is left is what still waits
            self._bundle += data
            self._count += len(part)
            full = [tile for entry, _ in part for tile in self._edge.append(leaf_hash(entry))]
            if self._count == WIDTH:
                self._roll(full)

    def _roll(self, full: list[tuple[Tile, bytes]]) -> None:
        """Turn ``pending`` into a full bundle; from here its hashes are in full tiles, too."""
        number = self._edge.size // WIDTH - 1
        _trim(self._pending, len(self._bundle))
        os.close(self._pending)
        self._tiles.rename_durably(PENDING, bundle_path(number))
        self._pending = _open_pending(self._tiles)
        self._bundle.clear()
        self._count = 0
        for tile, data in full:
            self._tiles.publish(tile.path, data)
        self._tiles.drop_partials(number)

    def _is_due(self) -> bool:
        return self._signed != self._edge.size and monotonic() - self._signed_at >= self._every

    def _checkpoint(self) -> None:
        edge = self._edge
        if self._count:
            self._tiles.publish(bundle_path(edge.size // WIDTH, self._count), bytes(self._bundle))
        for tile, data in edge.partials():
            if not self._tiles.exists(tile.path):
                self._tiles.publish(tile.path, data)
        checkpoint = Checkpoint(self.vkey.name, edge.size, edge.root())
        self._tiles.publish_durably(CHECKPOINT, checkpoint.sign(self._signer))
        self._signed, self._signed_at = edge.size, monotonic()

    def _tell(self, callback: Callable[[], None]) -> None:
        assert self._loop is not None, "the writer runs only after start"
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            if not self._loop.is_closed():
                raise  # a closed loop has nobody left to tell; its entries are durable all the same

    def _refuse_all(self, failure: str, batch: list[_Waiter], *, last: bool) -> None:
        """Refuse what waits and whatever still comes, until the log is closed."""
        self._failure = failure
        self._tell(partial(_reject, batch, failure))
        while not last:
            item = self._queue.get()
            last = item is _STOP
            if item is not _STOP:
                self._tell(partial(_reject, item, failure))


def _resolve(waiters: list[_Waiter], first: int) -> None:
    """On the loop: tell the waiters the indices of their entries."""
    for index, (_, future) in enumerate(waiters, first):
        if not future.done():
            future.set_result(index)


def _reject(waiters: list[_Waiter], failure: str) -> None:
    """On the loop: tell the waiters that their entries are not durable."""
    for _, future in waiters:
        if not future.done():
            future.set_exception(LogUnavailable(failure))


def _take_lock(directory: Path) -> int:
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LogInUse(f"another gatepass is writing the log in {directory}; stop it first") from None
    return descriptor


def _open_pending(tiles: Tiles) -> int:
    """Open ``pending`` with room for a bundle.

    Octets that replace zeros need no new blocks: they are durable in half the time.
    """
    descriptor = os.open(tiles.directory / PENDING, os.O_WRONLY | os.O_CREAT, 0o600)
    size = os.fstat(descriptor).st_size
    if size < ROOM:
        durable.append(descriptor, bytes(ROOM - size), size)
    sync_directory(tiles.directory)
    return descriptor


def _trim(descriptor: int, size: int) -> None:
    """Give back the room that was not needed."""
    os.ftruncate(descriptor, size)
    os.fsync(descriptor)
