"""A real upstream API on 127.0.0.1: HTTP/1.1 over TLS, scripted, and it records every byte it gets.

The TCP connection is accepted first and the handshake comes after, so that a connection which fails
in TLS is on record too. A path without a script echoes the request as JSON.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tests.support.behaviours import ROUTES, echo
from tests.support.call import Call, Connection, Handler, Received
from tests.support.certificates import Certificate, server_context
from tests.support.wire import Malformed, read_head, request_body

HANDSHAKE_S = 10.0
# What a peer may do to a server: end early, reset, speak nonsense, fail the handshake.
PEER_FAULTS = (OSError, EOFError, Malformed, asyncio.LimitOverrunError)


class Upstream:
    """``async with Upstream("api.test") as up``: listens while inside and stops everything on the way out.

    ``hosts`` are the names in its certificate. ``connections`` and ``requests`` are the record, in
    order; ``release`` is the event some canned answers wait for. A handler that raises fails the
    test on the way out.
    """

    def __init__(
        self,
        *hosts: str,
        tls: bool = True,
        certificate: Certificate = Certificate.GOOD,
        alpn: tuple[str, ...] = ("http/1.1",),
        authority: trustme.CA | None = None,
        default: Handler = echo,
        bind: str = "127.0.0.1",
    ) -> None:
        self.hosts = hosts or ("api.test",)
        self.tls = tls
        self.authority = authority or trustme.CA()
        self.connections: list[Connection] = []
        self.requests: list[Received] = []
        self.release = asyncio.Event()
        self._routes = dict(ROUTES)
        self._default = default
        self._bind = bind
        self._context = server_context(self.authority, self.hosts, certificate, alpn)
        self._context.sni_callback = self._hello
        self._sni: dict[ssl.SSLObject | ssl.SSLSocket, str | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    def on(self, path: str, handler: Handler) -> None:
        """Script one path."""
        self._routes[path] = handler

    @property
    def address(self) -> tuple[str, int]:
        return self._bind, self.port

    @property
    def ca_pem(self) -> bytes:
        """The CA certificate that issued this upstream's."""
        return self.authority.cert_pem.bytes()

    def write_ca(self, directory: Path) -> Path:
        """Write the CA into a directory of extra roots, named after the first host."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.hosts[0]}.pem"
        path.write_bytes(self.ca_pem)
        return path

    @property
    def bytes_received(self) -> int:
        """Octets received on all connections (after TLS)."""
        return sum(connection.count for connection in self.connections)

    @property
    def received(self) -> bytes:
        """Those octets themselves, as far as they are kept: for ``assert secret not in up.received``."""
        return b"".join(bytes(connection.received) for connection in self.connections)

    async def until(self, condition: Callable[[], bool], within: float = 10) -> None:
        """Wait until a condition on the record holds: a connection, a head, an answer, a close.

        :raises TimeoutError: if it does not hold ``within`` seconds.
        """
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(condition)

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server((self._bind, 0), backlog=512)
        self._listener.settimeout(0)
        self.port: int = self._listener.getsockname()[1]
        self._spawn(self._accept())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        faults = [one for one in outcomes if isinstance(one, Exception)]
        if faults and error is None:
            raise ExceptionGroup("the upstream's own handlers failed", faults)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(work))

    def _hello(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        self._sni[tls] = name

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, peer = await loop.sock_accept(self._listener)
            connection = Connection(len(self.connections), peer)
            self.connections.append(connection)
            self._spawn(self._serve(connection, sock))

    async def _serve(self, connection: Connection, sock: socket.socket) -> None:
        await self._note()
        writer: asyncio.StreamWriter | None = None
        try:
            writer = await self._open(connection, sock)
            while await self._one(connection, writer):
                await self._note()
        except PEER_FAULTS as error:
            connection.failure = error
        finally:
            if writer is None:
                sock.close()
            else:
                writer.close()
                with contextlib.suppress(OSError):  # the peer may be gone already
                    await writer.wait_closed()
            connection.closed.set()
            await self._note()

    async def _open(self, connection: Connection, sock: socket.socket) -> asyncio.StreamWriter:
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(connection, loop=loop)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            sock,
            ssl=self._context if self.tls else None,
            ssl_handshake_timeout=HANDSHAKE_S if self.tls else None,
        )
        connection.established = True
        if (handshake := transport.get_extra_info("ssl_object")) is not None:
            connection.sni, connection.alpn = (
                self._sni.pop(handshake, None),
                handshake.selected_alpn_protocol(),
            )
        await self._note()
        return asyncio.StreamWriter(transport, protocol, connection, loop)

    async def _one(self, connection: Connection, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False where the connection ends with it."""
        head = await read_head(connection)
        if head is None:
            return False
        received = Received(connection, head)
        self.requests.append(received)
        await self._note()
        call = Call(received, request_body(connection, head), writer, self.release)
        await self._routes.get(received.path, self._default)(call)
        if not call.close and not received.complete:
            await call.take()
        return not call.close and (head.get("connection") or b"").lower() != b"close"
