"""Drives one exchange through its steps: the PEP, for every engine.

An engine hands over what it parsed and gets back either an ``Admitted`` call, ready to be sent, a
``Called`` desk, ready to be served, or a ``Refused`` one, ready to be answered. The decision is durable
before any of them comes back. Any exception in here is a refusal with a record: fail closed.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import TypeVar

from proxy.credential import swap
from proxy.engine import facts
from proxy.engine.answering import Answering, answering
from proxy.engine.blocked import Blocked
from proxy.engine.caller import Caller
from proxy.engine.decide import Ready
from proxy.engine.facts import Outcome
from proxy.engine.intake import Intake
from proxy.engine.judge import Errand, Judge, Tunnel
from proxy.engine.outgoing import outgoing
from proxy.engine.panel import Receipt
from proxy.engine.pool import Key
from proxy.engine.scribe import LOG_DOWN, Scribe
from proxy.engine.seen import Seen, asked, shown
from proxy.errors import Code, Refusal
from proxy.exchange import Exchange, Step
from proxy.http.canonical import Target
from proxy.http.guard import Guarded
from proxy.http.message import Headers, RequestHead
from proxy.identity.burst import Burst, Bursts
from proxy.identity.principal import Principal
from proxy.policy.obligation import Obligations
from proxy.policy.service_budget import Used
from proxy.ports import Clock, Credentials

T = TypeVar("T")
_STOPPED = Refusal(Code.DRAINING, "gatepass stopped before the call was sent")
_BAD_CREDENTIALS = frozenset(
    {Code.IDENTITY_INVALID, Code.IDENTITY_EXPIRED, Code.IDENTITY_CONFLICT, Code.AGENT_UNKNOWN}
)


@dataclass(slots=True)
class Refused:
    """A refusal and the id of its record ("" only if the log could not be written)."""

    refusal: Refusal
    record_id: str
    principal: Principal | None = None


@dataclass(slots=True)
class Admitted:
    """A call that may leave: everything an engine needs to send it, and to say how it ended."""

    exchange: Exchange
    principal: Principal
    method: str
    version: str
    target: Target
    guarded: Guarded
    headers: Headers
    request_target: bytes
    key: Key
    opened_ns: int
    durable_ns: int
    receipt: Receipt
    content: bytes | None  # what is sent as the content, where it was read to decide
    trailers: Headers  # that came behind that content
    obligations: Obligations
    answering: Answering | None  # what has to be done with the answer


@dataclass(slots=True)
class Called:
    """A call to the desk: everything that is needed to serve it, and to say how it ended.

    ``heard``: it has arrived whole, and the desk is at it.
    """

    exchange: Exchange
    principal: Principal
    method: str
    errand: Errand
    opened_ns: int
    durable_ns: int
    heard: bool = False


class Enforcer:
    """See the module."""

    def __init__(
        self,
        *,
        judge: Judge,
        scribe: Scribe,
        clock: Clock,
        credentials: Credentials,
        blocked: Blocked,
        correlation: str | None = None,
    ) -> None:
        """``correlation``: the header in which an API gets the record's id, if any."""
        self._judge = judge
        self._scribe = scribe
        self._clock = clock
        self._credentials = credentials
        self._blocked = blocked
        self._correlation = correlation.encode("ascii") if correlation is not None else None
        self._bursts = Bursts()

    # -- judging --

    async def admit_tunnel(self, caller: Caller, head: RequestHead) -> Tunnel | Refused:
        """Judge a CONNECT."""
        exchange, seen = self._scribe.open(), Seen(caller.peer, method="CONNECT", version=head.version)
        seen.authority = asked(head.target)
        verdict = await self._judged(exchange, seen, self._judge.tunnel(exchange, seen, caller, head))
        if isinstance(verdict, Tunnel):
            return verdict
        return await self._turn_away(exchange, seen, caller, verdict)

    async def admit(self, caller: Caller, head: RequestHead, intake: Intake) -> Admitted | Called | Refused:
        """Judge one request. ``intake`` is where its content comes from."""
        opened = self._clock.mono_ns()
        exchange, seen = self._scribe.open(), Seen(caller.peer, method=head.method, version=head.version)
        seen.authority = asked(head.target)
        judging = self._judge.request(exchange, seen, caller, head, intake)
        verdict = await self._judged(exchange, seen, judging)
        if isinstance(verdict, Refusal):
            return await self._turn_away(exchange, seen, caller, verdict)
        failure = await self._scribe.decision(exchange, seen, None)
        if failure is not None:
            if isinstance(verdict, Ready):
                self._judge.give_back(verdict.principal, verdict.receipt)
            return Refused(failure, exchange.id if failure is not LOG_DOWN else "", seen.principal)
        exchange.advance(Step.RECORDED)
        durable = self._clock.mono_ns()
        if isinstance(verdict, Errand):
            return Called(exchange, verdict.principal, head.method, verdict, opened, durable)
        admitted = _admitted(exchange, verdict, head, intake, opened, durable)
        try:
            refusal = await self._guarded(self._equip(admitted, verdict))
        except asyncio.CancelledError:
            self.settle(admitted, Outcome("cut", self.over(verdict.principal) or _STOPPED))
            raise
        if refusal is None:
            exchange.advance(Step.CREDENTIALED)
            return admitted
        self.settle(admitted, Outcome("refused", refusal, refusal.status))
        return Refused(refusal, exchange.id, seen.principal)

    async def refuse(self, seen: Seen, refusal: Refusal) -> Refused:
        """Record a refusal that came before there was a request to judge."""
        return await self._refuse(self._scribe.open(), seen, refusal)

    async def _judged(self, exchange: Exchange, seen: Seen, step: Awaitable[T]) -> T | Refusal:
        """As ``_guarded``; who is stopped while a key or a task is looked for has a record, too."""
        try:
            return await self._guarded(step)
        except asyncio.CancelledError:
            await self._refuse(exchange, seen, _STOPPED)
            raise

    async def _guarded(self, step: Awaitable[T]) -> T | Refusal:
        """Fail closed: whatever goes wrong in ``step`` is a refusal, which the caller records."""
        try:
            return await step
        except Exception as error:  # noqa: BLE001 - the one place where anything may be caught: it refuses
            return self.failed(error, "decided")

    async def _equip(self, admitted: Admitted, ready: Ready) -> Refusal | None:
        """Name the record to the API if configured; swap the placeholder if there is one to swap."""
        if (name := self._correlation) is not None:
            others = (header for header in admitted.headers if header[0].lower() != name.lower())
            admitted.headers = (*others, (name, admitted.exchange.id.encode("ascii")))
        if ready.plan is not None:
            secret = await self._credentials.fetch(ready.plan.binding, ready.principal.task)
            if isinstance(secret, Refusal):
                return secret
            swapped = swap.apply(ready.plan, secret, admitted.headers, admitted.target)
            if isinstance(swapped, Refusal):
                return swapped
            admitted.headers, admitted.request_target = swapped
        admitted.headers = outgoing(admitted.headers, ready)
        # Recording and fetching took time, and a connection is cut only once it is known whose it is.
        return self._judge.over(ready.principal)

    # -- recording --

    async def _refuse(self, exchange: Exchange, seen: Seen, refusal: Refusal) -> Refused:
        failure = await self._scribe.decision(exchange, seen, refusal)
        exchange.advance(Step.CLOSED)
        if failure is LOG_DOWN:
            return Refused(LOG_DOWN, "", seen.principal)
        told = failure or replace(refusal, detail=shown(refusal.detail))  # it may quote what was sent
        self._blocked.note(seen, told, exchange.id, self._clock.wall_ns())
        return Refused(told, exchange.id, seen.principal)

    async def _turn_away(self, exchange: Exchange, seen: Seen, caller: Caller, refusal: Refusal) -> Refused:
        """Refuse; where bad credentials come in a burst, slowly and without a record for each."""
        if refusal.code not in _BAD_CREDENTIALS:
            return await self._refuse(exchange, seen, refusal)
        source, now = caller.arrival.source, self._clock.mono_ns() / 1e9
        wait = self._bursts.failed(source, now)
        if wait is None:
            refused = await self._refuse(exchange, seen, refusal)
            self._bursts.recorded(source, refused.record_id)
            return refused
        exchange.advance(Step.CLOSED)
        record_id = self._bursts.record_of(source)
        await asyncio.sleep(wait)
        told = replace(refusal, detail=shown(refusal.detail), retry_after=60)
        return Refused(told, self._bursts.record_of(source) or record_id)

    def sweep(self) -> None:
        """Record the bursts of bad credentials that are over; called now and then."""
        if self._bursts:
            self._tell_bursts(self._bursts.over(self._clock.mono_ns() / 1e9))

    def _tell_bursts(self, ended: list[Burst]) -> None:
        for burst in ended:
            seconds = round(burst.last - burst.began)
            self._scribe.note(
                "identity.burst",
                {
                    "source": burst.source,
                    "count": burst.count,
                    "seconds": seconds,
                    "decision_id": burst.decision_id,
                },
            )

    def settle(self, call: Admitted | Called, ended: Outcome) -> None:
        """Record how a call ended; exactly once, and without waiting for the disk."""
        call.exchange.advance(Step.CLOSED)
        if isinstance(call, Admitted):
            octets = ended.up + ended.down
            used = Used(octets) if ended.used is None else ended.used._replace(octets=octets)
            ended.cost = self._judge.charge(call.principal, call.receipt, used)
        what = facts.outcome(
            ended, opened_ns=call.opened_ns, durable_ns=call.durable_ns, now_ns=self._clock.mono_ns()
        )
        self._scribe.outcome(call.principal.agent.id, call.exchange.id, what)

    def over(self, principal: Principal) -> Refusal | None:
        """See ``Judge.over``."""
        return self._judge.over(principal)

    def failed(self, error: Exception, doing: str) -> Refusal:
        """See ``Scribe.failed``."""
        return self._scribe.failed(error, doing)

    async def settled(self) -> None:
        """Wait until every outcome and event so far is durable."""
        self._tell_bursts(self._bursts.over(0, all_of_them=True))
        await self._scribe.settled()


def _admitted(
    exchange: Exchange, ready: Ready, head: RequestHead, intake: Intake, opened: int, durable: int
) -> Admitted:
    credential = ready.plan.binding.service if ready.plan is not None else ""
    return Admitted(
        exchange=exchange,
        principal=ready.principal,
        method=head.method,
        version=head.version,
        target=ready.target,
        guarded=ready.guarded,
        headers=ready.guarded.forward,
        request_target=ready.target.request_target,
        key=Key(ready.principal.agent.id, credential, ready.target.origin),
        opened_ns=opened,
        durable_ns=durable,
        receipt=ready.receipt,
        content=ready.content,
        trailers=intake.trailers,
        obligations=ready.obligations,
        answering=answering(
            ready.watch, ready.keep, ready.obligations.max_response, len(ready.content or b"")
        ),
    )
