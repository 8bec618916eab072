"""Message bodies (RFC 9112, 6 and 7): read by their framing, written again by the receiver's.

A ``Body`` stops exactly where its message ends; what was read too far stays in its ``Reading``.
"""

from typing import Protocol

from proxy.engine.head import Reading
from proxy.engine.wire_error import WireError
from proxy.http.chunked import LAST, ChunkedDecoder, encode, format_trailers
from proxy.http.message import Chunked, Framing, Headers, Length, NoBody, UntilClose


class Truncated(WireError):
    """The peer ended its direction before the message was complete."""


class BadFraming(WireError):
    """The octets break the transfer coding."""


class Body:
    """The body of one message, read piece by piece as it arrives."""

    __slots__ = ("_decoder", "_left", "_pieces", "_reading", "done", "framing", "trailers")

    def __init__(self, reading: Reading, framing: Framing) -> None:
        self.framing = framing
        self.trailers: Headers = ()
        self._reading = reading
        self._pieces: list[bytes] = []
        self._decoder: ChunkedDecoder | None = None
        self._left = 0
        self.done = False
        if isinstance(framing, Length):
            self._left = framing.octets
            self.done = framing.octets == 0
        elif isinstance(framing, Chunked):
            self._decoder = ChunkedDecoder()
        else:
            self.done = isinstance(framing, NoBody)

    async def read(self) -> bytes:
        """The next piece, in the size it came; ``b""`` once the message is complete.

        Raises as ``Wire.read``. :raises Truncated: it ended too early. :raises BadFraming: malformed chunk.
        """
        while not self.done:
            data = await self._reading.some()
            if not data:
                if isinstance(self.framing, UntilClose):
                    self.done = True
                    return b""
                raise Truncated(self._reading.wire)
            piece = self._take(data)
            if piece:
                return piece
        return b""

    def ready(self) -> bytes:
        """What of the body has already been read from the wire, without waiting; may raise ``BadFraming``."""
        if self.done or not self._reading.rest:
            return b""
        return self._take(self._reading.take_rest())

    def _take(self, data: bytes) -> bytes:
        if self._decoder is not None:
            return self._unchunk(self._decoder, data)
        if isinstance(self.framing, UntilClose):
            return data
        if len(data) > self._left:
            self._reading.unread(data[self._left :])
            data = data[: self._left]
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def _unchunk(self, decoder: ChunkedDecoder, data: bytes) -> bytes:
        pieces = decoder.feed(data)
        if decoder.error is not None:
            raise BadFraming(self._reading.wire)
        if decoder.done:
            self.done = True
            self.trailers = decoder.trailers
            self._reading.unread(decoder.rest)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Writer(Protocol):
    """How a body is framed for its receiver."""

    def piece(self, data: bytes) -> bytes:
        """The octets that carry ``data`` (not empty)."""
        ...

    def last(self, trailers: Headers) -> bytes:
        """The octets that end the body."""
        ...


class Plain:
    """Length or close delimits the body: the octets stand for themselves."""

    def piece(self, data: bytes) -> bytes:
        """See ``Writer``."""
        return data

    def last(self, trailers: Headers) -> bytes:  # noqa: ARG002 - only chunked bodies have room for trailers
        """See ``Writer``."""
        return b""


class Chunks:
    """The chunked transfer coding."""

    def piece(self, data: bytes) -> bytes:
        """See ``Writer``."""
        return encode(data)

    def last(self, trailers: Headers) -> bytes:
        """See ``Writer``."""
        return LAST if not trailers else format_trailers(trailers)


PLAIN, CHUNKS = Plain(), Chunks()
