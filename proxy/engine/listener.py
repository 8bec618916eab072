"""Where clients come in: a TCP address, plain or under TLS (``https://`` proxy), or a Unix socket.

Each kind says who is there in its own way: an address, a certificate, or the kernel's word. A listener
may also carry a fixed identity.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from proxy.engine import peer
from proxy.engine.listener_tls import ListenerTls
from proxy.engine.wire import Wire
from proxy.identity.arrival import Arrival, Certificate, Fixed

_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP address, and the identity that the listener carries, if any; ``tls`` demands a certificate."""

    host: str
    port: int
    fixed: Fixed | None
    tls: ListenerTls | None = None


@dataclass(frozen=True, slots=True)
class UnixListener:
    """A stream socket that is bound to its path already, by whoever may write files."""

    socket: socket.socket
    fixed: Fixed | None


async def bind(listener: Listener | UnixListener, factory: Callable[[], Wire]) -> asyncio.Server:
    """Bind, without accepting yet.

    :raises OSError: it cannot be bound, or this system does not tell who is at the end of a Unix socket.
    """
    loop = asyncio.get_running_loop()
    if isinstance(listener, Listener):
        return await loop.create_server(
            factory, listener.host, listener.port, backlog=_BACKLOG, start_serving=False
        )
    if not peer.supported():
        raise OSError("this system does not tell who connects to a Unix socket (SO_PEERCRED)")
    return await loop.create_unix_server(factory, sock=listener.socket, backlog=_BACKLOG, start_serving=False)


def place(listener: Listener | UnixListener, server: asyncio.Server) -> str:
    """Where it listens, for people."""
    if isinstance(listener, UnixListener):
        return f"unix:{listener.socket.getsockname()}"
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    scheme = "" if listener.tls is None else "https://"
    return f"{scheme}{host}:{port(server)}"


def port(server: asyncio.Server) -> int:
    """The TCP port that it got."""
    number = server.sockets[0].getsockname()[1]
    assert isinstance(number, int)
    return number


def over_tcp(wire: Wire, fixed: Fixed | None, certificate: Certificate | None = None) -> Arrival:
    """A connection from an address."""
    return Arrival(wire.peer, wire.peer.rpartition(":")[0], fixed, certificate=certificate)


def over_unix(wire: Wire, fixed: Fixed | None) -> Arrival:
    """A connection through a Unix socket; the wire's peer is named after it.

    :raises OSError: the kernel does not say who is there.
    """
    process = peer.process(wire.socket)
    wire.peer = f"unix uid={process.uid} pid={process.pid}"
    return Arrival(wire.peer, f"uid={process.uid}", fixed, process=process)
