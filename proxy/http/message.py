"""One HTTP/1.1 message as it crossed the wire (RFC 9112): heads, framing, header look-up.

Header names and values are bytes, in the order and case in which they came, because that is how
they leave again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

Header = tuple[bytes, bytes]
Headers = tuple[Header, ...]


class RequestHead(NamedTuple):
    """A parsed request head. ``target`` is raw; ``version`` is ``"1.0"`` or ``"1.1"``."""

    method: str
    target: bytes
    version: str
    headers: Headers


class ResponseHead(NamedTuple):
    """A parsed response head."""

    status: int
    reason: bytes
    version: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class NoBody:
    """The message ends with its head."""


@dataclass(frozen=True, slots=True)
class Length:
    """The body has exactly ``octets`` octets."""

    octets: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """The body uses the chunked transfer coding."""


@dataclass(frozen=True, slots=True)
class UntilClose:
    """The body ends when the connection does (responses only)."""


Framing = NoBody | Length | Chunked | UntilClose


def values(headers: Sequence[Header], name: bytes) -> list[bytes]:
    """All values of the header ``name`` (given in lower case), in order."""
    return [value for key, value in headers if key.lower() == name]


def first(headers: Sequence[Header], name: bytes) -> bytes | None:
    """The first value of the header ``name`` (given in lower case), or None."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def tokens(headers: Sequence[Header], name: bytes) -> list[bytes]:
    """The comma-separated list that all fields ``name`` form together, lower-cased (RFC 9110, 5.6.1)."""
    parts = (part.strip(b" \t").lower() for value in values(headers, name) for part in value.split(b","))
    return [part for part in parts if part]
