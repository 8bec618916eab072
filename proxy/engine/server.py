"""Listeners, the sweep, the cut, the drain: the life of the data plane.

SIGTERM means ``drain``: no new connections, running exchanges finish up to a deadline, the rest is cut.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from proxy.engine.caller import Caller
from proxy.engine.census import Census
from proxy.engine.cutting import PATIENCE, Cutting
from proxy.engine.deadlines import Deadlines
from proxy.engine.front import Connection, Terms
from proxy.engine.listener import Listener, UnixListener, bind, over_tcp, over_unix, place, port
from proxy.engine.listener_tls import ListenerTls
from proxy.engine.wire import Wire
from proxy.errors import Code, Refusal
from proxy.identity.arrival import Arrival
from proxy.identity.principal import Principal

_SWEEP = 0.25
_LOOK = 0.01
_TASK_OVER = Refusal(Code.TASK_ENDED, "the task ended while the call was running")
_LISTED = Refusal(Code.REVOKED, "the client's certificate is on the revocation list")
_STOPPED = Refusal(Code.DRAINING, "gatepass stopped before the call was complete")


class Server:
    """Accepts downstream connections. ``alarm`` tells the operator what went wrong, in one line each.

    ``addresses`` are those of the TCP listeners; ``places`` says for people where every listener is.
    """

    def __init__(
        self, terms: Terms, deadlines: Deadlines, max_connections: int, alarm: Callable[[str], None]
    ) -> None:
        self._terms = terms
        self._deadlines = deadlines
        self._max = max_connections
        self._alarm = alarm
        self._census = Census()
        self._arriving: dict[asyncio.Task[None], Wire] = {}  # in the handshake of the listener's own TLS
        self._running: dict[asyncio.Task[None], Connection] = {}
        self._shown: dict[asyncio.Task[None], tuple[ListenerTls, bytes]] = {}  # certificates, in DER
        self._servers: list[asyncio.Server] = []
        self._tls: list[ListenerTls] = []
        self._draining = False
        self._sweeper: asyncio.Task[None] | None = None
        self.addresses: list[tuple[str, int]] = []
        self.places: list[str] = []

    async def listen(self, listeners: Sequence[Listener | UnixListener]) -> None:
        """Bind every listener, then accept; may be called again for more.

        :raises OSError: an address cannot be bound; nothing is left listening.
        """
        try:
            for listener in listeners:
                server = await bind(listener, self._accept(listener))
                self._servers.append(server)
                self.places.append(place(listener, server))
                if isinstance(listener, Listener):
                    self.addresses.append((listener.host, port(server)))
                    self._tls += [] if listener.tls is None else [listener.tls]
            for server in self._servers:
                await server.start_serving()
        except OSError:
            for server in self._servers:
                server.close()
            raise
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def own(self) -> frozenset[tuple[str, int]]:
        """The listeners' addresses: no request may be relayed to them."""
        own: set[tuple[str, int]] = set(self.addresses)
        for host, number in self.addresses:
            if host in {"0.0.0.0", "::", "localhost"}:  # noqa: S104 - compared with, not bound to
                own |= {("localhost", number), ("127.0.0.1", number), ("::1", number)}
        return frozenset(own)

    # -- cutting --

    def end_task(self, task_id: str, refusal: Refusal = _TASK_OVER) -> None:
        """Cut every connection of a task that is over."""
        for connection in list(self._census.by_task.get(task_id, ())):
            connection.cut(refusal)

    def cut(self, reaches: Callable[[Principal], bool], refusal: Refusal) -> Cutting:
        """Cut every connection whose principal is reached; no byte of theirs leaves once this has returned.

        Whose a connection is, is known from its first request that was attributed.
        """
        reached = {
            task: connection
            for task, connection in self._running.items()
            if connection.principal is not None and reaches(connection.principal)
        }
        for connection in reached.values():
            connection.cut(refusal)
        return Cutting(reached)

    async def drain(self, seconds: float) -> None:
        """Stop accepting, let running exchanges finish for ``seconds``, cut the rest."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        self._draining = True
        for server in self._servers:
            server.close()
        for wire in list(self._arriving.values()):
            wire.cut()
        for connection in list(self._running.values()):
            connection.stop()
        await self._ended(seconds)
        for connection in list(self._running.values()):
            connection.cut(_STOPPED)
        await self._ended(min(seconds, PATIENCE))
        for task in self._tasks():
            task.cancel()  # it waits for a key or a credential, which nothing cuts; it ends with its record
        await self._ended(None)
        self._terms.pool.close()
        while self._deadlines.wires and loop.time() < deadline:  # noqa: ASYNC110 - wires say nothing when empty
            await asyncio.sleep(_LOOK)  # what was answered is still on its way to a slow reader
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [*self._arriving, *self._running]

    async def _ended(self, seconds: float | None) -> None:
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=seconds)

    # -- one connection --

    def _accept(self, listener: Listener | UnixListener) -> Callable[[], Wire]:
        def accepted(wire: Wire) -> None:
            if len(self._arriving) + len(self._running) >= self._max:
                self._alarm(f"{wire.peer} turned away: {self._max} connections are open (limits.connections)")
                wire.abort()
            elif isinstance(listener, UnixListener):
                self._through_unix(wire, listener)
            elif listener.tls is not None:
                self._arriving[self._spawn(self._greet(wire, listener, listener.tls))] = wire
            else:
                connection = self._connection(wire, over_tcp(wire, listener.fixed))
                self._running[self._spawn(connection.serve())] = connection

        return lambda: Wire(self._deadlines, accepted)

    def _through_unix(self, wire: Wire, listener: UnixListener) -> None:
        try:
            arrival = over_unix(wire, listener.fixed)
        except OSError as error:
            self._alarm(f"a connection to {listener.socket.getsockname()} was turned away: {error}")
            wire.abort()
            return
        connection = self._connection(wire, arrival)
        self._running[self._spawn(connection.serve())] = connection

    async def _greet(self, wire: Wire, listener: Listener, tls: ListenerTls) -> None:
        """The listener's TLS, and then the connection, in one task."""
        task = asyncio.current_task()
        assert task is not None
        wire.deadline = self._terms.now() + self._terms.handshake_timeout
        try:
            certificate = await tls.welcome(wire)
        except BaseException:
            wire.abort()
            raise
        wire.deadline = None
        if certificate is None:
            return
        if self._draining:
            wire.close()
            return
        connection = self._connection(wire, over_tcp(wire, listener.fixed, certificate))
        del self._arriving[task]
        self._running[task] = connection
        self._shown[task] = tls, certificate.der
        await connection.serve()

    def _connection(self, wire: Wire, arrival: Arrival) -> Connection:
        return Connection(wire, Caller(arrival), self._terms, self._census)

    def _spawn(self, serving: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(serving)
        task.add_done_callback(self._served)
        return task

    def _served(self, task: asyncio.Task[None]) -> None:
        self._arriving.pop(task, None)
        self._running.pop(task, None)
        self._shown.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._alarm(f"a connection failed: {type(error).__name__}: {error}")

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self._deadlines.sweep()
            self._terms.pool.sweep()
            self._terms.enforcer.sweep()
            for tls in self._tls:
                tls.sweep()
                self._cut_listed(tls)

    def _cut_listed(self, tls: ListenerTls) -> None:
        """Cut whoever's certificate the listener's revocation list has come to name."""
        is_named = tls.newly_listed()
        if is_named is None:
            return
        for task, (listener, certificate) in list(self._shown.items()):
            if listener is tls and is_named(certificate):
                self._running[task].cut(_LISTED)
