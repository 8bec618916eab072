"""The steps of one call up to its decision: attributed, canonical, bound to its placeholder, decided.

Nothing here has an effect: no look-up, no credential, no byte leaves. The order of the questions is
also the order of precedence of their refusals: identity, form, origin, destination, placeholder, policy,
grant, budget.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from proxy.credential import placeholder, swap
from proxy.credential.swap import NoSwap, Plan
from proxy.engine.caller import Caller, Doorman
from proxy.engine.destination import Destinations
from proxy.engine.facts import Seen, trace_parent
from proxy.engine.panel import Panel, Verdict
from proxy.errors import Code, Refusal
from proxy.exchange import Exchange, Step
from proxy.http.canonical import Host, Origin, Target, parse_connect, parse_target, query_pairs
from proxy.http.chunked import ChunkedDecoder
from proxy.http.guard import METHODS, Guarded, guard_request
from proxy.http.message import Chunked, Framing, Headers, Length, NoBody, RequestHead, first, values
from proxy.identity.attribution import Unfit
from proxy.identity.presented import Presented, presented
from proxy.identity.principal import Principal
from proxy.policy.catalogue import Service
from proxy.policy.decision import RequestFacts
from proxy.ports import Clock, Tasks

DESK_HOST, DESK_PORT = "gatepass.internal", 80


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An accepted CONNECT: nothing is recorded yet; every request inside will be."""

    principal: Principal
    host: Host
    port: int
    presented: Presented | None


class Ready(NamedTuple):
    """A call that policy allows: what is to be recorded, then credentialed, then sent."""

    principal: Principal
    target: Target
    guarded: Guarded
    service: Service | None
    plan: Plan | None


class Errand(NamedTuple):
    """A call to the desk: to be recorded, then served by the sidecar itself."""

    principal: Principal
    target: Target
    guarded: Guarded
    parameters: tuple[tuple[str, str], ...]


