"""What the PDP is asked and what it answers (AuthZEN 1.0 in shape, our words in type).

No type here has a usable default: absence of an answer is not constructible, let alone an allow.
"""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, Protocol

from proxy.errors import Refusal
from proxy.http.canonical import Target
from proxy.identity.principal import Agent, Right, Task
from proxy.policy.catalogue import Service


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


class Question(NamedTuple):
    """What is asked: may ``agent``, under ``task``, send ``method`` to ``target``.

    ``right`` is what the whole chain of delegation leaves of the task (``identity.principal.Link``).
    """

    agent: Agent
    task: Task
    right: Right
    method: str
    target: Target
    facts: RequestFacts


@dataclass(frozen=True, slots=True)
class Allow:
    """Some permit spoke, no forbid did, and nothing failed. ``rules`` are the determining ``@id``s."""

    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """Refused; ``refusal.rule`` is the determining rule if one spoke. ``errors`` are Cedar's."""

    refusal: Refusal
    rules: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ruling:
    """One decision together with everything needed to take it again from the log alone.

    ``input`` is the canonical JSON (RFC 8785 subset) of exactly what the engine evaluated;
    ``input_sha256`` (hex) is taken once, because a ruling may be given many times. ``service`` is the
    catalogued service or None; ``action`` is the operation's or group's name.
    """

    decision: Allow | Deny
    input: bytes
    service: Service | None
    action: str
    ruleset_sha256: str
    engine: str
    observed: bool  # True: no rules at all, everything is let through and recorded
    input_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_sha256", sha256(self.input).hexdigest())


class Pdp(Protocol):
    """A policy decision point."""

    def decide(self, question: Question) -> Ruling:
        """Decide; never raises for a bad question: that is a Deny with an error."""
        ...
