"""From a canonical request to its decision: what it does, whether it may, and what it then has to look like.

Numbered as they come: (1) the query is read; (2) the content, if rules have to know it; (3) what the call
does; (4) the panel decides; (5) a placeholder is bound to its place; (6) a held call waits for a person;
(7) obligations are met; (8) budgets are taken. Nothing here has an effect outside: no look-up, no
credential, no byte leaves.
"""

from collections.abc import Callable
from typing import NamedTuple

from proxy.credential import placeholder, swap
from proxy.credential.swap import NoSwap, Plan
from proxy.engine.holding import Holding
from proxy.engine.intake import BODY_PLACEHOLDER, Intake
from proxy.engine.panel import Panel, Receipt, Verdict
from proxy.engine.seen import Seen
from proxy.engine.understood import understood
from proxy.errors import Code, Refusal
from proxy.exchange import Exchange, Step
from proxy.http.canonical import Target
from proxy.http.chunked import ChunkedDecoder
from proxy.http.guard import Guarded
from proxy.http.message import Chunked, Framing, Length, NoBody, first
from proxy.identity.principal import Principal
from proxy.policy import obligation
from proxy.policy.catalogue import Service
from proxy.policy.classify import classify
from proxy.policy.content import Act, Call, Classified, NeedBody, Watch
from proxy.policy.decision import Pdp, RequestFacts, Site
from proxy.policy.fact import Protocol
from proxy.policy.obligation import Obligations
from proxy.policy.query import parameters
from proxy.policy.repeatable import content_sha256
from proxy.ports import Clock, Tasks


class Ready(NamedTuple):
    """A call that policy allows: what is to be recorded, then credentialed, then sent.

    ``content`` is what is sent instead of what still has to arrive; None if it streams through.
    """

    principal: Principal
    target: Target
    guarded: Guarded
    service: Service | None
    plan: Plan | None
    receipt: Receipt
    content: bytes | None
    obligations: Obligations
    watch: Watch | None
    keep: Callable[[str], bool] | None


class Case(NamedTuple):
    """One request as it stands before the panel."""

    pdp: Pdp
    site: Site
    principal: Principal
    method: str
    target: Target
    guarded: Guarded
    request: RequestFacts
    classified: Classified


