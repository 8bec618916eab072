"""The worthless token an agent holds in place of a credential, and how it is found wherever it hides.

``gp_`` + 32 characters of randomness + 6 characters of CRC-32 (over all before it), in base 62: always
41 octets, all of them unreserved in URLs and legal in header values. The checksum proves nothing; it
keeps chance matches in bodies from stopping an upload, and lets secret scanners ignore placeholders.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from zlib import crc32

LENGTH = 41
PREFIX = b"gp_"
PATTERN = re.compile(rb"gp_[0-9A-Za-z]{38}")
MIN_RANDOMNESS = 24

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _CHECK = 32, 6
# Candidates may overlap ("gp_...gp" + "_..."): a match must not eat the start of the next one.
_CANDIDATE = re.compile(rb"(?=(gp_[0-9A-Za-z]{38}))")
_START = re.compile(rb"gp_[0-9A-Za-z]{0,37}\Z|gp?\Z")


@dataclass(frozen=True, slots=True)
class Holding:
    """What one placeholder stands for: the credential of ``service``, for one task of one agent."""

    placeholder_sha256: str
    task_id: str
    service: str
    agent: str


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _checked(body: bytes) -> bytes:
    return body + _base62(crc32(body), _CHECK).encode("ascii")


def mint(randomness: bytes) -> str:
    """Make a placeholder from at least 24 random octets.

    :raises ValueError: if there are fewer.
    """
    if len(randomness) < MIN_RANDOMNESS:
        raise ValueError(f"a placeholder needs {MIN_RANDOMNESS} random octets")
    characters = _base62(int.from_bytes(randomness, "big"), _RANDOM)
    return _checked(PREFIX + characters.encode("ascii")).decode("ascii")


def digest(placeholder: bytes) -> str:
    """The SHA-256 of a placeholder in hex: the only form in which it is stored or recorded."""
    return sha256(placeholder).hexdigest()


def _positions(data: bytes) -> Iterator[tuple[int, bytes]]:
    for match in _CANDIDATE.finditer(data):
        candidate = match[1]
        if _checked(candidate[:-_CHECK]) == candidate:
            yield match.start(), candidate


def find(data: bytes) -> list[bytes]:
    """Every placeholder in ``data``, in order, repeated if it is repeated. No decoding is done."""
    if PREFIX not in data:
        return []
    return list(_found(data) if len(data) <= _MAX_CACHED else _search(data))


def _search(data: bytes) -> tuple[bytes, ...]:
    return tuple(candidate for _, candidate in _positions(data))


# An agent sends its placeholder with every call. What is kept here held one, so it holds no credential.
_MAX_CACHED = 256
_found = lru_cache(maxsize=1024)(_search)


def redact(text: str) -> str:
    """``text`` with every placeholder replaced by ``gp_[sha256:XXXXXXXX]``, for records and people."""
    if "gp_" not in text:
        return text
    data = text.encode("utf-8", "surrogatepass")
    out, done = [], 0
    for start, candidate in _positions(data):
        out += [data[done:start], b"gp_[sha256:", digest(candidate)[:8].encode("ascii"), b"]"]
        done = start + LENGTH
    out.append(data[done:])
    return b"".join(out).decode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Found:
    """A placeholder was found in a body; nothing more of it may be sent."""

    placeholder_sha256: str


class StreamScanner:
    """Looks for a placeholder in a body, whatever the chunks it comes in. Does no I/O.

    Only octets that may be the start of a placeholder are held back: at most 40, mostly none.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes | Found:
        """Take the next octets; returns those that may be forwarded now, or what was found."""
        data = self._held + chunk if self._held else chunk
        if PREFIX in data:
            for _, candidate in _positions(data):
                return Found(digest(candidate))
        # Whatever could still become one begins in the last 40 octets.
        start = _START.search(data, max(0, len(data) - LENGTH + 1))
        if start is None:
            self._held = b""
            return data
        self._held = data[start.start() :]
        return data[: start.start()]

    def finish(self) -> bytes:
        """The body has ended: what was held back was no placeholder."""
        held, self._held = self._held, b""
        return held
