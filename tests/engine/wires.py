"""Two wires that talk to each other, and one that is fed by hand."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

import trustme

from proxy.engine.deadlines import Deadlines
from proxy.engine.wire import Wire

AUTHORITY = trustme.CA()
WAIT_S = 30.0  # for a whole test: uvloop cannot be interrupted from outside


def server_context(*, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    AUTHORITY.issue_cert("api.test").configure_cert(context)
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


class Clock:
    """Time that stands still until it is told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@contextlib.asynccontextmanager
async def pair(
    *, tls: bool = False, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, now: Clock | None = None
) -> AsyncIterator[tuple[Wire, Wire]]:
    """Server side and client side of one connection, both wires of the same sweep."""
    loop, deadlines = asyncio.get_running_loop(), Deadlines(now or Clock())
    accepted: asyncio.Future[Wire] = loop.create_future()
    server = await loop.create_server(lambda: Wire(deadlines, accepted.set_result), "127.0.0.1", 0)
    async with server:
        _, client = await loop.create_connection(lambda: Wire(deadlines), *server.sockets[0].getsockname())
        wire = await accepted
        try:
            async with asyncio.timeout(WAIT_S):
                if tls:
                    await asyncio.gather(
                        wire.secure(server_context(version=version)),
                        client.secure(client_context(), server_name="api.test"),
                    )
                yield wire, client
        finally:
            wire.abort()
            client.abort()


@contextlib.asynccontextmanager
async def against_socket(now: Clock | None = None) -> AsyncIterator[tuple[Wire, socket.socket]]:
    """A wire and the plain socket at its other end."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _, wire = await loop.create_connection(
            lambda: Wire(Deadlines(now or Clock())), *listener.getsockname()
        )
        peer, _ = listener.accept()
        with peer:
            try:
                async with asyncio.timeout(WAIT_S):
                    yield wire, peer
            finally:
                wire.abort()


async def everything(wire: Wire) -> bytes:
    """All that arrives until the peer ends its direction."""
    parts = []
    while data := await wire.read():
        parts.append(data)
    return b"".join(parts)


def fed(*pieces: bytes, end: bool = False) -> Wire:
    """A wire without a connection on which these pieces have arrived."""
    wire = Wire(Deadlines(Clock()))
    for piece in pieces:
        wire.data_received(piece)
    if end:
        wire.eof_received()
    return wire
