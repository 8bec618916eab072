"""Who is calling: the agent as registered, the task it works on, and the evidence that says so.

Values only. XACML calls what is gathered here the subject of the request.
"""

from dataclasses import dataclass
from enum import StrEnum


class TaskState(StrEnum):
    """Where a task is in its life. Only an open task may make calls."""

    OPEN = "open"
    ENDED = "ended"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Agent:
    """A registered non-human identity (one entry of ``rules/agents.yaml``)."""

    id: str
    environment: str
    tier: str
    business_owner: str
    data_owner: str
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of delegated work. ``id`` commits to the manifest: see ``identity.task``.

    Times are POSIX seconds. ``manifest_sha256`` is hex over the manifest's canonical bytes.
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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proved the identity; recorded with every decision. Never the token itself.

    ``method`` is ``session-token`` or ``listener``; ``token_sha256`` is hex; ``peer`` is the
    downstream address as ``host:port``.
    """

    method: str
    issuer: str
    key_id: str
    token_id: str
    token_sha256: str
    peer: str


@dataclass(frozen=True, slots=True)
class Principal:
    """The agent as authenticated, under one task."""

    agent: Agent
    task: Task
    evidence: Evidence
