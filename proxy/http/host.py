"""Host names and addresses in their one canonical form (RFC 1123, 3986, 5890, 5952).

Only three spellings pass: a canonical dotted quad, a bracketed IPv6 address, and a name of LDH
labels. Whatever ``getaddrinfo`` would read as a number (``2130706433``, ``0x7f.1``, ``127.1``) is
refused here, before a resolver can be kind to it. Letter case, one trailing dot and the spelling of
IPv6 are normalised, because they cannot change which host is meant.

Decided: names that are not ASCII are refused instead of being converted, because every HTTP library
sends A-labels and a conversion of our own would be a second reading of the same bytes.
"""

import re
from dataclasses import InitVar, dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

import idna

from proxy.errors import Code, Refusal

_SEAL = object()
_QUAD = re.compile(rb"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_V6 = re.compile(rb"[0-9A-Fa-f:.]{2,45}")
_PORT = re.compile(rb"[1-9]\d{0,4}")
_MAX_NAME = 253
_MAX_PORT = 65535


class HostKind(Enum):
    """What a host is written as."""

    NAME = "name"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


@dataclass(frozen=True, slots=True)
class Host:
    """A canonical host; only ``parse_host`` makes one.

    ``name`` is a lower-case name of A-labels without trailing dot, a dotted quad, or an RFC 5952
    IPv6 address without brackets (always in hexadecimal groups).

    :raises TypeError: if constructed by anybody but ``parse_host``.
    """

    name: str
    kind: HostKind
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Host is made by parse_host only")

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def bracketed(self) -> str:
        """The host as it stands in a URL."""
        return f"[{self.name}]" if self.kind is HostKind.IPV6 else self.name

    def __str__(self) -> str:
        return self.bracketed


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 6454): what CONNECT, SNI, Host and URL have to agree on.

    :raises ValueError: for another scheme than ``http`` and ``https``, or a port outside 1-65535.
    """

    scheme: str
    host: Host
    port: int

    def __post_init__(self) -> None:
        if self.scheme not in DEFAULT_PORT or not 1 <= self.port <= _MAX_PORT:
            raise ValueError(f"no origin: {self.scheme} port {self.port}")

    def __hash__(self) -> int:
        return hash((self.scheme, self.host.name, self.port))

    @property
    def authority(self) -> str:
        """What the Host header says: the port is left out if it is the scheme's own."""
        if self.port == DEFAULT_PORT[self.scheme]:
            return self.host.bracketed
        return f"{self.host.bracketed}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


DEFAULT_PORT = {"http": 80, "https": 443}


def _refuse(raw: bytes, why: str) -> Refusal:
    shown = raw[:80].decode("ascii", "backslashreplace")
    return Refusal(Code.HOST_NONCANONICAL, f"host {shown!r}: {why}")


def ipv6_text(value: int) -> str:
    """One IPv6 address in the form of RFC 5952, section 4; the same on every Python release."""
    groups = [(value >> shift) & 0xFFFF for shift in range(112, -1, -16)]
    best, length = 0, 1
    for start in range(8):
        end = start
        while end < len(groups) and groups[end] == 0:
            end += 1
        if end - start > length:
            best, length = start, end - start
    words = [f"{group:x}" for group in groups]
    if length == 1:
        return ":".join(words)
    return ":".join(words[:best]) + "::" + ":".join(words[best + length :])


def _parse_ipv6(raw: bytes) -> Host | Refusal:
    inner = raw[1:-1]
    if not raw.endswith(b"]") or _V6.fullmatch(inner) is None:
        return _refuse(raw, "brackets hold an IPv6 address, without a zone, and nothing else")
    try:
        address = IPv6Address(inner.decode("ascii"))
    except AddressValueError:
        return _refuse(raw, "not an IPv6 address")
    return Host(ipv6_text(int(address)), HostKind.IPV6, _SEAL)


def _is_label(label: str) -> bool:
    if _LABEL.fullmatch(label) is None:
        return False
    if not label.startswith("xn--"):
        return True
    try:
        return idna.alabel(idna.ulabel(label)) == label.encode("ascii")
    except UnicodeError:  # idna.IDNAError is one: the label is no A-label
        return False


@lru_cache(maxsize=4096)
def parse_host(raw: bytes) -> Host | Refusal:
    """Read a host as it stands in a URL or a Host header, without its port.

    Refuses with HOST_NONCANONICAL; never raises.
    """
    if raw.startswith(b"["):
        return _parse_ipv6(raw)
    bare = raw.removesuffix(b".")
    if _QUAD.fullmatch(bare):
        return Host(bare.decode("ascii"), HostKind.IPV4, _SEAL)
    if not bare.isascii():
        return _refuse(raw, "write international names as A-labels (xn--)")
    name = bare.decode("ascii").lower()
    labels = name.split(".")
    if len(name) > _MAX_NAME or not all(map(_is_label, labels)):
        return _refuse(raw, "not a DNS name of letters, digits and inner hyphens")
    if _NUMBER.fullmatch(labels[-1]):
        return _refuse(raw, "a number that is not a dotted quad")
    return Host(name, HostKind.NAME, _SEAL)


def parse_port(raw: bytes) -> int | None:
    """Read a port: 1-65535, decimal, no leading zero; None if it is anything else."""
    if _PORT.fullmatch(raw) is None or (port := int(raw)) > _MAX_PORT:
        return None
    return port


def parse_authority(raw: bytes) -> tuple[Host, int | None] | Refusal:
    """Read ``host[:port]``. User information is refused, and so is a colon without a port."""
    if b"@" in raw:
        return Refusal(Code.TARGET_MALFORMED, "user information before the host is not accepted")
    # The colon behind the last bracket, if there are brackets: colons inside belong to the address.
    colon = raw.find(b":", raw.rfind(b"]") + 1)
    name = raw if colon < 0 else raw[:colon]
    host = parse_host(bytes(name))
    if isinstance(host, Refusal):
        return host
    if colon < 0:
        return host, None
    port = parse_port(raw[colon + 1 :])
    if port is None:
        return Refusal(Code.TARGET_MALFORMED, "the port is not a decimal number from 1 to 65535")
    return host, port
