"""HTTP/1.1 framing as the test worlds read it (RFC 9112), independent of the parser under test.

Lenient on purpose: a world records what it got, and the test judges. It is shared by the raw client
and the scripted upstream.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

Header = tuple[bytes, bytes]
CRLF = b"\r\n"
BLOCK = 64 * 1024


class Malformed(Exception):
    """What arrived is not an HTTP/1.1 message."""


@dataclass(frozen=True, slots=True)
class Head:
    """A message head: its three start-line parts, its headers in order, and its exact bytes."""

    start: tuple[bytes, bytes, bytes]
    headers: tuple[Header, ...]
    raw: bytes

    def all(self, name: str) -> list[bytes]:
        """Every value of the header, in order."""
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]

    def get(self, name: str) -> bytes | None:
        """The first value of the header, or None."""
        return next(iter(self.all(name)), None)


def number(text: bytes, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError as error:
        raise Malformed(f"not a number: {text!r}") from error


def parse_fields(lines: Iterable[bytes]) -> tuple[Header, ...]:
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise Malformed(f"no colon in {line!r}")
        fields.append((name, value.strip(b" \t")))
    return tuple(fields)


def parse_head(raw: bytes) -> Head:
    first, *lines = raw.removesuffix(CRLF + CRLF).split(CRLF)
    parts = [*first.split(b" ", 2), b"", b""][:3]
    return Head((parts[0], parts[1], parts[2]), parse_fields(lines), raw)


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """The next head, or None where the peer closed without sending another byte."""
    try:
        return parse_head(await reader.readuntil(CRLF + CRLF))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Malformed(f"the head ends early: {error.partial!r}") from error
        return None


@dataclass(slots=True)
class Body:
    """A body as it is being read: iterate it once. ``trailers`` are known when it has ended."""

    reader: asyncio.StreamReader
    length: int | None  # None: until the peer closes
    chunked: bool = False
    trailers: tuple[Header, ...] = ()
    chunks: list[int] = field(default_factory=list)  # sizes of the chunks, as framed by the peer
    ended: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.ended:
            return
        pieces = self._chunked() if self.chunked else self._plain()
        async for piece in pieces:
            yield piece
        self.ended = True

    async def read(self) -> bytes:
        """The rest of the body."""
        return b"".join([piece async for piece in self])

    async def _plain(self) -> AsyncIterator[bytes]:
        left = self.length
        while left is None or left > 0:
            piece = await self.reader.read(BLOCK if left is None else min(BLOCK, left))
            if not piece:
                if left is None:
                    return
                raise Malformed(f"the body ends {left} octets early")
            left = None if left is None else left - len(piece)
            yield piece

    async def _chunked(self) -> AsyncIterator[bytes]:
        while size := number((await self._line()).partition(b";")[0], 16):
            self.chunks.append(size)
            left = size
            while left:
                piece = await self.reader.read(min(BLOCK, left))
                if not piece:
                    raise Malformed("the chunked body ends early")
                left -= len(piece)
                yield piece
            if await self._line():
                raise Malformed("no CRLF after a chunk")
        lines = []
        while line := await self._line():
            lines.append(line)
        self.trailers = parse_fields(lines)

    async def _line(self) -> bytes:
        try:
            return (await self.reader.readuntil(CRLF))[:-2]
        except asyncio.IncompleteReadError as error:
            raise Malformed("the chunked body ends early") from error


def request_body(reader: asyncio.StreamReader, head: Head) -> Body:
    """The body that follows a request head (RFC 9112, 6.3)."""
    if (head.get("transfer-encoding") or b"").lower().endswith(b"chunked"):
        return Body(reader, None, chunked=True)
    return Body(reader, number(head.get("content-length") or b"0"))


def response_body(reader: asyncio.StreamReader, head: Head, *, to_head: bool) -> Body:
    """The body that follows a response head (RFC 9112, 6.3); ``to_head``: it answers a HEAD."""
    status = number(head.start[1])
    if to_head or status < 200 or status in {204, 304}:
        return Body(reader, 0)
    if (head.get("transfer-encoding") or b"").lower().endswith(b"chunked"):
        return Body(reader, None, chunked=True)
    length = head.get("content-length")
    return Body(reader, None if length is None else number(length))


def response(
    status: int, body: bytes = b"", *headers: Header, reason: bytes = b"Scripted", length: int | None = None
) -> bytes:
    """A response with ``Content-Length`` (which lies if ``length`` says so)."""
    head = [b"HTTP/1.1 %d %s" % (status, reason)]
    head += [b"%s: %s" % pair for pair in headers]
    if status >= 200 and status not in {204, 304}:
        head.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return CRLF.join(head) + CRLF + CRLF + body
