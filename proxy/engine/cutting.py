"""Connections that were cut together, and the wait until nothing of them is left."""

import asyncio
from collections.abc import Iterable

PATIENCE = 5.0  # seconds, at most, for what was cut to end by itself


class Cutting:
    """``connections`` says how many were cut. Their sockets were closed at once; their tasks still end."""

    def __init__(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        self._tasks = frozenset(tasks)
        self.connections = len(self._tasks)

    async def done(self) -> None:
        """Wait until every exchange on them has its outcome.

        One that waits for a key or a credential, which nothing cuts, is cancelled after a while. It ends
        with its outcome, too, and nothing of it has left.
        """
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=PATIENCE)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)
