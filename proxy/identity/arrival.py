"""How a connection came in, as far as it says who is calling: the evidence that needs no header."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Fixed:
    """The identity that a listener carries: its agent and that agent's standing task ("": it has none)."""

    agent: str
    task: str


@dataclass(frozen=True, slots=True)
class Process:
    """The kernel's word on the peer of a Unix socket (``SO_PEERCRED``, unix(7)).

    ``executable`` is an absolute path, or "" where it cannot be read.
    """

    uid: int
    pid: int
    executable: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """The client certificate of a TLS connection: its chain was verified against ``trust_domain``'s bundle.

    ``der`` is the leaf. ``crl`` says whether a revocation list was consulted; where none was, the leaf may
    live for ``max_life`` seconds at most. ``authorities`` (DER) are those that were believed at that moment.
    """

    der: bytes
    trust_domain: str
    crl: bool
    max_life: int = 86_400
    authorities: tuple[bytes, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One downstream connection. ``peer`` is ``host:port``, or ``unix`` with what the kernel says.

    ``source`` is whom bad credentials are held against: the address without its port, or ``uid=N``.
    """

    peer: str
    source: str
    fixed: Fixed | None = None
    process: Process | None = None
    certificate: Certificate | None = None
