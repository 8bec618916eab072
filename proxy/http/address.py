"""Which addresses may be dialled: a frozen table of our own (IANA special-purpose registries, RFC 6890).

``ipaddress`` supplies the numbers, never the judgement: ``is_global`` answers differently between
Python releases and calls several ways into a private network global. Every IPv6 address that
carries an IPv4 address is a disguise and is classified as one. What is in no row and in the
unicast space is public; what is in neither is reserved.

Decided: a private destination is opened by host, network and port together, because the network
alone opens a neighbour and the host alone can be rebound. Metadata addresses are opened by no rule,
in no disguise.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_network

from proxy.errors import Code, Refusal
from proxy.http.host import Host, HostKind, ipv6_text


class AddressClass(Enum):
    """What an address is for."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    LINK_LOCAL = "link-local"
    METADATA = "metadata"
    RESERVED = "reserved"
    EMBEDDED_V4 = "embedded-v4"
    NAT64 = "nat64"


_CODE: dict[AddressClass, Code] = {
    AddressClass.LOOPBACK: Code.DEST_LOOPBACK,
    AddressClass.PRIVATE: Code.DEST_PRIVATE,
    AddressClass.LINK_LOCAL: Code.DEST_LINK_LOCAL,
    AddressClass.METADATA: Code.DEST_METADATA,
    AddressClass.RESERVED: Code.DEST_RESERVED,
    AddressClass.EMBEDDED_V4: Code.EMBEDDED_V4,
    AddressClass.NAT64: Code.NAT64,
}

# The first row that holds an address decides.
TABLE: tuple[tuple[AddressClass, str], ...] = (
    # the instance metadata, task credential and host agent endpoints of the clouds
    (AddressClass.METADATA, "169.254.169.254/32"),  # AWS, GCP, Azure, OpenStack and most others
    (AddressClass.METADATA, "169.254.170.2/32"),  # AWS ECS task credentials
    (AddressClass.METADATA, "169.254.170.23/32"),  # AWS EKS pod identity
    (AddressClass.METADATA, "168.63.129.16/32"),  # Azure
    (AddressClass.METADATA, "100.100.100.200/32"),  # Alibaba
    (AddressClass.METADATA, "192.0.0.192/32"),  # Oracle
    (AddressClass.METADATA, "fd00:ec2::254/128"),  # AWS
    (AddressClass.METADATA, "fd00:ec2::23/128"),  # AWS EKS pod identity
    (AddressClass.METADATA, "fd20:ce::254/128"),  # GCP
    # IPv4
    (AddressClass.LOOPBACK, "127.0.0.0/8"),
    (AddressClass.PRIVATE, "10.0.0.0/8"),
    (AddressClass.PRIVATE, "172.16.0.0/12"),
    (AddressClass.PRIVATE, "192.168.0.0/16"),
    (AddressClass.PRIVATE, "100.64.0.0/10"),  # shared by carriers, RFC 6598
    (AddressClass.LINK_LOCAL, "169.254.0.0/16"),
    (AddressClass.RESERVED, "0.0.0.0/8"),
    (AddressClass.RESERVED, "192.0.0.0/24"),
    (AddressClass.RESERVED, "192.0.2.0/24"),  # documentation
    (AddressClass.RESERVED, "192.88.99.0/24"),  # 6to4 relays
    (AddressClass.RESERVED, "198.18.0.0/15"),  # benchmarks
    (AddressClass.RESERVED, "198.51.100.0/24"),  # documentation
    (AddressClass.RESERVED, "203.0.113.0/24"),  # documentation
    (AddressClass.RESERVED, "224.0.0.0/4"),  # multicast
    (AddressClass.RESERVED, "240.0.0.0/4"),  # future use, and broadcast
    # IPv6
    (AddressClass.RESERVED, "::/128"),
    (AddressClass.LOOPBACK, "::1/128"),
    (AddressClass.EMBEDDED_V4, "::/96"),  # compatible
    (AddressClass.EMBEDDED_V4, "::ffff:0:0/96"),  # mapped
    (AddressClass.EMBEDDED_V4, "::ffff:0:0:0/96"),  # translated, RFC 2765
    (AddressClass.EMBEDDED_V4, "2001::/32"),  # Teredo
    (AddressClass.EMBEDDED_V4, "2002::/16"),  # 6to4
    (AddressClass.NAT64, "64:ff9b::/96"),
    (AddressClass.NAT64, "64:ff9b:1::/48"),
    (AddressClass.PRIVATE, "fc00::/7"),
    (AddressClass.PRIVATE, "fec0::/10"),  # site-local
    (AddressClass.LINK_LOCAL, "fe80::/10"),
    (AddressClass.RESERVED, "2001::/23"),  # benchmarks, ORCHID and other protocol assignments
    (AddressClass.RESERVED, "2001:db8::/32"),  # documentation
    (AddressClass.RESERVED, "3fff::/20"),  # documentation
)

