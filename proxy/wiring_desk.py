"""The agent's desk, joined to what it asks: the judge, the tasks, the budgets, the memory of refusals."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from proxy.control.desk import AgentDesk
from proxy.control.operations import Delegated, May
from proxy.engine.blocked import Blocked
from proxy.engine.judge import Judge
from proxy.errors import Code, Refusal
from proxy.identity.budget import Spending
from proxy.identity.delegation import Wanted, narrow
from proxy.identity.principal import Principal
from proxy.policy.decision import Allow
from proxy.policy.window import Windows
from proxy.problems import Problem
from proxy.store.tasks import TaskBook, TaskOverError
from proxy.wiring_service_budget import services_left
from proxy.wiring_tasks import Office

Own = Callable[[Principal], Awaitable[Sequence[Mapping[str, object]] | Refusal]]


def make_desk(
    office: Callable[[], Office],
    judge: Judge,
    book: TaskBook,
    spending: Spending,
    blocked: Blocked,
    windows: Windows,
    approvals: Own,
) -> AgentDesk:
    """The desk of one sidecar. ``office`` is the present one: it changes with the rules.

    ``approvals`` gives the caller's requests for approval.
    """

    async def delegate(principal: Principal, wanted: Wanted) -> Delegated | Refusal:
        now, present = int(time.time()), office()
        to = present.registry.get(wanted.agent)
        manifest = narrow(principal.chain, wanted, to, now, present.randomness(16).hex())
        if isinstance(manifest, Refusal):
            return manifest
        assert to is not None, "narrow refuses an agent that is not registered"
        draft = present.of_manifest(manifest, _within(to.ceiling.services, principal))
        if isinstance(draft, Problem):
            return Refusal(Code.DELEGATION_REFUSED, draft.message)
        try:
            by = f"agent:{principal.agent.id}"
            await book.create(draft.task, draft.manifest, draft.holdings, by, principal.evidence)
        except TaskOverError as error:
            return Refusal(Code.DELEGATION_REFUSED, str(error))
        return Delegated(draft.task, present.token(draft.task), draft.placeholders, draft.variables)

    async def may(principal: Principal, method: bytes, url: str) -> May | Refusal:
        verdict = await judge.may(principal, method.decode("ascii"), url.encode("utf-8"))
        if isinstance(verdict, Refusal):
            return May.of(verdict)
        if verdict.refusal is not None:
            return May.of(verdict.refusal)
        decision = verdict.ruling.decision
        rule = decision.rules[0] if isinstance(decision, Allow) and decision.rules else None
        return May(
            allowed=True, code=None, rule=rule, detail=f"{verdict.ruling.action} is allowed", advice=""
        )

    async def end(principal: Principal, reason: str) -> int:
        by = f"agent:{principal.agent.id}"
        return len(await book.end(principal.task.id, reason or "ended by its agent", by=by) or ())

    return AgentDesk(
        delegate=delegate,
        may=may,
        blocked=lambda task: _blocked(blocked, task),
        approvals=approvals,
        end=end,
        left=spending.left,
        services_left=lambda principal: services_left(
            office().services, windows, principal, int(time.time())
        ),
        now=lambda: int(time.time()),
    )


def _within(ceiling: tuple[str, ...] | None, principal: Principal) -> frozenset[str] | None:
    """The services that both the child's ceiling and the parent's right let through; None is all."""
    right = principal.right.services
    if ceiling is None:
        return right
    return frozenset(ceiling) if right is None else right & frozenset(ceiling)


def _blocked(blocked: Blocked, task: str) -> Sequence[Mapping[str, object]]:
    return [
        {
            "time_ns": str(one.time_ns),
            "record": one.record,
            "method": one.method,
            "url": one.url,
            "code": one.refusal.code.value,
            "detail": one.refusal.detail,
            "rule": one.refusal.rule,
            "next": one.refusal.meaning.advice,
        }
        for one in blocked.of(task)
    ]
