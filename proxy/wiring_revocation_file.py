"""The revocation file, joined to the orders: what stands in it holds, what is taken out is lifted."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from proxy.identity.revocation import Kind, Order
from proxy.identity.revocation_file import difference, source
from proxy.store.revocation_file import RevocationFile
from proxy.store.tasks import TaskBook, TaskStoreError
from proxy.wiring_revocation import Consequences


class Followed:
    """One file. ``start`` carries out what stands in it before it returns, then what changes."""

    def __init__(
        self, path: Path, book: TaskBook, consequences: Consequences, alarm: Callable[[str], None]
    ) -> None:
        self._path = path
        self._book = book
        self._consequences = consequences
        self._alarm = alarm
        self._file: RevocationFile | None = None
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Read the file and follow it.

        :raises ValueError: the file cannot be read or has a mistake; the words say where.
        :raises TaskStoreError: an order cannot be kept.
        """
        opened = RevocationFile.open(self._path, time.time_ns)
        if isinstance(opened, list):
            raise ValueError("; ".join(map(str, opened)))  # noqa: TRY004 - it is the content that is wrong
        await self._carry_out(opened.orders)
        self._file = opened
        opened.follow(self._changed, self._alarm)
        self._book.on_change(self._insist)

    async def close(self) -> None:
        """Stop following."""
        if self._file is not None:
            await self._file.close()
        if self._running:
            await asyncio.wait(self._running)

    def _insist(self) -> None:
        """What stands in the file holds, also when somebody has lifted it by other means."""
        if self._file is None:
            return
        standing = [order for order in self._file.orders if order.kind is not Kind.TASK]
        if any(self._book.revocations.get(order.kind, order.id) is None for order in standing):
            self._changed(self._file.orders)

    def _changed(self, orders: tuple[Order, ...]) -> None:
        running = asyncio.get_running_loop().create_task(self._try(orders))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _try(self, orders: tuple[Order, ...]) -> None:
        try:
            await self._carry_out(orders)
        except TaskStoreError as error:
            self._alarm(f"{self._path}: what changed in it could not be carried out: {error}")

    async def _carry_out(self, orders: tuple[Order, ...]) -> None:
        mine = source(str(self._path))
        async with self._turn:  # two changes in a row must not overtake each other
            held = [order for order in self._book.revocations if order.ordered_by == mine]
            change = difference(held, orders)
            for order in change.revoke:
                if await self._consequences.revoke(order) is None:
                    self._alarm(f"{self._path}: there is no task {order.id} to revoke")
            for kind, identity in change.lift:
                await self._consequences.lift(kind, identity, mine)
