"""An approval: one person's word that one exact request may leave, once or a few times, for a while.

It binds the approver, the digest of the request (``request_digest``), the agent, its task and the rule
set; it has a number of uses and an expiry. Another content, another task or other rules are another
request. Nobody approves for himself: see ``objection``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from proxy.policy.request_digest import request_digest

__all__ = [
    "ADMIN",
    "MAX_GRANT_S",
    "MAX_REASON",
    "MAX_USES",
    "Approval",
    "Approver",
    "Asked",
    "Declined",
    "Denial",
    "Entry",
    "Grant",
    "Obstacle",
    "State",
    "Unanswered",
    "Waiting",
    "objection",
    "request_digest",
]

ADMIN: Final = "admin"
"""Whoever holds the control API's local token: a right, and nobody's name."""
MAX_USES: Final = 1_000
MAX_GRANT_S: Final = 7 * 86_400
MAX_REASON: Final = 1_024
"""Characters."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A held request. ``chain`` are the agents of the delegation, the caller last; ``owners`` theirs.

    ``request_sha256`` is hex over everything that is sent, see ``request_digest``. ``rules`` are the
    policies that would permit it, ``url`` is without query. ``facts`` is a JSON list with what rules read
    of each act (``content.Act``), so that a person sees more than a URL. ``asked_at`` is POSIX seconds.
    """

    request_sha256: str
    agent: str
    chain: tuple[str, ...]
    owners: tuple[str, ...]
    task: str
    purpose: str
    method: str
    url: str
    actions: tuple[str, ...]
    facts: str
    rules: tuple[str, ...]
    ruleset_sha256: str
    asked_at: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request in the queue; ``id`` is what a person answers. ``expires_at`` is POSIX seconds.

    ``note`` tells the agent of an approval that this request cannot use (it was for another content, or
    is used up), or is "".
    """

    id: str
    expires_at: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """A granted approval, one use of which has been taken durably. Times are POSIX seconds."""

    id: str
    request_sha256: str
    approver: str
    granted_at: int
    expires_at: int
    use: int  # which of ``uses`` this is, from 1
    uses: int


@dataclass(frozen=True, slots=True)
class Declined:
    """A person has said no; ``reason`` are the person's words, or ""."""

    id: str
    approver: str
    reason: str


class State(StrEnum):
    """What has become of a request in the queue."""

    WAITING = "waiting"
    APPROVED = "approved"  # and there is a use left
    USED = "used"  # every use has been taken
    DENIED = "denied"
    EXPIRED = "expired"  # unanswered, or approved and not used in time


@dataclass(frozen=True, slots=True)
class Entry:
    """A request in the queue and what has become of it. Times are POSIX seconds.

    ``expires_at`` is when an unanswered request leaves the queue, and a denial is forgotten;
    ``granted_until`` ends an approval. ``answered_by`` is "" until a person has answered.
    """

    id: str
    asked: Asked
    expires_at: int
    separate_owner: bool
    state: State
    answered_by: str
    answered_at: int | None
    reason: str
    uses: int
    used: int
    granted_until: int | None


@dataclass(frozen=True, slots=True)
class Approver:
    """A person, as authenticated where agents are not: ``admin``, ``ISSUER:SUBJECT`` or ``local:USER``.

    ``agents`` are the registered agents that the same evidence would also prove.
    """

    id: str
    agents: frozenset[str]


class Grant(NamedTuple):
    """Yes, ``uses`` times and for ``seconds``."""

    uses: int
    seconds: int
    reason: str


class Denial(NamedTuple):
    """No."""

    reason: str


class Obstacle(Enum):
    """Why an answer does not count."""

    UNKNOWN = "unknown"  # nothing with this id was asked
    OVER = "over"  # it does not wait any more
    NOT_THEIRS = "not theirs"  # whoever answers may not


class Unanswered(NamedTuple):
    """An answer that does not count; ``words`` tell the person why."""

    obstacle: Obstacle
    words: str


def objection(approver: Approver, asked: Asked, *, separate_owner: bool) -> str | None:
    """Why this person may not answer this request, or None.

    1. It is somebody. 2. It is no agent of the chain, neither by name nor by what proved who it is.
    3. With ``separate_owner`` it is none of the chain's owners either, and says who it is: ``admin``
    could be any of them. Names are compared without their issuer and their mail domain, because the same
    person is written differently in different places; better one person too many is refused.
    """
    if not approver.id.strip():
        return "nobody has said who answers"
    chain = {*asked.chain, asked.agent}
    alike = approver.agents & chain
    if alike:
        return f"{approver.id} would pass for the agent {min(alike)}, which asks; somebody else has to answer"
    if _named(approver.id) & _of_all(_named, chain):
        return f"{approver.id} has the name of an agent that asks; somebody else has to answer"
    if not separate_owner:
        return None
    if approver.id == ADMIN:
        return "owners may not approve here, and the admin token names nobody; approve in your own name"
    if _person(approver.id) & _of_all(_person, asked.owners):
        return f"{approver.id} owns an agent that asks; owners may not approve here"
    return None


def _subject(name: str) -> str:
    """Who somebody is without where that is known from: ``ada`` of ``login:ada``."""
    return name.partition(":")[2] or name


def _named(name: str) -> frozenset[str]:
    return frozenset({name.strip().casefold(), _subject(name).strip().casefold()})


def _person(name: str) -> frozenset[str]:
    return _named(name) | {one.partition("@")[0] for one in _named(name)}


def _of_all(how: Callable[[str], frozenset[str]], names: Iterable[str]) -> frozenset[str]:
    """What all of them may go by; "" is nobody."""
    return frozenset[str]().union(*map(how, names)) - {""}
