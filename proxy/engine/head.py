"""Message heads (RFC 9112, 2.1 to 5), parsed by llhttp after checks of our own on the raw lines.

A head is cut out at its empty line *before* llhttp sees it, so llhttp never reads past it: pipelined
messages are decided one at a time, and what follows an upgrade is never parsed by accident. llhttp
lets through what ``_REQUEST_LINE`` and ``_STATUS_LINE`` refuse (RTSP and HTTP/2.0 version lines,
two spaces after the method); ``http.guard`` adds what concerns headers.
"""

import re

import httptools

from proxy.engine.wire import Wire
from proxy.errors import Code, Refusal
from proxy.http.message import Header, RequestHead, ResponseHead

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (\S+) HTTP/(\d)\.(\d)\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5]\d\d(?: [\t -~\x80-\xff]*)?\r\n")
_BARE = re.compile(rb"(?<!\r)\n|\r(?![\n]|\Z)")
_END = b"\r\n\r\n"


class HeadTooLarge(Exception):
    """The head exceeds its limit before its end was seen."""


class MalformedHead(Exception):
    """The octets cannot become a head, whatever follows."""


class Reading:
    """The read side of a wire, with what was read too far."""

    __slots__ = ("_rest", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._rest = b""

    @property
    def rest(self) -> bytes:
        """Octets that have been read from the wire and not consumed."""
        return self._rest

    def unread(self, data: bytes) -> None:
        """Give octets back; they come out first."""
        self._rest = data + self._rest if self._rest else data

    async def some(self) -> bytes:
        """The next octets, ``b""`` at the end. Raises as ``Wire.read``."""
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        return await self.wire.read()

    def take_rest(self) -> bytes:
        """Consume and return what was read too far."""
        data, self._rest = self._rest, b""
        return data

    async def head(self, limit: int) -> bytes | None:
        """The octets of the next head up to and with its empty line; None if the peer ended before one.

        One empty line before the head is skipped (RFC 9112, 2.2). Raises as ``Wire.read``.

        :raises HeadTooLarge: no end within ``limit`` octets. :raises MalformedHead: it cannot end well.
        """
        data = self._rest
        skipped, seen = False, 0  # each octet is looked at once, however few come at a time
        while True:
            if not skipped and data.startswith(b"\r\n"):
                data, skipped = data[2:], True
            end = data.find(_END, max(0, seen - 3))
            if 0 <= end <= limit:
                self._rest = data[end + 4 :]
                return data[: end + 4]
            if end > limit or len(data) > limit + 4:
                self._rest = b""
                raise HeadTooLarge
            if data and _BARE.search(data, max(0, seen - 1)):
                self._rest = b""
                raise MalformedHead("a line does not end in CR LF")
            seen = len(data)
            more = await self.wire.read()
            if not more:
                self._rest = b""
                if data:
                    raise MalformedHead("the connection ended in the middle of a head")
                return None
            data = data + more if data else more


class _Parts:
    """What llhttp calls back with."""

    __slots__ = ("complete", "headers", "reason", "url")

    def __init__(self) -> None:
        self.url = b""
        self.reason = b""
        self.headers: list[Header] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_request(raw: bytes) -> RequestHead | Refusal:
    """One request head from exactly its octets."""
    line = _REQUEST_LINE.match(raw)
    if line is None:
        return Refusal(Code.MALFORMED, "the request line is not METHOD SP target SP HTTP/1.1")
    if line[3] != b"1" or line[4] not in b"01":
        return Refusal(Code.MALFORMED, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    parts = _Parts()
    parser = httptools.HttpRequestParser(parts)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade as upgrade:
        if upgrade.args[0] != len(raw):
            return Refusal(Code.MALFORMED, "octets follow the head that belong to no message")
    except httptools.HttpParserInvalidMethodError:
        return Refusal(
            Code.METHOD_UNSUPPORTED, f"{line[1].decode('ascii')[:32]} is not a method that is relayed"
        )
    except httptools.HttpParserError as error:
        return Refusal(Code.MALFORMED, f"the request head does not parse: {error}")
    if not parts.complete or parts.url != line[2] or parser.get_method() != line[1]:
        return Refusal(Code.MALFORMED, "the request head does not parse")
    return RequestHead(line[1].decode("ascii"), parts.url, f"1.{line[4].decode()}", tuple(parts.headers))


def parse_response(raw: bytes) -> ResponseHead | Refusal:
    """One response head from exactly its octets; a failure is the upstream's."""
    if _STATUS_LINE.match(raw) is None:
        return Refusal(Code.UPSTREAM_PROTOCOL, "the status line is not HTTP/1.1 SP status")
    parts = _Parts()
    parser = httptools.HttpResponseParser(parts)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # a 101; the head is complete and nothing follows it in ``raw``
    except httptools.HttpParserError as error:
        return Refusal(Code.UPSTREAM_PROTOCOL, f"the response head does not parse: {error}")
    if not parts.complete:
        return Refusal(Code.UPSTREAM_PROTOCOL, "the response head does not parse")
    version = parser.get_http_version()
    return ResponseHead(parser.get_status_code(), parts.reason, version, tuple(parts.headers))


def format_response_head(status: int, reason: bytes, headers: list[Header] | tuple[Header, ...]) -> bytes:
    """The octets of a response head; ours to send, so the version is always 1.1."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, reason)]
    lines += [b"%s: %s\r\n" % header for header in headers]
    lines.append(b"\r\n")
    return b"".join(lines)


def format_request_head(method: str, target: bytes, headers: tuple[Header, ...]) -> bytes:
    """The octets of a request head."""
    lines = [b"%s %s HTTP/1.1\r\n" % (method.encode("ascii"), target)]
    lines += [b"%s: %s\r\n" % header for header in headers]
    lines.append(b"\r\n")
    return b"".join(lines)
