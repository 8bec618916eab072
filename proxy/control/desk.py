"""The agent's desk: what an agent may ask about itself at ``http://gatepass.internal/``, and delegate.

The engine has attributed the caller and recorded the call; here it becomes an answer in JSON or a refusal.
Whatever is said is said of the caller and of the chain it stands in. The one secret that leaves is the
token of a task that the caller has just delegated.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import reduce

from proxy.control import render
from proxy.control.body import Flaw, parse_reason
from proxy.control.operations import Delegated, May
from proxy.control.render import Members, dumps
from proxy.errors import Code, Refusal
from proxy.identity.principal import Budgets, Link, Principal
from proxy.identity.rights import meet_budgets
from proxy.identity.wanted import Wanted, parse_wanted
from proxy.policy.window import Left
from proxy.ports import Answer, Ask

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)
_URL = re.compile(r"[^\ud800-\udfff]{1,16384}")  # a lone surrogate has no bytes
_MAX_QUOTED = 80
_METHODS = {
    "/": "GET",
    "/whoami": "GET",
    "/may": "GET",
    "/blocked": "GET",
    "/approvals": "GET",
    "/delegate": "POST",
    "/end": "POST",
}
_INDEX = {
    "GET /whoami": "who you are here, your task, what it allows, when it ends, what is left of all budgets",
    "GET /may?method=GET&url=URL": "whether this call would be allowed now, and if not, why and what to do",
    "GET /blocked": "the latest calls of your task that were refused, the newest first",
    "GET /approvals": "your calls that a person has to approve, and what became of them",
    "POST /delegate": (
        'hand a narrower task to another agent: {"agent": "...", "purpose": "..."}, and to narrow it '
        '"scopes", "services", "ttl" (seconds), "budgets" and "depth"; the answer has the token for it'
    ),
    "POST /end": 'end your task and all you have delegated; {"reason": "..."} or no body',
}


class AgentDesk:
    """Implements ``ports.Desk``.

    ``may`` judges a call that is not made; ``blocked`` gives the recent refusals of a task by its id, newest
    first, as JSON members; ``approvals`` gives the caller's requests for approval, likewise; ``end`` ends the
    caller's task and all below it and returns how many were open;
    ``left`` is what is left of the budgets at one link; ``services_left`` is what is left for a caller of the
    budgets of services, by service; ``now`` is POSIX seconds.
    """

    def __init__(
        self,
        *,
        delegate: Callable[[Principal, Wanted], Awaitable[Delegated | Refusal]],
        may: Callable[[Principal, bytes, str], Awaitable[May | Refusal]],
        blocked: Callable[[str], Sequence[Mapping[str, object]]],
        approvals: Callable[[Principal], Awaitable[Sequence[Mapping[str, object]] | Refusal]],
        end: Callable[[Principal, str], Awaitable[int]],
        left: Callable[[Link], Budgets],
        now: Callable[[], int],
        services_left: Callable[[Principal], Mapping[str, Sequence[Left]]],
    ) -> None:
        self._delegate = delegate
        self._may = may
        self._blocked = blocked
        self._approvals = approvals
        self._end = end
        self._left = left
        self._services_left = services_left
        self._now = now

    async def answer(self, principal: Principal, ask: Ask) -> Answer | Refusal:
        """Serve one request of an attributed caller; DESK_REQUEST if it is not one that the desk knows."""
        flaw = _flaw(ask)
        if flaw is not None:
            return Refusal(Code.DESK_REQUEST, flaw)
        match ask.path:
            case "/whoami":
                return _ok(self._whoami(principal))
            case "/may":
                return await self._judge(principal, dict(ask.parameters))
            case "/blocked":
                return _ok({"blocked": [dict(entry) for entry in self._blocked(principal.task.id)]})
            case "/approvals":
                return await self._waiting(principal)
            case "/delegate":
                return await self._hand_on(principal, ask.body)
            case "/end":
                return await self._finish(principal, ask.body)
            case _:
                return _ok(_index(principal))

    def _whoami(self, principal: Principal) -> Members:
        agent, task, right = principal.agent, principal.task, principal.right
        return {
            "agent": agent.id,
            "environment": agent.environment,
            "tier": agent.tier,
            "owners": {"business": agent.business_owner, "data": agent.data_owner},
            "task": {
                "id": task.id,
                "purpose": task.purpose,
                "ticket": task.ticket,
                "on_behalf_of": task.on_behalf_of,
                "approver": task.approver,
                "expires_at": render.instant(right.expires_at),
                "seconds_left": max(0, right.expires_at - self._now()),
                "depth": task.depth,
            },
            "right": {"scopes": render.names(right.scopes), "services": render.names(right.services)},
            "budgets_left": render.budgets(self._left_of(principal)),
            "service_budgets": render.service_budgets(self._services_left(principal)),
            "chain": [
                {"agent": link.agent.id, "task": link.task.id, "purpose": link.task.purpose}
                for link in principal.chain
            ],
            "evidence": sorted({evidence.method.value for evidence in principal.evidence}),
        }

    def _left_of(self, principal: Principal) -> Budgets:
        """What the caller can still use: the least of what is left along its chain."""
        return reduce(meet_budgets, map(self._left, principal.chain))

    async def _judge(self, principal: Principal, parameters: dict[str, str]) -> Answer | Refusal:
        method, url = parameters.get("method", ""), parameters.get("url", "")
        if not _METHOD.fullmatch(method):
            return Refusal(Code.DESK_REQUEST, "name the method in capitals: /may?method=GET&url=https://...")
        if not _URL.fullmatch(url):
            return Refusal(
                Code.DESK_REQUEST,
                "name the whole URL, percent-encoded: /may?method=GET&url=https%3A%2F%2F...",
            )
        verdict = await self._may(principal, method.encode(), url)
        may = May.of(verdict) if isinstance(verdict, Refusal) else verdict
        why = {"code": may.code, "rule": may.rule, "detail": may.detail, "advice": may.advice}
        return _ok({"allowed": may.allowed, "why": why})

    async def _waiting(self, principal: Principal) -> Answer | Refusal:
        found = await self._approvals(principal)
        if isinstance(found, Refusal):
            return found
        return _ok({"approvals": [dict(entry) for entry in found]})

    async def _hand_on(self, principal: Principal, body: bytes) -> Answer | Refusal:
        wanted = parse_wanted(body)
        if isinstance(wanted, Refusal):
            return wanted
        delegated = await self._delegate(principal, wanted)
        if isinstance(delegated, Refusal):
            return delegated
        return Answer(201, dumps(render.delegated(delegated)))

    async def _finish(self, principal: Principal, body: bytes) -> Answer | Refusal:
        reason = parse_reason(body)
        if isinstance(reason, Flaw):
            return Refusal(Code.DESK_REQUEST, f'the body is {{"reason": "..."}} or empty; {reason.words}')
        ended = await self._end(principal, reason)
        return _ok({"task": principal.task.id, "ended_tasks": ended})


def _flaw(ask: Ask) -> str | None:
    """What is wrong with the request as far as it can be seen without reading its body, or None."""
    method = _METHODS.get(ask.path)
    if method is None:
        return f"{ask.path[:_MAX_QUOTED]!r} is not known here; GET / lists what is"
    if ask.method != method:
        return f"use {method} for {ask.path}"
    if method == "GET" and ask.body:
        return f"GET {ask.path} takes no body"
    allowed = ("method", "url") if ask.path == "/may" else ()
    given = [name for name, _ in ask.parameters]
    unknown = next((name for name in given if name not in allowed), None)
    if unknown is not None:
        takes = f"only {' and '.join(allowed)}" if allowed else "no parameters"
        return f"the parameter {unknown[:_MAX_QUOTED]!r} is not known; {ask.path} takes {takes}"
    repeated = next((name for name in given if given.count(name) > 1), None)
    return None if repeated is None else f"the parameter {repeated!r} may be given once only"


def _index(principal: Principal) -> Members:
    return {
        "what": (
            "The desk of gatepass, the proxy that your calls go through. It answers about you and your task "
            "alone, and only through that proxy. A refused call is final until somebody changes the rules "
            "or your task: ask here why, do not try around it."
        ),
        "agent": principal.agent.id,
        "task": principal.task.id,
        "ask": _INDEX,
    }


def _ok(members: Members) -> Answer:
    return Answer(200, dumps(members))