class Judge:
    """See the module."""

    def __init__(
        self,
        *,
        doorman: Doorman,
        panel: Panel,
        tasks: Tasks,
        destinations: Destinations,
        clock: Clock,
        header_count: int,
        header_line: int,
        target: int,
        encoded_slash: Callable[[Origin], bool],
    ) -> None:
        """``encoded_slash`` says whether paths at an origin may hold ``%2F``, as data inside a segment."""
        self._doorman = doorman
        self._panel = panel
        self._tasks = tasks
        self._destinations = destinations
        self._clock = clock
        self._header_count = header_count
        self._header_line = header_line
        self._target = target
        self._encoded_slash = encoded_slash

    async def tunnel(
        self, exchange: Exchange, seen: Seen, caller: Caller, head: RequestHead
    ) -> Tunnel | Refusal:
        """Judge a CONNECT: only identity, form, port and address problems refuse here."""
        principal = await self._attribute(exchange, seen, caller, head.headers)
        if isinstance(principal, Refusal):
            return principal
        guarded = guard_request(head, max_headers=self._header_count, max_line=self._header_line)
        if isinstance(guarded, Refusal):
            return guarded
        asked = parse_connect(head.target, values(head.headers, b"host"))
        if isinstance(asked, Refusal):
            return asked
        refusal = None if _is_desk(*asked) else self._destination(*asked)
        if refusal is not None:
            return refusal
        token = presented(head.headers)
        return Tunnel(principal, *asked, token if isinstance(token, Presented) else None)

    async def request(
        self, exchange: Exchange, seen: Seen, caller: Caller, head: RequestHead, prefix: bytes
    ) -> Ready | Errand | Refusal:
        """Judge one request; ``prefix`` is what has arrived after its head."""
        principal = await self._attribute(exchange, seen, caller, head.headers)
        if isinstance(principal, Refusal):
            return principal
        guarded = guard_request(head, max_headers=self._header_count, max_line=self._header_line)
        if isinstance(guarded, Refusal):
            return guarded
        seen.stripped = guarded.stripped
        if len(head.target) > self._target:
            return Refusal(Code.TARGET_TOO_LONG, f"the request target is longer than {self._target} octets")
        target = parse_target(
            head.method,
            head.target,
            tunnel=caller.tunnel,
            hosts=values(head.headers, b"host"),
            version=head.version,
            encoded_slash=True,
        )
        if isinstance(target, Refusal):
            return target
        if "%2F" in target.path.text and not self._encoded_slash(target.origin):
            return _ENCODED_SLASH
        seen.target = target
        seen.trace = trace_parent(guarded.forward)
        if target.origin.scheme == "http" and _is_desk(target.origin.host, target.origin.port):
            return _errand(exchange, seen, principal, guarded, target)
        refusal = self._destination(target.origin.host, target.origin.port)
        if refusal is not None:
            return refusal
        return self._decide(exchange, seen, principal, guarded, target, prefix)

    def may(self, principal: Principal, method: str, url: bytes) -> Verdict | Refusal:
        """What a request without body would be answered, now; nothing is taken from any budget."""
        if method not in METHODS or method == "CONNECT":
            return Refusal(Code.METHOD_UNSUPPORTED, "relayed are " + " ".join(sorted(METHODS)))
        target = parse_target(method, url, tunnel=None, hosts=(), version="1.0", encoded_slash=True)
        if isinstance(target, Refusal):
            return target
        if "%2F" in target.path.text and not self._encoded_slash(target.origin):
            return _ENCODED_SLASH
        refusal = self._destination(target.origin.host, target.origin.port)
        pairs = query_pairs(target.query)
        if refusal is not None or isinstance(pairs, Refusal):
            return refusal or cast("Refusal", pairs)
        now = self._clock.wall_ns() // 1_000_000_000
        facts = RequestFacts(
            has_body=False,
            content_type="",
            query_keys=tuple(name for name, _ in pairs),
            upgrade="",
            time=now,
        )
        verdict = self._panel.judge(principal, method, target, facts)
        if verdict.refusal is None:
            spent = self._panel.take(principal)
            if spent is not None:
                return spent
            self._panel.give_back(principal)
        return verdict

    def _destination(self, host: Host, port: int) -> Refusal | None:
        return _NOT_THE_DESK if host.name == DESK_HOST else self._destinations.check(host, port)

    def _decide(
        self,
        exchange: Exchange,
        seen: Seen,
        principal: Principal,
        guarded: Guarded,
        target: Target,
        prefix: bytes,
    ) -> Ready | Refusal:
        pairs = query_pairs(target.query)
        if isinstance(pairs, Refusal):
            return pairs
        seen.query_keys = tuple(name for name, _ in pairs)
        verdict = self._panel.judge(principal, seen.method, target, self._facts(seen, guarded))
        seen.ruling, seen.above = verdict.ruling, verdict.above
        exchange.advance(Step.DECIDED)
        service = verdict.ruling.service
        plan = self._plan(seen, principal, guarded, target, service, prefix)
        if isinstance(plan, Refusal):
            return plan
        refusal = verdict.refusal or self._panel.take(principal)
        return refusal or Ready(principal, target, guarded, service, plan)

    def _facts(self, seen: Seen, guarded: Guarded) -> RequestFacts:
        content_type = first(guarded.forward, b"content-type") or b""
        return RequestFacts(
            has_body=not isinstance(guarded.framing, NoBody),
            content_type=content_type.partition(b";")[0].strip().lower().decode("ascii", "replace"),
            query_keys=seen.query_keys,
            upgrade=guarded.upgrade,
            time=self._clock.wall_ns() // 1_000_000_000,
        )

    def _plan(
        self,
        seen: Seen,
        principal: Principal,
        guarded: Guarded,
        target: Target,
        service: Service | None,
        prefix: bytes,
    ) -> Plan | Refusal | None:
        """Which placeholder is to be swapped where; a placeholder anywhere else is a refusal."""
        if prefix and placeholder.find(_body_of(prefix, guarded.framing)):
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

    async def _attribute(
        self, exchange: Exchange, seen: Seen, caller: Caller, headers: Headers
    ) -> Principal | Refusal:
        found = await self._doorman.attribute(caller, headers)
        if isinstance(found, Unfit):
            seen.unfit = found
            return found.refusal
        if isinstance(found, Principal):
            seen.principal = found
            exchange.advance(Step.ATTRIBUTED)
        return found

    def charge(self, principal: Principal, octets: int) -> None:
        """See ``Panel.charge``."""
        self._panel.charge(principal, octets)

    def over(self, principal: Principal) -> Refusal | None:
        """Why nothing may leave for this principal any more, although it was allowed to; or None."""
        return self._doorman.over(principal)


def _errand(
    exchange: Exchange, seen: Seen, principal: Principal, guarded: Guarded, target: Target
) -> Errand | Refusal:
    pairs = query_pairs(target.query)
    if isinstance(pairs, Refusal):
        return pairs
    seen.query_keys = tuple(name for name, _ in pairs)
    seen.desk = True
    exchange.advance(Step.DECIDED)
    if guarded.upgrade:
        return Refusal(Code.DESK_REQUEST, "the desk speaks no WebSocket")
    return Errand(principal, target, guarded, pairs)


def _is_desk(host: Host, port: int) -> bool:
    return host.name == DESK_HOST and port == DESK_PORT


def _body_of(prefix: bytes, framing: Framing) -> bytes:
    """What of the octets after the head is this request's body; behind it may come the next request."""
    if isinstance(framing, Length):
        return prefix[: framing.octets]
    return b"".join(ChunkedDecoder().feed(prefix)) if isinstance(framing, Chunked) else b""


_ENCODED_SLASH = Refusal(
    Code.TARGET_MALFORMED, "the path has an encoded slash, and no service at this host declares encoded_slash"
)
_NOT_THE_DESK = Refusal(
    Code.DESK_REQUEST, f"the desk is at http://{DESK_HOST}/ alone, on port 80 and without TLS"
)
BODY_PLACEHOLDER = Refusal(
    Code.PLACEHOLDER_SURFACE,
    "there is a placeholder in the request body, which no service declares as its place",
)
