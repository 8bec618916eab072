"""Drives one exchange through its steps: the PEP, for every engine.

An engine hands over what it parsed and gets back either an ``Admitted`` call, ready to be sent, or a
``Refused`` one, ready to be answered. The decision is durable before either comes back. Any exception
in here is a refusal with a record: fail closed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from proxy.audit import record
from proxy.audit.canonical import Json
from proxy.audit.record import Numbering, Stamp
from proxy.credential import swap
from proxy.engine import facts
from proxy.engine.facts import Outcome, Seen
from proxy.engine.judge import Caller, Judge, Ready, Tunnel
from proxy.engine.pool import Key
from proxy.errors import Code, Refusal
from proxy.exchange import Exchange, Step
from proxy.http.canonical import Target
from proxy.http.guard import Guarded
from proxy.http.message import Headers, RequestHead
from proxy.identity.principal import Principal
from proxy.ports import Clock, Credentials, Log, LogUnavailable

T = TypeVar("T")
_LOG_DOWN = Refusal(Code.LOG_UNAVAILABLE, "the record of this call could not be made durable")
_STOPPED = Refusal(Code.DRAINING, "gatepass stopped before the call was sent")


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


class Enforcer:
    """See the module. ``alarm`` tells the operator about failures of our own, in one line each."""

    def __init__(
        self,
        *,
        judge: Judge,
        log: Log,
        clock: Clock,
        entropy: Callable[[int], bytes],
        origin: str,
        boot: str,
        credentials: Credentials,
        alarm: Callable[[str], None],
        correlation: str | None = None,
    ) -> None:
        """``correlation``: the header in which an API gets the record's id, if any."""
        self._judge = judge
        self._log = log
        self._clock = clock
        self._entropy = entropy
        self._origin = origin
        self._boot = boot
        self._credentials = credentials
        self._alarm = alarm
        self._correlation = correlation.encode("ascii") if correlation is not None else None
        self._numbering = Numbering()
        self._outcomes: set[asyncio.Future[int]] = set()
        self._log_down = False

    # -- judging --

    async def admit_tunnel(self, caller: Caller, head: RequestHead) -> Tunnel | Refused:
        """Judge a CONNECT."""
        exchange, seen = self._open(), Seen(caller.peer, method="CONNECT", version=head.version)
        seen.authority = facts.asked(head.target)
        verdict = await self._guarded(self._judge.tunnel(exchange, seen, caller, head))
        return verdict if isinstance(verdict, Tunnel) else await self._refuse(exchange, seen, verdict)

    async def admit(self, caller: Caller, head: RequestHead, prefix: bytes) -> Admitted | Refused:
        """Judge one request. ``prefix`` is what of its body has already arrived."""
        opened = self._clock.mono_ns()
        exchange, seen = self._open(), Seen(caller.peer, method=head.method, version=head.version)
        seen.authority = facts.asked(head.target)
        verdict = await self._guarded(self._judge.request(exchange, seen, caller, head, prefix))
        if isinstance(verdict, Refusal):
            return await self._refuse(exchange, seen, verdict)
        failure = await self._append_decision(exchange, seen, None)
        if failure is not None:
            return Refused(failure, exchange.id if failure is not _LOG_DOWN else "", seen.principal)
        exchange.advance(Step.RECORDED)
        admitted = _admitted(exchange, verdict, head, opened, self._clock.mono_ns())
        try:
            refusal = await self._guarded(self._equip(admitted, verdict))
        except asyncio.CancelledError:
            self.settle(admitted, Outcome("cut", _STOPPED))
            raise
        if refusal is None:
            exchange.advance(Step.CREDENTIALED)
            return admitted
        self.settle(admitted, Outcome("refused", refusal, refusal.status))
        return Refused(refusal, exchange.id, seen.principal)

    async def refuse(self, seen: Seen, refusal: Refusal) -> Refused:
        """Record a refusal that came before there was a request to judge."""
        return await self._refuse(self._open(), seen, refusal)

    async def _guarded(self, step: Awaitable[T]) -> T | Refusal:
        """Fail closed: whatever goes wrong in ``step`` is a refusal, which the caller records."""
        try:
            return await step
        except Exception as error:  # noqa: BLE001 - the one place where anything may be caught: it refuses
            return self.failed(error, "decided")

    def failed(self, error: Exception, doing: str) -> Refusal:
        """Tell the operator of a failure of our own; the refusal is what the agent is told."""
        self._alarm(f"internal error, the call was refused: {type(error).__name__}: {error}")
        return Refusal(Code.INTERNAL, f"{type(error).__name__} while the call was being {doing}")

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
        # Recording and fetching took time, and a connection is cut only once it is known whose it is.
        return self._judge.over(ready.principal)

    # -- recording --

    async def _refuse(self, exchange: Exchange, seen: Seen, refusal: Refusal) -> Refused:
        failure = await self._append_decision(exchange, seen, refusal)
        exchange.advance(Step.CLOSED)
        if failure is _LOG_DOWN:
            return Refused(_LOG_DOWN, "", seen.principal)
        told = failure or replace(refusal, detail=facts.shown(refusal.detail))  # it may quote what was sent
        return Refused(told, exchange.id, seen.principal)

    async def _append_decision(
        self, exchange: Exchange, seen: Seen, refusal: Refusal | None
    ) -> Refusal | None:
        """Make the decision durable. If that fails nothing may leave, and what is returned is the answer.

        A decision that cannot be written down as it was (a bug of ours) is recorded as a refusal.
        """
        failure = None
        try:
            try:
                entry = self._decision(exchange, seen, refusal)
            except Exception as error:  # noqa: BLE001 - fail closed: it becomes a refusal, with a record
                failure = self.failed(error, "recorded")
                bare = Seen(seen.peer, principal=seen.principal)
                entry = self._decision(exchange, bare, failure)
            await self._log.append(entry)
        except LogUnavailable as error:
            if not self._log_down:  # once: it stays so until a restart, and every call would say it again
                self._log_down = True
                self._alarm(f"{error}: every call is refused until gatepass is restarted")
            return _LOG_DOWN
        except Exception as error:  # noqa: BLE001 - fail closed: no record, no egress
            self._alarm(f"the record of a call could not be made: {type(error).__name__}: {error}")
            return _LOG_DOWN
        return failure

    def _decision(self, exchange: Exchange, seen: Seen, refusal: Refusal | None) -> bytes:
        who, what, why = facts.who(seen), facts.what(seen), facts.why(seen, refusal)
        agent = seen.principal.agent.id if seen.principal is not None else None

        def entry(stamp: Stamp) -> bytes:
            return record.decision(stamp, who=who, what=what, why=why, credential=seen.credential)

        return self._numbered(agent, entry, exchange.id)

    def settle(self, admitted: Admitted, ended: Outcome) -> None:
        """Record how an admitted call ended; exactly once, and without waiting for the disk."""
        admitted.exchange.advance(Step.CLOSED)
        what = facts.outcome(
            ended, opened_ns=admitted.opened_ns, durable_ns=admitted.durable_ns, now_ns=self._clock.mono_ns()
        )
        decision_id = admitted.exchange.id
        agent = admitted.principal.agent.id
        self._later(
            self._numbered(agent, lambda stamp: record.outcome(stamp, decision_id=decision_id, what=what))
        )

    def note(self, kind: str, body: dict[str, Json]) -> None:
        """Record an event of the sidecar itself, without waiting for the disk."""
        self._later(self._numbered(None, lambda stamp: record.event(stamp, kind, body)))

    def _later(self, entry: bytes) -> None:
        pending = asyncio.ensure_future(self._log.append(entry, urgent=False))
        self._outcomes.add(pending)
        pending.add_done_callback(self._appended)

    def _appended(self, pending: "asyncio.Future[int]") -> None:
        self._outcomes.discard(pending)
        if not pending.cancelled() and (error := pending.exception()) is not None:
            self._alarm(f"an outcome could not be recorded: {error}")

    async def settled(self) -> None:
        """Wait until every outcome and event so far is durable."""
        while self._outcomes:
            await asyncio.wait(self._outcomes)

    # -- stamps --

    def _numbered(
        self, agent: str | None, make: Callable[[Stamp], bytes], record_id: str | None = None
    ) -> bytes:
        """An entry with the next number of its agent; call it when the entry is appended, not before."""
        wall = self._clock.wall_ns()
        identity = record_id or record.ulid(wall, self._entropy(10))
        number = self._numbering.next(agent)
        try:
            return make(Stamp(identity, wall, self._clock.mono_ns(), self._origin, self._boot, number))
        except BaseException:
            self._numbering.give_back(agent)
            raise

    def _open(self) -> Exchange:
        return Exchange(record.ulid(self._clock.wall_ns(), self._entropy(10)))


def _admitted(exchange: Exchange, ready: Ready, head: RequestHead, opened: int, durable: int) -> Admitted:
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
    )
