"""The steps of one call up to its decision: attributed, canonical, bound for somewhere; then ``decide``.

Nothing here has an effect: no look-up, no credential, no byte leaves. The order of the questions is
also the order of precedence of their refusals: identity, form, origin, destination, content, placeholder,
policy, grant, budget.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from proxy.engine.caller import Caller, Doorman
from proxy.engine.decide import Decider, Ready
from proxy.engine.destination import Destinations
from proxy.engine.intake import Intake
from proxy.engine.panel import Panel, Receipt, Verdict
from proxy.engine.seen import Seen, trace_parent
from proxy.errors import Code, Refusal
from proxy.exchange import Exchange, Step
from proxy.http.canonical import Host, Origin, Target, parse_connect, parse_target, query_pairs
from proxy.http.guard import METHODS, Guarded, guard_request
from proxy.http.message import Headers, RequestHead, values
from proxy.identity.attribution import Unfit
from proxy.identity.presented import Presented, presented
from proxy.identity.principal import Principal
from proxy.policy.decision import Pdp
from proxy.policy.service_budget import Used

DESK_HOST, DESK_PORT = "gatepass.internal", 80


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An accepted CONNECT: nothing is recorded yet; every request inside will be."""

    principal: Principal
    host: Host
    port: int
    presented: Presented | None


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
        decider: Decider,
        rules: Callable[[], Pdp],
        destinations: Destinations,
        header_count: int,
        header_line: int,
        target: int,
        encoded_slash: Callable[[Origin], bool],
    ) -> None:
        """``rules`` are those in force; one call is judged by one rule set, also if they change meanwhile.

        ``encoded_slash`` says whether paths at an origin may hold ``%2F``, as data inside a segment.
        """
        self._doorman = doorman
        self._panel = panel
        self._decider = decider
        self._rules = rules
        self._destinations = destinations
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
        self, exchange: Exchange, seen: Seen, caller: Caller, head: RequestHead, intake: Intake
    ) -> Ready | Errand | Refusal:
        """Judge one request; ``intake`` is where its content comes from."""
        principal = await self._attribute(exchange, seen, caller, head.headers)
        if isinstance(principal, Refusal):
            return principal
        intake.agent = principal.agent.id
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
        return await self._decider.decide(exchange, seen, self._rules, principal, guarded, target, intake)

    async def may(self, principal: Principal, method: str, url: bytes) -> Verdict | Refusal:
        """What a request without body would be answered, now; nothing is taken from any budget."""
        if method not in METHODS or method == "CONNECT":
            return Refusal(Code.METHOD_UNSUPPORTED, "relayed are " + " ".join(sorted(METHODS)))
        target = parse_target(method, url, tunnel=None, hosts=(), version="1.0", encoded_slash=True)
        if isinstance(target, Refusal):
            return target
        if "%2F" in target.path.text and not self._encoded_slash(target.origin):
            return _ENCODED_SLASH
        refusal = self._destination(target.origin.host, target.origin.port)
        return refusal or await self._decider.may(self._rules(), principal, method, target)

    def _destination(self, host: Host, port: int) -> Refusal | None:
        return _NOT_THE_DESK if host.name == DESK_HOST else self._destinations.check(host, port)

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

    def charge(self, principal: Principal, receipt: Receipt, used: Used) -> int | None:
        """See ``Panel.charge``."""
        return self._panel.charge(principal, receipt, used)

    def give_back(self, principal: Principal, receipt: Receipt) -> None:
        """See ``Panel.give_back``."""
        self._panel.give_back(principal, receipt)

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


_ENCODED_SLASH = Refusal(
    Code.TARGET_MALFORMED, "the path has an encoded slash, and no service at this host declares encoded_slash"
)
_NOT_THE_DESK = Refusal(
    Code.DESK_REQUEST, f"the desk is at http://{DESK_HOST}/ alone, on port 80 and without TLS"
)
