"""What the PDP is asked and what it answers (AuthZEN 1.0 in shape, our words in type).

No type here has a usable default: absence of an answer is not constructible, let alone an allow.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, Protocol

from proxy.errors import Refusal
from proxy.http.canonical import Origin, Target
from proxy.identity.principal import Agent, Right, Task
from proxy.policy.catalogue import Service
from proxy.policy.content import Act
from proxy.policy.needs import Needs
from proxy.policy.obligation import NO_OBLIGATIONS, Obligations


class RequestFacts(NamedTuple):
    """Facts of one request that policy may read besides its target. No header values, no bodies.

    ``query_keys`` are the decoded names of the query parameters; ``upgrade`` is ``"websocket"`` or
    ``""``; ``time`` is POSIX seconds (policies compute no time of their own).
    """

    has_body: bool
    content_type: str
    query_keys: tuple[str, ...]
    upgrade: str
    time: int


class Site(NamedTuple):
    """What the rules in force have to do with an origin: the service there, and what they read of a call.

    ``needs`` are those of the rules that count; ``wider`` those with the shadow's, if there is a shadow.
    """

    service: Service | None
    needs: Needs
    wider: Needs | None = None


class Question(NamedTuple):
    """What is asked: may ``agent``, under ``task``, do ``act`` by sending ``method`` to ``target``.

    ``right`` is what the whole chain of delegation leaves of the task (``identity.principal.Link``).
    ``budgets`` is the canonical JSON object that becomes ``context.budgets`` (``window``).
    """

    agent: Agent
    task: Task
    right: Right
    method: str
    target: Target
    request: RequestFacts
    act: Act
    budgets: bytes = b"{}"
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Allow:
    """Some permit spoke, no forbid did, and nothing failed. ``rules`` are the determining ``@id``s."""

    rules: tuple[str, ...]
    obligations: Obligations = NO_OBLIGATIONS


@dataclass(frozen=True, slots=True)
class Deny:
    """Refused; ``refusal.rule`` is the determining rule if one spoke. ``errors`` are Cedar's."""

    refusal: Refusal
    rules: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """Denied as it stands, and allowed if ``context.approved`` were true: ``rules`` would permit it then."""

    refusal: Refusal
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shadowed:
    """What the rule set in the shadow would have said, where that is not what was enforced."""

    ruleset_sha256: str
    effect: str  # allow, deny or hold
    code: str | None
    rules: tuple[str, ...]
    input: bytes


@dataclass(frozen=True, slots=True)
class Ruling:
    """One decision together with everything needed to take it again from the log alone.

    ``input`` is the canonical JSON (RFC 8785 subset) of exactly what the engine evaluated;
    ``input_sha256`` (hex) is taken once, because a ruling may be given many times. ``service`` is the
    catalogued service or None; ``action`` is the operation's or group's name. ``answer`` is what a remote
    PDP said, verbatim: such a ruling cannot be taken again from the log alone.
    """

    decision: Allow | Deny | Hold
    input: bytes
    service: Service | None
    action: str
    ruleset_sha256: str
    engine: str
    observed: bool  # True: no rules at all, everything is let through and recorded
    answer: bytes | None = None
    shadow: Shadowed | None = None
    input_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_sha256", sha256(self.input).hexdigest())


class Pdp(Protocol):
    """A policy decision point in process: pure, and quick enough for the event loop."""

    def site(self, origin: Origin) -> Site:
        """Which service is at an origin, and what has to be known of a call there to decide on it."""
        ...

    def decide(self, question: Question) -> Ruling:
        """Decide; never raises for a bad question: that is a Deny with an error."""
        ...

    def could(self, question: Question) -> bool:
        """Whether some content could get this allowed or held; the facts of ``question.act`` are ignored.

        For what is *shown* to an agent (lists of tools), never for what is done.
        """
        ...
