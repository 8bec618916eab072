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
    ) -> None:
        self._judge = judge
        self._log = log
        self._clock = clock
        self._entropy = entropy
        self._origin = origin
        self._boot = boot
        self._credentials = credentials
        self._alarm = alarm
        self._numbering = Numbering()
        self._outcomes: set[asyncio.Future[int]] = set()

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
        if not await self._append_decision(exchange, seen, None):
            return Refused(_LOG_DOWN, "", seen.principal)
        exchange.advance(Step.RECORDED)
        admitted = _admitted(exchange, verdict, head, opened, self._clock.mono_ns())
        refusal = await self._guarded(self._equip(admitted, verdict))
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
        """Swap the placeholder for the credential, if there is one to swap."""
        if ready.plan is None:
            return None
        secret = await self._credentials.fetch(ready.plan.binding, ready.principal.task)
        if isinstance(secret, Refusal):
            return secret
        swapped = swap.apply(ready.plan, secret, admitted.headers, admitted.target)
        if isinstance(swapped, Refusal):
            return swapped
        admitted.headers, admitted.request_target = swapped
        return None

    # -- recording --

    async def _refuse(self, exchange: Exchange, seen: Seen, refusal: Refusal) -> Refused:
        durable = await self._append_decision(exchange, seen, refusal)
        exchange.advance(Step.CLOSED)
        if not durable:
            return Refused(_LOG_DOWN, "", seen.principal)
        told = replace(refusal, detail=facts.shown(refusal.detail))  # it may quote what the agent sent
        return Refused(told, exchange.id, seen.principal)

    async def _append_decision(self, exchange: Exchange, seen: Seen, refusal: Refusal | None) -> bool:
        """Make the decision durable; False if that failed, and then nothing may leave."""
        try:
            agent = seen.principal.agent.id if seen.principal is not None else None
            entry = record.decision(
                self.stamp(agent, exchange.id),
                who=facts.who(seen),
                what=facts.what(seen),
                why=facts.why(seen, refusal),
                credential=seen.credential,
            )
            await self._log.append(entry)
        except LogUnavailable:
            return False
        except Exception as error:  # noqa: BLE001 - fail closed: a record that cannot be made is a 503
            self._alarm(f"the record of a call could not be made: {type(error).__name__}: {error}")
            return False
        return True

    def settle(self, admitted: Admitted, ended: Outcome) -> None:
        """Record how an admitted call ended; exactly once, and without waiting for the disk."""
        admitted.exchange.advance(Step.CLOSED)
        what = facts.outcome(
            ended, opened_ns=admitted.opened_ns, durable_ns=admitted.durable_ns, now_ns=self._clock.mono_ns()
        )
        stamp = self.stamp(admitted.principal.agent.id)
        self._later(record.outcome(stamp, decision_id=admitted.exchange.id, what=what))

    def note(self, kind: str, body: dict[str, Json]) -> None:
        """Record an event of the sidecar itself, without waiting for the disk."""
        self._later(record.event(self.stamp(None), kind, body))

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

    def stamp(self, agent: str | None, record_id: str | None = None) -> Stamp:
        """The stamp of the next record; ask when the record is appended, not before."""
        wall = self._clock.wall_ns()
        identity = record_id or record.ulid(wall, self._entropy(10))
        return Stamp(
            identity, wall, self._clock.mono_ns(), self._origin, self._boot, self._numbering.next(agent)
        )

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
