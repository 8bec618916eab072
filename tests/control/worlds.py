"""A small sidecar in memory behind the control plane: tasks below tasks, orders that hold, a log of who did what."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from proxy.control.guard import admin_token
from proxy.control.operations import (
    Declined,
    Delegated,
    Health,
    RevokeReport,
    TaskAsked,
    TaskFacts,
)
from proxy.errors import Code, Refusal
from proxy.identity.principal import Budgets, Task, TaskState
from proxy.identity.revocation import Kind, Order
from proxy.policy.approval import (
    Approver,
    Denial,
    Entry,
    Grant,
    Obstacle,
    State,
    Unanswered,
    objection,
)
from proxy.ports import LogUnavailable
from tests.store.asking import asked as request

NOW = 1_800_000_000  # 2027-01-15T08:00:00Z
ADMIN = b"the-admin-token"
UNKNOWN_TASK = "t-" + "z" * 26


def task_id(words: str) -> str:
    """An id in the form of a task's."""
    return "t-" + base64.b32encode(hashlib.sha256(words.encode()).digest()[:16]).decode().rstrip("=").lower()


@dataclass
class SmallSidecar:
    """Implements ``Operations`` for the agents ``coder`` and ``tester``."""

    known: dict[str, Task] = field(default_factory=dict)
    orders: dict[tuple[Kind, str], Order] = field(default_factory=dict)
    requests: dict[str, Entry] = field(default_factory=dict)
    journal: list[tuple[str, ...]] = field(default_factory=list)
    ready: bool = True
    log_is_full: bool = False

    def _note(self, *entry: str) -> None:
        if self.log_is_full:
            raise LogUnavailable("no space left")
        self.journal.append(entry)

    async def start_task(self, asked: TaskAsked, by: str) -> Delegated | Declined:
        if asked.agent == "gremlin":
            raise RuntimeError("the wiring inside is secret")
        if asked.agent not in {"coder", "tester"}:
            return Declined(f"the agent {asked.agent!r} is not registered")
        task = Task(
            task_id(f"task {len(self.known)}"),
            asked.agent,
            asked.purpose,
            asked.scopes,
            "development",
            NOW,
            NOW + asked.ttl_s,
            "0" * 64,
            asked.on_behalf_of,
            services=asked.services,
            budgets=asked.budgets,
            ticket=asked.ticket,
            approver=asked.approver,
            depth=3 if asked.depth is None else asked.depth,
        )
        self._note("start", task.id, by)
        self.known[task.id] = task
        return Delegated(task, f"token of {task.id}", {"api": "gp_worthless"}, {"API_KEY": "gp_worthless"})

    async def tasks(self, state: TaskState | None, limit: int) -> Sequence[Task]:
        return [task for task in reversed(self.known.values()) if state in {None, task.state}][:limit]

    def _chain(self, task: Task) -> tuple[Task, ...]:
        above = () if task.parent is None else self._chain(self.known[task.parent])
        return (*above, task)

    async def task(self, task_id: str) -> TaskFacts | None:
        task = self.known.get(task_id)
        return None if task is None else TaskFacts(task, self._chain(task), Budgets(7, None))

    def _subtree(self, task_id: str) -> list[Task]:
        return [task for task in self.known.values() if task_id in {one.id for one in self._chain(task)}]

    def _close(self, tasks: list[Task], state: TaskState) -> int:
        ended = [task for task in tasks if task.state is TaskState.OPEN]
        self.known |= {task.id: replace(task, state=state) for task in ended}
        return len(ended)

    async def end_task(self, task_id: str, reason: str, by: str) -> int | None:
        if task_id not in self.known:
            return None
        self._note("end", task_id, reason, by)
        return self._close(self._subtree(task_id), TaskState.ENDED)

    async def revoke(self, kind: Kind, identity: str, reason: str, by: str) -> RevokeReport | None:
        if kind is Kind.TASK and identity not in self.known:
            return None
        self._note("revoke", kind.value, identity, reason, by)
        reached: list[Task] = []
        if kind is Kind.TASK:
            reached = self._subtree(identity)
        elif kind in {Kind.AGENT, Kind.ALL}:
            reached = [task for task in self.known.values() if kind is Kind.ALL or task.agent == identity]
        order = Order(kind, identity, reason, by, NOW * 1_000_000_000 + 1_500)
        self.orders[kind, identity] = order
        return RevokeReport(order.ordered_at_ns, self._close(reached, TaskState.REVOKED), 2, 1_234, 1)

    async def lift(self, kind: Kind, identity: str, by: str) -> bool:
        if self.orders.pop((kind, identity), None) is None:
            return False
        self._note("lift", kind.value, identity, by)
        return True

    def revocations(self) -> Sequence[Order]:
        return list(self.orders.values())

    def hold(self, content: str) -> str:
        """A call of ``coder`` waits for approval; returns the id of its request."""
        name = f"ap-{len(self.requests)}"
        self.requests[name] = Entry(
            id=name,
            asked=request(content),
            expires_at=NOW + 60,
            separate_owner=False,
            state=State.WAITING,
            answered_by="",
            answered_at=None,
            reason="",
            uses=0,
            used=0,
            granted_until=None,
        )
        return name

    async def approvals(self, state: State | None, limit: int) -> Sequence[Entry]:
        return [one for one in reversed(self.requests.values()) if state in {None, one.state}][:limit]

    async def approval(self, request_id: str) -> Entry | None:
        return self.requests.get(request_id)

    async def answer(self, request_id: str, said: Grant | Denial, operator: str) -> Entry | Unanswered:
        entry = self.requests.get(request_id)
        if entry is None:
            return Unanswered(Obstacle.UNKNOWN, "it is not known")
        if entry.state is not State.WAITING:
            return Unanswered(Obstacle.OVER, f"{entry.answered_by} was quicker")
        words = objection(Approver(operator, frozenset()), entry.asked, separate_owner=False)
        if words is not None:
            return Unanswered(Obstacle.NOT_THEIRS, words)
        self._note("answer", request_id, repr(said), operator)
        answered = replace(entry, answered_by=operator, answered_at=NOW + 1, reason=said.reason)
        if isinstance(said, Grant):
            until = NOW + said.seconds
            answered = replace(answered, state=State.APPROVED, uses=said.uses, granted_until=until)
        else:
            answered = replace(answered, state=State.DENIED)
        self.requests[request_id] = answered
        return answered

    def health(self) -> Health:
        return Health(self.ready, {"open_tasks": len(self.known)})


async def authenticate(given: bytes) -> str | Refusal:
    """The admin is ``admin``; ``ada`` is known but no operator; for ``later`` there are no keys now."""
    if admin_token(ADMIN, given):
        return "admin"
    if given == b"ada":
        return Refusal(Code.AGENT_UNKNOWN, "ada is not an operator")
    if given == b"later":
        return Refusal(Code.KEYS_UNAVAILABLE, "the issuer cannot be reached")
    if given == b"gremlin":
        raise RuntimeError("the wiring inside is secret")
    return Refusal(Code.IDENTITY_INVALID, "the token is not valid")