_TEREDO, _SIX_TO_FOUR, _NAT64_LOCAL = 0x2001_0000, 0x2002, 0x64_FF9B_0001  # RFC 4380, 3056, 8215
_UNICAST_V6 = IPv6Network("2000::/3")
_Row = tuple[AddressClass, int, int]


def _rows(version: int) -> tuple[_Row, ...]:
    networks = ((kind, ip_network(text)) for kind, text in TABLE)
    return tuple(
        (kind, int(net.network_address), int(net.netmask)) for kind, net in networks if net.version == version
    )


_ROWS = {4: _rows(4), 6: _rows(6)}


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    """Read a printed address; None for anything else, and for a zone id."""
    try:
        if ":" not in address:
            return IPv4Address(address)
        return None if "%" in address else IPv6Address(address)
    except AddressValueError:
        return None


def _judge(address: IPv4Address | IPv6Address) -> AddressClass:
    value = int(address)
    for kind, network, mask in _ROWS[address.version]:
        if value & mask == network:
            return kind
    if isinstance(address, IPv6Address) and address not in _UNICAST_V6:
        return AddressClass.RESERVED
    return AddressClass.PUBLIC


@lru_cache(maxsize=4096)
def classify(address: str) -> AddressClass:
    """What a printed address is for. What cannot be read, or has a zone id, is RESERVED."""
    parsed = _parse(address)
    return AddressClass.RESERVED if parsed is None else _judge(parsed)


def embedded(address: str) -> tuple[str, ...]:
    """Every IPv4 address that an EMBEDDED_V4 or NAT64 address may stand for; empty for the others."""
    parsed = _parse(address)
    if parsed is None or _judge(parsed) not in (AddressClass.EMBEDDED_V4, AddressClass.NAT64):
        return ()
    value = int(parsed)
    low = value & 0xFFFF_FFFF
    if value >> 96 == _TEREDO:
        found = [value >> 64 & 0xFFFF_FFFF, low ^ 0xFFFF_FFFF]  # the server; the client, its bits flipped
    elif value >> 112 == _SIX_TO_FOUR:
        found = [value >> 80 & 0xFFFF_FFFF]
    elif value >> 80 == _NAT64_LOCAL:
        # The prefix may have any length of RFC 6052, 2.2; bits 64 to 71 are skipped. 48, 56, 64 and 96:
        after = value & 0x00FF_FFFF_FFFF_FFFF
        middle = value >> 64 & 0xFFFF
        found = [
            middle << 16 | after >> 40,
            (middle & 0xFF) << 24 | after >> 32,
            after >> 24,
            low,
        ]
    else:
        found = [low]
    return tuple(str(IPv4Address(item)) for item in dict.fromkeys(found))


def refusal_for(address_class: AddressClass, detail: str) -> Refusal | None:
    """Why an address of this class is refused; None if it is public."""
    code = _CODE.get(address_class)
    return None if code is None else Refusal(code, detail)


_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA_SUFFIXES = (".metadata.google.internal", ".metadata.goog")
_LOOPBACK_NAMES = frozenset({"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"})
_LOOPBACK_SUFFIXES = (".localhost", ".localdomain", ".localdomain4", ".localdomain6")
_LOCAL_NAMES = frozenset({"kubernetes", "kubernetes.default"})
_LOCAL_SUFFIXES = (".internal", ".local", ".svc")


