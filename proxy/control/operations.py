"""What the control plane asks of the sidecar: the values that go in and come out, and the port between.

``wiring`` provides an ``Operations``; each of its calls leaves a record. Times are POSIX seconds unless a
name says otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

from proxy.errors import Refusal
from proxy.identity.principal import NO_BUDGETS, Budgets, Task, TaskState
from proxy.identity.revocation import Kind, Order
from proxy.policy.approval import Denial, Entry, Grant, State, Unanswered


@dataclass(frozen=True, slots=True)
class Delegated:
    """A task that has begun, and what its agent needs to work under it; only whoever asked gets it.

    ``placeholders`` are by service; ``variables`` are the same by environment variable.
    """

    task: Task
    token: str = field(repr=False)
    placeholders: Mapping[str, str] = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class May:
    """Whether a call would be allowed now, and why. ``code`` is None where nothing refuses it."""

    allowed: bool
    code: str | None
    rule: str | None
    detail: str
    advice: str

    @classmethod
    def of(cls, refusal: Refusal) -> Self:
        """The answer where the call would be refused."""
        return cls(
            allowed=False,
            code=refusal.code.value,
            rule=refusal.rule,
            detail=refusal.detail,
            advice=refusal.meaning.advice,
        )


@dataclass(frozen=True, slots=True)
class TaskAsked:
    """A task as an operator asks for it. Scopes and services are as written: the manifest's rules come later.

    ``services`` None: every service that rules allow. ``depth`` None: as many delegations as the settings
    give.
    """

    agent: str
    purpose: str
    ttl_s: int
    scopes: tuple[str, ...] = ()
    services: tuple[str, ...] | None = None
    budgets: Budgets = NO_BUDGETS
    ticket: str | None = None
    on_behalf_of: str | None = None
    approver: str | None = None
    depth: int | None = None


class Declined(NamedTuple):
    """A task that cannot be started as asked; ``words`` tell the operator why."""

    words: str


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One task, the chain it stands in (the root first, itself last), and what is left of its budgets."""

    task: Task
    chain: tuple[Task, ...]
    left: Budgets


@dataclass(frozen=True, slots=True)
class RevokeReport:
    """What an order to revoke has reached.

    ``order_at_ns`` is POSIX time; ``to_last_byte_us`` are the microseconds from the order to the last byte
    on any connection that it cut (0 if it cut none); ``leases`` were handed to the providers to revoke.
    """

    order_at_ns: int
    ended_tasks: int
    connections: int
    to_last_byte_us: int
    leases: int


@dataclass(frozen=True, slots=True)
class Health:
    """Whether calls are served now; ``facts`` are JSON values, for operators alone."""

    ready: bool
    facts: Mapping[str, object]


class Operations(Protocol):
    """What an operator may order. ``by`` is who did, as ``control:NAME``; it goes into the record."""

    async def start_task(self, asked: TaskAsked, by: str) -> Delegated | Declined:
        """Start a task; it is durable when this returns."""
        ...

    async def tasks(self, state: TaskState | None, limit: int) -> Sequence[Task]:
        """The latest ``limit`` tasks in this state (None: in any), the newest first."""
        ...

    async def task(self, task_id: str) -> TaskFacts | None:
        """One task, or None if it is not known."""
        ...

    async def end_task(self, task_id: str, reason: str, by: str) -> int | None:
        """End a task and all below it; how many were open, or None if it is not known."""
        ...

    async def revoke(self, kind: Kind, identity: str, reason: str, by: str) -> RevokeReport | None:
        """Revoke; when this returns nothing it reaches is served any more. None: no such task."""
        ...

    async def lift(self, kind: Kind, identity: str, by: str) -> bool:
        """Lift an order; False if there is none. Orders about tasks are never lifted."""
        ...

    def revocations(self) -> Sequence[Order]:
        """Every order that holds."""
        ...

    async def approvals(self, state: State | None, limit: int) -> Sequence[Entry]:
        """The latest ``limit`` requests for approval in this state (None: in any), the newest first."""
        ...

    async def approval(self, request_id: str) -> Entry | None:
        """One request for approval, or None if it is not known."""
        ...

    async def answer(self, request_id: str, said: Grant | Denial, operator: str) -> Entry | Unanswered:
        """Approve or deny a request; durable when this returns. ``operator`` is the name of who does."""
        ...

    def health(self) -> Health:
        """How the sidecar is."""
        ...