class Decider:
    """See the module. ``limit``: octets of content that rules may read."""

    def __init__(self, panel: Panel, tasks: Tasks, clock: Clock, limit: int, holding: Holding) -> None:
        self._panel = panel
        self._tasks = tasks
        self._clock = clock
        self._limit = limit
        self._holding = holding

    async def decide(
        self,
        exchange: Exchange,
        seen: Seen,
        rules: Callable[[], Pdp],
        principal: Principal,
        guarded: Guarded,
        target: Target,
        intake: Intake,
    ) -> Ready | Refusal:
        """Take all the steps; ``seen`` learns what is to be recorded. ``rules`` are those in force."""
        case = await self._case(seen, rules, principal, guarded, target, intake)
        if isinstance(case, Refusal):
            return case
        site, classified = case.site, case.classified
        verdict = await self._judge(case, seen)
        exchange.advance(Step.DECIDED)
        plan = self._plan(seen, principal, guarded, target, site.service, intake)
        if isinstance(plan, Refusal):
            return plan
        if verdict.held:
            exchange.advance(Step.HELD)
            held = await self._hold(case, seen, verdict, rules, intake)
            exchange.advance(Step.DECIDED)
            if isinstance(held, Refusal):
                return held
            verdict = held
        if verdict.refusal is not None:
            return verdict.refusal
        content: bytes | Refusal | None = intake.content
        if verdict.obligations is not obligation.NO_OBLIGATIONS:
            content = await self._oblige(seen, verdict.obligations, guarded, intake)
        if isinstance(content, Refusal):
            return content
        receipt = self._panel.take(principal, site.service, case.request.time)
        if isinstance(receipt, Refusal):
            return receipt
        keep = self._keeper(case) if classified.watch is Watch.MCP else None
        return Ready(
            principal, target, guarded, site.service, plan, receipt, content, verdict.obligations,
            classified.watch, keep,
        )  # fmt: skip

    async def may(self, pdp: Pdp, principal: Principal, method: str, target: Target) -> Verdict | Refusal:
        """What a request without content would be answered, now; nothing is taken from any budget."""
        site = pdp.site(target.origin)
        pairs = parameters(target.query, site.service)
        if isinstance(pairs, Refusal):
            return pairs
        now = self._clock.wall_ns() // 1_000_000_000
        keys = tuple(name for name, _ in pairs)
        request = RequestFacts(has_body=False, content_type="", query_keys=keys, upgrade="", time=now)
        call = Call(method, target.path.text, pairs, (), has_body=False, body=None)
        found = classify(call, site.service, site.needs, self._limit)
        if isinstance(found, Refusal):
            return found
        if isinstance(found, NeedBody):
            return _DEPENDS
        verdict = await self._panel.judge(pdp, site.service, principal, method, target, request, found.acts)
        if verdict.refusal is None:
            receipt = self._panel.take(principal, site.service, now)
            if isinstance(receipt, Refusal):
                return receipt
            self._panel.give_back(principal, receipt)
        return verdict

    # -- (1), (2), (3) --

    async def _case(
        self,
        seen: Seen,
        rules: Callable[[], Pdp],
        principal: Principal,
        guarded: Guarded,
        target: Target,
        intake: Intake,
    ) -> Case | Refusal:
        """What is to be judged, by rules that are still in force once the content has arrived."""
        while True:
            pdp, before = rules(), intake.content
            site = pdp.site(target.origin)
            pairs = parameters(target.query, site.service)
            if isinstance(pairs, Refusal):
                return pairs
            seen.query_keys = tuple([name for name, _ in pairs])
            seen.request = request = self._facts(seen, guarded)
            has_body = not isinstance(guarded.framing, NoBody)
            call = Call(seen.method, target.path.text, pairs, guarded.forward, has_body, None)
            classified = classify(call, site.service, site.wider or site.needs, self._limit)
            if not isinstance(classified, Classified):  # content or shadow have a say in it
                classified = await understood(site, call, guarded, intake, self._limit)
            if isinstance(classified, Refusal):
                return classified
            seen.told = tuple([act.told for act in classified.acts])
            if intake.content is before or rules() is pdp:  # nothing was waited for, or nothing has changed
                return Case(pdp, site, principal, seen.method, target, guarded, request, classified)

    def _facts(self, seen: Seen, guarded: Guarded) -> RequestFacts:
        content_type = first(guarded.forward, b"content-type") or b""
        return RequestFacts(
            has_body=not isinstance(guarded.framing, NoBody),
            content_type=content_type.partition(b";")[0].strip().lower().decode("ascii", "replace"),
            query_keys=seen.query_keys,
            upgrade=guarded.upgrade,
            time=self._clock.wall_ns() // 1_000_000_000,
        )

    # -- (4) --

    async def _judge(self, case: Case, seen: Seen, *, approved: bool = False) -> Verdict:
        verdict = await self._panel.judge(
            case.pdp, case.site.service, case.principal, case.method, case.target, case.request,
            case.classified.acts, approved=approved,
        )  # fmt: skip
        seen.ruling, seen.batch, seen.above = verdict.ruling, verdict.batch, verdict.above
        return verdict

    # -- (5) --

    def _plan(
        self,
        seen: Seen,
        principal: Principal,
        guarded: Guarded,
        target: Target,
        service: Service | None,
        intake: Intake,
    ) -> Plan | Refusal | None:
        """Which placeholder is to be swapped where; a placeholder anywhere else is a refusal."""
        arrived = intake.arrived if intake.content is None else b""
        if arrived and placeholder.find(_body_of(arrived, guarded.framing)):
            return BODY_PLACEHOLDER
        plan = swap.plan(
            guarded.forward,
            target,
            service_name=None if service is None else service.name,
            binding=None if service is None else service.credential,
            task_id=principal.task.id,
            holding=self._tasks.holding,
        )
        if isinstance(plan, NoSwap):
            return None
        if isinstance(plan, Plan):
            seen.credential = {
                "placeholder_sha256": plan.holding.placeholder_sha256,
                "service": plan.holding.service,
                "provider": plan.binding.provider,
                "name": plan.binding.name,
                "surface": plan.surface,
            }
        return plan

    # -- (6) --

    async def _hold(
        self, case: Case, seen: Seen, verdict: Verdict, rules: Callable[[], Pdp], intake: Intake
    ) -> Verdict | Refusal:
        """The verdict once a person has said yes: on now, by the rules that are in force now."""
        content = await intake.read(case.guarded, self._limit)
        if isinstance(content, Refusal):
            return content
        held = await self._holding.ask(
            case.principal, case.method, case.target, (*case.guarded.forward, *intake.trailers),
            content_sha256(case.site.service, case.target.path.text, content), case.classified.acts,
            verdict.held, verdict.ruling.ruleset_sha256, intake,
        )  # fmt: skip
        if isinstance(held, Refusal):
            return held
        seen.approval = held
        seen.request = request = self._facts(seen, case.guarded)
        now = await self._judge(case._replace(pdp=rules(), request=request), seen, approved=True)
        if now.ruling.ruleset_sha256 != verdict.ruling.ruleset_sha256:
            seen.approval, (seen.ruling, seen.batch, seen.above) = None, verdict[:3]
            return _CHANGED
        return now

    # -- (7) --

    async def _oblige(
        self, seen: Seen, duties: Obligations, guarded: Guarded, intake: Intake
    ) -> bytes | Refusal | None:
        """What is sent as the content: what was read, changed as obliged; None if nothing was read."""
        seen.obligations = duties
        if guarded.upgrade and (duties.interception or duties.content or duties.max_response is not None):
            return Refusal(Code.OBLIGATION_UNMET, "the rule wants the call read, and a WebSocket cannot be")
        if not duties.content or isinstance(guarded.framing, NoBody):
            return intake.content
        content = await intake.read(guarded, self._limit)
        if isinstance(content, Refusal):
            return content
        other = obligation.changeable(guarded.forward) if content else None
        return other or obligation.apply_content(duties, content)

    # -- what the answer may show --

    def _keeper(self, case: Case) -> Callable[[str], bool]:
        """Whether a tool may be shown: whether everybody in the chain could get to call it."""
        service = case.site.service
        assert service is not None, "only a service speaks MCP"

        def keep(tool: str) -> bool:
            operation = service.select(Protocol.MCP, f"tool:{tool}") or service.builtin("mcp.call")
            act = Act(operation)
            return self._panel.could(case.pdp, case.principal, case.method, case.target, case.request, act)

        return keep


def _body_of(prefix: bytes, framing: Framing) -> bytes:
    """What of the octets after the head is this request's body; behind it may come the next request."""
    if isinstance(framing, Length):
        return prefix[: framing.octets]
    return b"".join(ChunkedDecoder().feed(prefix)) if isinstance(framing, Chunked) else b""


_CHANGED = Refusal(
    Code.APPROVAL_REQUIRED,
    "the rules have changed while the call waited, and it was approved under the old ones; send it again",
)
_DEPENDS = Refusal(
    Code.DESK_REQUEST, "whether this may be done depends on its content, which a question has none of"
)
