"""Listeners, the sweep, the drain: the life of the data plane.

SIGTERM means ``drain``: no new connections, running exchanges finish up to a deadline, the rest is cut.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from proxy.engine.deadlines import Deadlines
from proxy.engine.front import Census, Connection, Terms
from proxy.engine.judge import Caller, Fixed
from proxy.engine.wire import Wire
from proxy.errors import Code, Refusal

_SWEEP = 0.25
_LOOK = 0.01
_BACKLOG = 1024
_PATIENCE = 5.0  # seconds, at most, for what was cut to end by itself
_TASK_OVER = Refusal(Code.TASK_ENDED, "the task ended while the call was running")
_STOPPED = Refusal(Code.DRAINING, "gatepass stopped before the call was complete")


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen, and the identity that the listener carries, if any."""

    host: str
    port: int
    fixed: Fixed | None


class Server:
    """Accepts downstream connections. ``alarm`` tells the operator what went wrong, in one line each."""

    def __init__(
        self, terms: Terms, deadlines: Deadlines, max_connections: int, alarm: Callable[[str], None]
    ) -> None:
        self._terms = terms
        self._deadlines = deadlines
        self._max = max_connections
        self._alarm = alarm
        self._census = Census()
        self._running: dict[asyncio.Task[None], Connection] = {}
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self.addresses: list[tuple[str, int]] = []

    async def listen(self, listeners: list[Listener]) -> None:
        """Bind every listener, then accept.

        :raises OSError: an address cannot be bound; nothing is left listening.
        """
        loop = asyncio.get_running_loop()
        try:
            for listener in listeners:
                server = await loop.create_server(
                    self._accept(listener), listener.host, listener.port, backlog=_BACKLOG
                )
                self._servers.append(server)
                self.addresses.append((listener.host, server.sockets[0].getsockname()[1]))
        except OSError:
            for server in self._servers:
                server.close()
            raise
        self._sweeper = loop.create_task(self._sweep())

    def own(self) -> frozenset[tuple[str, int]]:
        """The listeners' addresses: no request may be relayed to them."""
        own: set[tuple[str, int]] = set(self.addresses)
        for host, port in self.addresses:
            if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to
                own |= {("127.0.0.1", port), ("::1", port)}
        return frozenset(own)

    def end_task(self, task_id: str) -> None:
        """Cut every connection of a task that is over."""
        for connection in list(self._census.by_task.get(task_id, ())):
            connection.cut(_TASK_OVER)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let running exchanges finish for ``seconds``, cut the rest."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        for server in self._servers:
            server.close()
        for connection in list(self._running.values()):
            connection.stop()
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)
        for connection in list(self._running.values()):
            connection.cut(_STOPPED)
        if self._running:
            await asyncio.wait(self._running, timeout=min(seconds, _PATIENCE))
        for task in list(self._running):
            task.cancel()  # it waits for a name or a dial, which nothing cuts; its outcome is to be recorded
        if self._running:
            await asyncio.wait(self._running)
        self._terms.pool.close()
        while self._deadlines.wires and loop.time() < deadline:  # noqa: ASYNC110 - wires say nothing when empty
            await asyncio.sleep(_LOOK)  # what was answered is still on its way to a slow reader
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _accept(self, listener: Listener) -> Callable[[], Wire]:
        def accepted(wire: Wire) -> None:
            if len(self._running) >= self._max:
                self._alarm(f"{wire.peer} turned away: {self._max} connections are open (limits.connections)")
                wire.abort()
                return
            connection = Connection(wire, Caller(wire.peer, listener.fixed), self._terms, self._census)
            task = asyncio.get_running_loop().create_task(connection.serve())
            self._running[task] = connection
            task.add_done_callback(self._served)

        return lambda: Wire(self._deadlines, accepted)

    def _served(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._alarm(f"a connection failed: {type(error).__name__}: {error}")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self._deadlines.sweep()
            self._terms.pool.sweep()
