"""The chunked transfer coding (RFC 9112, 7.1), read strictly and without a clock or a socket.

Read strictly means: CRLF ends every line, sizes are plain hexadecimal, nothing stands around them,
and extensions follow their grammar, short, and are dropped. Whatever else servers accept is refused,
because two servers that disagree about where a chunk ends see different requests.
"""

import re
from enum import Enum, auto

from proxy.errors import Code, Refusal
from proxy.http import field
from proxy.http.message import Header, Headers

LAST = b"0\r\n\r\n"
_SIZE = re.compile(
    rb"([0-9A-Fa-f]{1,15})"
    rb"(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
    rb"(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\"))?)*"
)
_MAX_SIZE_LINE = 256


def encode(piece: bytes) -> bytes:
    """One chunk; nothing for an empty piece, because an empty chunk is the end."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def format_trailers(trailers: Headers) -> bytes:
    """The last chunk with its trailer section; ``LAST`` if there are no trailers."""
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value in trailers)
    return b"0\r\n%b\r\n" % lines


class _Expecting(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    NOTHING = auto()


class ChunkedDecoder:
    """Decodes one chunked body.

    After the end ``done`` is true, ``trailers`` holds the trailer fields in order (not yet judged: see
    ``guard.guard_trailers``) and ``rest`` every octet that was fed and belongs to the next message.
    ``error`` is the refusal if the body is not well-formed; ``code`` is what it says: MALFORMED for an
    agent's body, UPSTREAM_PROTOCOL for an answer's. ``max_trailer`` is in octets of all trailers.
    """

    __slots__ = (
        "_code",
        "_expecting",
        "_held",
        "_left",
        "_max_trailer",
        "_room",
        "_trailers",
        "error",
        "rest",
    )

    def __init__(self, max_trailer: int = 8192, code: Code = Code.MALFORMED) -> None:
        self._code = code
        self._expecting = _Expecting.SIZE
        self._held = b""  # the start of a line whose end has not come
        self._left = 0  # octets of this chunk that have not come
        self._max_trailer = max_trailer
        self._room = max_trailer
        self._trailers: list[Header] = []
        self.error: Refusal | None = None
        self.rest = b""

    @property
    def done(self) -> bool:
        """Whether the whole body, its trailers included, has come."""
        return self._expecting is _Expecting.NOTHING

    @property
    def trailers(self) -> Headers:
        """The trailer fields, complete once ``done``."""
        return tuple(self._trailers)

    def feed(self, data: bytes) -> list[bytes]:
        """Take octets as they come and give the pieces of body in them, in order.

        A piece is ``data`` itself where all of it is body. Once ``error`` is set nothing comes out any
        more. After the end everything fed is ``rest``.
        """
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and self.error is None:
            if self._expecting is _Expecting.DATA:
                end = at + self._left
                piece = data[at:end]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._expecting = _Expecting.DATA_END
            elif self._expecting is _Expecting.NOTHING:
                self.rest += data[at:]
                break
            else:
                line, at = self._line(data, at)
                reason = self._too_long() if line is None else self._take(line)
                if reason:
                    self.error = Refusal(self._code, f"chunked body: {reason}")
        return pieces

    def _line(self, data: bytes, at: int) -> tuple[bytes | None, int]:
        """A whole line with its LF, or None after having put aside what has come of it."""
        end = data.find(b"\n", at) + 1
        if end == 0:
            self._held += data[at:]
            return None, len(data)
        line = self._held + data[at:end]
        self._held = b""
        return line, end

    def _too_long(self) -> str:
        """Why waiting for the rest of a line makes no sense."""
        limit = {_Expecting.SIZE: _MAX_SIZE_LINE, _Expecting.DATA_END: 1}.get(self._expecting, self._room)
        return "a line is too long" if len(self._held) > limit else ""

    def _take(self, line: bytes) -> str:
        """Act on one line; the answer is what is wrong with it."""
        if not line.endswith(b"\r\n"):
            return "a line ends without CRLF"
        content = line[:-2]
        if self._expecting is _Expecting.DATA_END:
            self._expecting = _Expecting.SIZE
            return "a chunk is longer than its size" if content else ""
        if self._expecting is _Expecting.SIZE:
            match = _SIZE.fullmatch(content)
            if match is None or len(content) > _MAX_SIZE_LINE:
                return "the size of a chunk is not a plain hexadecimal number"
            self._left = int(match[1], 16)
            self._expecting = _Expecting.DATA if self._left else _Expecting.TRAILER
            return ""
        return self._take_trailer(content)

    def _take_trailer(self, content: bytes) -> str:
        if not content:
            self._expecting = _Expecting.NOTHING
            return ""
        self._room -= len(content) + 2
        if self._room < 0:
            return f"the trailers are longer than {self._max_trailer} octets"
        name, colon, value = content.partition(b":")
        trailer = (name, value.strip(b" \t"))
        if not colon or field.fault((trailer,), 1, self._max_trailer):
            return "a trailer is not a header field"
        self._trailers.append(trailer)
        return ""