@dataclass(frozen=True, slots=True)
class AllowPrivate:
    """Opens one destination that is not public: this host, these addresses, this port.

    ``host`` is a canonical host as ``Host.name`` prints it; ``network`` is CIDR.

    :raises ValueError: if ``network`` is no network, or ``port`` is outside 1-65535.
    """

    host: str
    network: str
    port: int

    def __post_init__(self) -> None:
        ip_network(self.network)
        if not 1 <= self.port <= 65535:  # noqa: PLR2004 - the ports there are
            raise ValueError(f"no port: {self.port}")

    def covers(self, host: Host, port: int, address: str) -> bool:
        """Whether this rule speaks of exactly this destination."""
        if self.host != host.name or self.port != port:
            return False
        parsed = _parse(address)
        return parsed is not None and parsed in ip_network(self.network)


def name_refusal(host: Host, allowed: Iterable[AllowPrivate] = ()) -> Refusal | None:
    """Judge a name before anybody resolves it; None for addresses and for names that may be resolved.

    Names of the local machine or cluster pass if a rule in ``allowed`` names them exactly; names of
    metadata services never do.
    """
    if host.kind is not HostKind.NAME:
        return None
    name = host.name
    instance_data = name.startswith("instance-data.") and name.endswith(".internal")
    if instance_data or name in _METADATA_NAMES or name.endswith(_METADATA_SUFFIXES):
        return Refusal(Code.DEST_METADATA, f"{name} is a cloud metadata service")
    if any(rule.host == name for rule in allowed):
        return None
    if name in _LOOPBACK_NAMES or name.endswith(_LOOPBACK_SUFFIXES):
        return Refusal(Code.DEST_LOOPBACK, f"{name} is this machine")
    inside_cluster = name.endswith(".svc") or ".svc." in name
    if name in _LOCAL_NAMES or name.endswith(_LOCAL_SUFFIXES) or inside_cluster:
        return Refusal(Code.DEST_NAME, f"{name} is a name of the local machine, network or cluster")
    return None


def _is_metadata(address: str) -> bool:
    return any(classify(item) is AddressClass.METADATA for item in (address, *embedded(address)))


def _why_not(host: Host, port: int, address: str, allowed: Sequence[AllowPrivate]) -> Refusal | None:
    kind = classify(address)
    opened = any(rule.covers(host, port, address) for rule in allowed)
    if kind is AddressClass.PUBLIC or (opened and not _is_metadata(address)):
        return None
    hidden = embedded(address)
    what = f"{address} is a {kind.value} address" + (f" for {' or '.join(hidden)}" if hidden else "")
    return refusal_for(kind, what if host.name == address else f"{host} is {what}")


def vet(
    host: Host, port: int, answers: Sequence[str], allowed: Sequence[AllowPrivate]
) -> tuple[str, ...] | Refusal:
    """The addresses that may be dialled for ``host``, in the order given: all of ``answers``, or none.

    ``answers`` are printed addresses; for a host that is an address they must be that address. An
    answer that is partly allowed is refused with MIXED_ANSWER, an empty one with DNS_ERROR.
    """
    refused = name_refusal(host, allowed)
    if refused is not None:
        return refused
    found: list[str] = []
    reasons: list[Refusal] = []
    for answer in dict.fromkeys(answers):
        reason = _why_not(host, port, answer, allowed)
        if reason is None:
            found.append(_canonical(answer))
        else:
            reasons.append(reason)
    if reasons:
        return Refusal(Code.MIXED_ANSWER, reasons[0].detail) if found else reasons[0]
    if not found:
        return Refusal(Code.DNS_ERROR, f"{host} has no address")
    if host.kind is not HostKind.NAME and found != [host.name]:
        return Refusal(Code.DNS_ERROR, f"{host} is an address and resolves to nothing but itself")
    return tuple(found)


def _canonical(answer: str) -> str:
    return ipv6_text(int(IPv6Address(answer))) if ":" in answer else answer
