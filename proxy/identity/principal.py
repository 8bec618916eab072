"""Who is calling: the agent as registered, the task it works on, and the evidence that says so.

Values only. XACML calls what is gathered here the subject of the request. A ``Principal`` is a chain of
links, the root of the delegation first; whoever calls is its last link, and what it may do is the
intersection of them all (``rights``).
"""

from dataclasses import dataclass
from enum import StrEnum

UNOWNED_ENVIRONMENTS = frozenset({"development", "staging"})  # anywhere else somebody answers for an agent


class TaskState(StrEnum):
    """Where a task is in its life. Only an open task may make calls."""

    OPEN = "open"
    ENDED = "ended"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Budgets:
    """How much a task may use in all its life; None is no limit. ``octets`` are those of both directions."""

    requests: int | None = None
    octets: int | None = None


NO_BUDGETS = Budgets()


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What an agent may be given at most, whatever its task says; None is no limit, empty is nothing."""

    scopes: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None
    budgets: Budgets = NO_BUDGETS


NO_CEILING = Ceiling()


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered non-human identity (one entry of ``rules/agents.yaml``).

    An owner that nobody has named is "". How an agent may authenticate is the registry's to say.
    ``standing`` are the scopes of the task it has where it names none.
    """

    id: str
    environment: str
    tier: str
    business_owner: str
    data_owner: str
    purpose: str = ""
    ceiling: Ceiling = NO_CEILING
    standing: tuple[str, ...] = ()

    @property
    def missing_owners(self) -> tuple[str, ...]:
        """Which of ``business_owner`` and ``data_owner`` nobody is."""
        owners = (("business_owner", self.business_owner), ("data_owner", self.data_owner))
        return tuple(name for name, owner in owners if not owner)

    @property
    def unowned(self) -> bool:
        """Whether it may not call, because an owner is missing where there has to be one."""
        return self.environment not in UNOWNED_ENVIRONMENTS and bool(self.missing_owners)


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of delegated work. ``id`` commits to the manifest: see ``identity.task``.

    Times are POSIX seconds. ``manifest_sha256`` is hex over the manifest's canonical bytes. ``services``
    None: every service that rules allow. ``parent`` is the task that delegated this one; ``depth`` is how
    many delegations may still follow below it.
    """

    id: str
    agent: str
    purpose: str
    scopes: tuple[str, ...]
    environment: str
    issued_at: int
    expires_at: int
    manifest_sha256: str
    on_behalf_of: str | None = None
    state: TaskState = TaskState.OPEN
    services: tuple[str, ...] | None = None
    budgets: Budgets = NO_BUDGETS
    ticket: str | None = None
    approver: str | None = None
    parent: str | None = None
    depth: int = 0
    nonce: str = ""  # the manifest's, so that it can be told word for word


@dataclass(frozen=True, slots=True)
class Right:
    """What a link of a chain may use: the intersection of everything from the root down to it.

    None is no limit, empty is nothing. ``expires_at`` is POSIX seconds.
    """

    scopes: frozenset[str]
    services: frozenset[str] | None
    environment: str
    expires_at: int


class Method(StrEnum):
    """How an identity was proved."""

    SESSION = "session"  # a token that this sidecar issued
    LISTENER = "listener"  # the socket the connection came in on
    OIDC = "oidc"  # a JWT of a configured issuer
    JWT_SVID = "jwt-svid"
    X509_SVID = "x509-svid"
    UNIX = "unix"  # the kernel's word on the peer of a Unix socket


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proved the identity; recorded with every decision. Never the token itself.

    Members that a method does not have are "". ``key_id`` is the ``kid`` of a token or the authority key id
    of a certificate; ``token_id`` the ``jti``, the certificate's serial in hex, or ``uid=U pid=P exe=PATH``;
    ``token_sha256`` is hex over the certificate in DER, or over the token up to its signature: an ECDSA
    signature can be written in two ways, and an order to revoke has to reach both. ``keys_sha256`` is hex
    over the document that the verifying key came from.
    """

    method: Method
    issuer: str
    key_id: str = ""
    token_id: str = ""
    token_sha256: str = ""
    keys_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """One ``act`` claim inside an incoming token (RFC 8693, section 4.1): for the audit, never a right."""

    subject: str
    issuer: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a delegation: an agent, the task it holds, and the right that is left at this step."""

    agent: Agent
    task: Task
    right: Right


@dataclass(frozen=True, slots=True)
class Principal:
    """The agent as authenticated, under one task: the last link of ``chain``, which begins at the root.

    ``evidence`` is never empty; all of it agrees. ``actors`` are the nested actors that a token named.
    """

    chain: tuple[Link, ...]
    evidence: tuple[Evidence, ...]
    actors: tuple[Actor, ...] = ()

    @property
    def agent(self) -> Agent:
        """Whoever makes the call."""
        return self.chain[-1].agent

    @property
    def task(self) -> Task:
        """The task it is made under."""
        return self.chain[-1].task

    @property
    def right(self) -> Right:
        """What the whole chain leaves."""
        return self.chain[-1].right
