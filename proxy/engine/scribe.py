"""Writes down what happens to calls: decisions before anything leaves, outcomes and events after.

A record gets the next number of its agent when it is appended, not before; what cannot be written down
as it was is written down as a refusal; and when the log fails, nothing may leave.
"""

import asyncio
from collections.abc import Callable

from proxy.audit import record
from proxy.audit.canonical import Json
from proxy.audit.record import Numbering, Stamp
from proxy.engine import facts
from proxy.engine.reasons import why
from proxy.engine.seen import Seen
from proxy.errors import Code, Refusal
from proxy.exchange import Exchange
from proxy.ports import Clock, Log, LogUnavailable

LOG_DOWN = Refusal(Code.LOG_UNAVAILABLE, "the record of this call could not be made durable")


class Scribe:
    """See the module. ``alarm`` tells the operator about failures of our own, in one line each."""

    def __init__(
        self,
        *,
        log: Log,
        clock: Clock,
        entropy: Callable[[int], bytes],
        origin: str,
        boot: str,
        alarm: Callable[[str], None],
    ) -> None:
        self._log = log
        self._clock = clock
        self._entropy = entropy
        self._origin = origin
        self._boot = boot
        self._alarm = alarm
        self._numbering = Numbering()
        self._outcomes: set[asyncio.Future[int]] = set()
        self._log_down = False
        self._lost = False

    @property
    def down(self) -> bool:
        """Whether the log has failed, so that everything is refused until a restart."""
        return self._log_down

    def open(self) -> Exchange:
        """A new exchange, with the id of its record."""
        return Exchange(record.ulid(self._clock.wall_ns(), self._entropy(10)))

    def failed(self, error: Exception, doing: str) -> Refusal:
        """Tell the operator of a failure of our own; the refusal is what the agent is told."""
        self._alarm(f"internal error, the call was refused: {type(error).__name__}: {error}")
        return Refusal(Code.INTERNAL, f"{type(error).__name__} while the call was being {doing}")

    async def decision(self, exchange: Exchange, seen: Seen, refusal: Refusal | None) -> Refusal | None:
        """Make the decision durable. If that fails nothing may leave, and what is returned is the answer.

        A decision that cannot be written down as it was (a bug of ours) is recorded as a refusal.
        """
        failure = None
        try:
            try:
                entry = self._decision(exchange, seen, refusal)
            except Exception as error:  # noqa: BLE001 - fail closed: it becomes a refusal, with a record
                failure = self.failed(error, "recorded")
                bare = Seen(seen.peer, principal=seen.principal, unfit=seen.unfit)
                entry = self._decision(exchange, bare, failure)
            await self._log.append(entry)
        except LogUnavailable as error:
            if not self._log_down:  # once: it stays so until a restart, and every call would say it again
                self._log_down = True
                self._alarm(f"{error}: every call is refused until gatepass is restarted")
            return LOG_DOWN
        except Exception as error:  # noqa: BLE001 - fail closed: no record, no egress
            self._alarm(f"the record of a call could not be made: {type(error).__name__}: {error}")
            return LOG_DOWN
        return failure

    def _decision(self, exchange: Exchange, seen: Seen, refusal: Refusal | None) -> bytes:
        who, what, reasons = facts.who(seen), facts.what(seen), why(seen, refusal)

        def entry(stamp: Stamp) -> bytes:
            return record.decision(stamp, who=who, what=what, why=reasons, credential=seen.credential)

        return self._numbered(seen.agent, entry, exchange.id)

    def outcome(self, agent: str, decision_id: str, what: dict[str, Json]) -> None:
        """Record how an allowed call ended, without waiting for the disk."""
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
        if pending.cancelled():
            self._lost = True
        elif (error := pending.exception()) is not None:
            self._lost = True
            self._alarm(f"an outcome could not be recorded: {error}")

    async def settled(self) -> None:
        """Wait until every outcome and event so far is durable."""
        while self._outcomes:
            await asyncio.wait(self._outcomes)

    async def written(self) -> bool:
        """Wait until every outcome and event up to now is durable, and for none that comes meanwhile.

        False if one of them, or any before, was lost; then so is what comes.
        """
        if self._outcomes:
            await asyncio.wait(tuple(self._outcomes))
        return not self._lost

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
