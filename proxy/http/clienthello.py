"""The first flight of a TLS client, read without answering it (RFC 8446, 4.1.2 and 5.1; RFC 6066, 3).

Only what decides where the connection may go is read: the server name, ALPN, the versions, and
whether encrypted ClientHello is offered (then the name is the outer one). Nothing is verified: the
TLS library reads the same octets again and has the last word.
"""

from dataclasses import dataclass
from struct import Struct

MAX_HELLO = 32768
"""Octets of one ClientHello; current clients send up to about 2,000."""

MAX_RECORDS = 32
"""Records it may be spread over; the octets are read anew each time more come, so this bounds the work."""

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_RECORD_HEAD, _MESSAGE_HEAD = 5, 4
_MAX_RECORD = 1 << 14
_EXTENSION = Struct(">HH")  # kind, length
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS, _ECH = 0, 16, 43, 0xFE0D


@dataclass(frozen=True, slots=True)
class ClientHello:
    """``sni`` is as sent, not yet judged as a host; ``versions`` are code points, ``0x0304`` is TLS 1.3."""

    sni: bytes | None
    alpn: tuple[bytes, ...]
    versions: tuple[int, ...]
    ech: bool


@dataclass(frozen=True, slots=True)
class Incomplete:
    """It may become a ClientHello; more octets are needed."""


@dataclass(frozen=True, slots=True)
class NotTls:
    """It is no ClientHello and never will be."""

    reason: str


class _Malformed(Exception):
    """A length points outside of what holds it. Never leaves this file."""


class _Reader:
    """Takes lengths and what they announce."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, octets: int) -> bytes:
        end = self._at + octets
        if end > len(self._data):
            raise _Malformed
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets), "big")

    def vector(self, octets: int) -> "_Reader":
        """A vector whose length takes ``octets`` octets."""
        return _Reader(self.take(self.number(octets)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def _record_size(head: bytes) -> int | Incomplete | NotTls:
    """The length that a record's first octets announce."""
    if head and head[0] != _HANDSHAKE:
        return NotTls("the first octet is not that of a TLS handshake")
    if len(head) > 1 and head[1] != 3:  # noqa: PLR2004 - every TLS version is 3.x on the wire
        return NotTls("the record is not of a TLS version")
    if len(head) < _RECORD_HEAD:
        return Incomplete()
    size = int.from_bytes(head[3:], "big")
    return size if 0 < size <= _MAX_RECORD else NotTls("the record has an impossible length")


def _message_end(start: bytearray) -> int | NotTls:
    """Where the message ends that begins like this; at least 1 more octet if that cannot be said yet."""
    if start[0] != _CLIENT_HELLO:
        return NotTls("the handshake does not begin with a ClientHello")
    if len(start) < _MESSAGE_HEAD:
        return len(start) + 1
    end = _MESSAGE_HEAD + int.from_bytes(start[1:_MESSAGE_HEAD], "big")
    return end if end <= MAX_HELLO else NotTls("the ClientHello is too large")


def _message(data: bytes) -> bytes | Incomplete | NotTls:
    """Join the fragments of the first handshake message."""
    message = bytearray()
    at = 0
    for _ in range(MAX_RECORDS):
        size = _record_size(data[at : at + _RECORD_HEAD])
        if not isinstance(size, int):
            return size
        at += _RECORD_HEAD
        message += data[at : at + size]
        at += size
        end = _message_end(message) if message else 1
        if isinstance(end, NotTls):
            return end
        if len(message) >= end:
            return bytes(message[_MESSAGE_HEAD:end])
        if at > len(data):
            return Incomplete()
    return NotTls("the ClientHello is in too many pieces")


def _server_name(extension: _Reader) -> bytes:
    names = extension.vector(2)
    if names.number(1) != 0:
        raise _Malformed
    name = names.vector(2).rest()
    if names or extension or not name:
        raise _Malformed
    return name


def _extensions(hello: _Reader) -> dict[int, bytes]:
    """The extensions by kind; read in one loop, because every new connection of an agent pays for it."""
    block = hello.vector(2).rest() if hello else b""
    if hello:
        raise _Malformed
    found: dict[int, bytes] = {}
    at, end = 0, len(block)
    while at < end:
        if at + _EXTENSION.size > end:
            raise _Malformed
        kind, size = _EXTENSION.unpack_from(block, at)
        at += _EXTENSION.size
        if kind in found or at + size > end:
            raise _Malformed
        found[kind] = block[at : at + size]
        at += size
    return found


def _read(hello: _Reader) -> ClientHello:
    legacy_version = hello.number(2)
    hello.take(32)  # random
    for octets in (1, 2, 1):  # session id, cipher suites, compression methods
        hello.vector(octets)
    extensions = _extensions(hello)
    sni: bytes | None = None
    alpn: list[bytes] = []
    versions = [legacy_version]
    if _SERVER_NAME in extensions:
        sni = _server_name(_Reader(extensions[_SERVER_NAME]))
    if _ALPN in extensions:
        names = _Reader(extensions[_ALPN]).vector(2)
        while names:
            alpn.append(names.vector(1).rest())
    if _SUPPORTED_VERSIONS in extensions:
        offered = _Reader(extensions[_SUPPORTED_VERSIONS]).vector(1)
        versions = []
        while offered:
            versions.append(offered.number(2))
    return ClientHello(sni, tuple(alpn), tuple(versions), _ECH in extensions)


def parse_client_hello(data: bytes) -> ClientHello | Incomplete | NotTls:
    """Read the ClientHello that ``data``, everything received so far, begins with; never raises.

    It may be spread over several records. What follows it is ignored.
    """
    message = _message(data)
    if not isinstance(message, bytes):
        return message
    try:
        return _read(_Reader(message))
    except _Malformed:
        return NotTls("the ClientHello is malformed")
