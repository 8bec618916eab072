"""One request at the scripted upstream: what arrived, and the raw way back."""

import asyncio
import hashlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.support.wire import Body, Head, Header

KEEP = 1 << 20  # octets kept of each connection; beyond, they are only counted
HEAD = 1 << 20  # octets of the largest head it reads


class Connection(asyncio.StreamReader):
    """One accepted connection; it is its own stream reader, so nothing escapes the record.

    ``received`` holds the first ``KEEP`` octets after TLS, ``count`` counts all of them. ``failure``
    is what ended the TLS handshake or the conversation, if something did.
    """

    def __init__(self, index: int, peer: tuple[str, int]) -> None:
        super().__init__(limit=HEAD, loop=asyncio.get_running_loop())
        self.index = index
        self.peer = peer
        self.received = bytearray()
        self.count = 0
        self.sni: str | None = None
        self.alpn: str | None = None
        self.established = False  # TLS is up, or the upstream is plain
        self.failure: Exception | None = None
        self.closed = asyncio.Event()

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        self.received += data[: max(0, KEEP - len(self.received))]
        self.count += len(data)
        super().feed_data(data)


@dataclass(slots=True)
class Received:
    """One request as it arrived. ``length`` and ``sha256`` are of the decoded body, once ``complete``."""

    connection: Connection
    head: Head
    length: int = 0
    sha256: str = ""
    trailers: tuple[Header, ...] = ()
    chunks: list[int] = field(default_factory=list)
    complete: bool = False

    @property
    def method(self) -> str:
        return self.head.start[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.head.start[1].decode("latin-1")

    @property
    def version(self) -> str:
        return self.head.start[2].decode("latin-1")

    @property
    def headers(self) -> tuple[Header, ...]:
        return self.head.headers

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def query(self, name: str, default: str = "") -> str:
        return parse_qs(self.target.partition("?")[2]).get(name, [default])[0]


@dataclass(slots=True)
class Call:
    """What a handler works with. ``release`` is the upstream's event, set by the test."""

    received: Received
    body: Body
    writer: asyncio.StreamWriter
    release: asyncio.Event
    close: bool = False  # close the connection after this answer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def take(self) -> None:
        """Read the body to its end into the record: digest and length, never the octets."""
        digest = hashlib.sha256()
        async for piece in self.body:
            digest.update(piece)
            self.received.length += len(piece)
        self.received.sha256 = digest.hexdigest()
        self.received.trailers, self.received.chunks = self.body.trailers, self.body.chunks
        self.received.complete = True

    def abort(self) -> None:
        """Close with a TCP reset instead of an orderly end."""
        reset(self.writer)
        self.close = True


def reset(writer: asyncio.StreamWriter) -> None:
    """Drop the connection with RST (``SO_LINGER`` of zero seconds)."""
    sock: Any = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


Handler = Callable[[Call], Awaitable[None]]
