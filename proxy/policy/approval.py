"""An approval: one person's word that one exact request may leave, once or a few times, for a while.

It binds the approver, the digest of the request, the agent, its task and the rule set; it has a number of
uses and an expiry. Another content, another task or other rules are another request.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """A held request. ``chain`` are the agents of the delegation, the caller last; ``owners`` theirs.

    ``request_sha256`` is hex over everything that is sent, see ``request_digest``. ``rules`` are the
    policies that would permit it, ``url`` is without query. ``asked_at`` is POSIX seconds.
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
    rules: tuple[str, ...]
    ruleset_sha256: str
    asked_at: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request in the queue; ``id`` is what a person answers. ``expires_at`` is POSIX seconds."""

    id: str
    expires_at: int


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
