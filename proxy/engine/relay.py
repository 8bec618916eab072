"""Relays one admitted call: request up, answer down, streaming both ways with back-pressure (RFC 9112).

Nothing is buffered beyond the wires' high-water marks. A request goes up while its answer may already
come down. What cannot be answered any more (the answer's head has left) is cut short, so that the
agent sees a truncated message and never a wrong one.
"""

import asyncio

from proxy.engine import websocket
from proxy.engine.body import Truncated
from proxy.engine.dial import Upstream
from proxy.engine.download import Download
from proxy.engine.enforce import Admitted, Enforcer, Refused
from proxy.engine.facts import Outcome
from proxy.engine.head import Reading, format_request_head, format_response_head
from proxy.engine.pool import Pool
from proxy.engine.response import (
    MAX_INTERIM,
    Answer,
    Patience,
    interim,
    next_answer,
    upstream_refusal,
)
from proxy.engine.upload import Upload, upload_refusal
from proxy.engine.wire_error import Cut, Gone, WireError
from proxy.errors import Code, Fault, Refusal
from proxy.exchange import Step
from proxy.http.answer import SWITCHING, GuardedResponse
from proxy.http.guard import with_host
from proxy.http.message import ResponseHead
from proxy.ports import Clock

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Transfer:
    """One admitted call on its way. ``outcome`` is complete once ``run`` has returned or raised."""

    def __init__(self, down: Reading, call: Admitted, pool: Pool, patience: Patience, clock: Clock) -> None:
        self.outcome = Outcome("complete")
        self._down = down
        self._call = call
        self._pool = pool
        self._patience = patience
        self._clock = clock
        self._upload = Upload(
            down,
            call.guarded.framing,
            idle=patience.downstream_idle,
            patience=patience.first_byte,
            content=call.content,
            trailers=call.trailers,
            duties=call.obligations,
        )
        self._up: Upstream | None = None
        self._dialling: asyncio.Task[object] | None = None
        self._download = Download(down, call, patience, self.outcome)
        self._loop = asyncio.get_running_loop()

    @property
    def answered(self) -> bool:
        """Whether the head of the final answer has left."""
        return self._download.answered

    async def run(self) -> bool | Refusal:
        """Relay. True: the downstream connection may carry another call. A ``Refusal``: answer that.

        :raises WireError: the call ended early and no answer is possible; ``outcome`` says how.
        """
        self._down.wire.on_gone = self._client_gone
        try:
            return await self._relay()
        except WireError as error:
            refusal = self._blame(error)
            if self.answered or self.outcome.result in {"client_gone", "cut"}:
                raise
            return refusal
        finally:
            self._down.wire.on_gone = None
            await self._upload.stop()
            if self._upload.refusal is not None:
                # Also where the answer was complete all the same.
                self.outcome.end("refused", self._upload.refusal)
            self.outcome.up += self._upload.sent
            if self._call.answering is not None:
                left = self._call.exchange.step is Step.FORWARDED
                self.outcome.used = self._call.answering.used(self._upload.sent, left=left)
            if self._up is not None:
                self._up.wire.abort()

    async def _relay(self) -> bool | Refusal:
        answer = await self._exchange()
        if isinstance(answer, Refusal):
            theirs = answer.meaning.fault is Fault.UPSTREAM
            self.outcome.end("upstream_error" if theirs else "refused", answer)
            return answer
        up, (head, guarded) = answer
        if head.status == SWITCHING:
            return await self._switch(up, head, guarded)
        return await self._answer(up, head, guarded)

    async def _exchange(self) -> tuple[Upstream, Answer] | Refusal:
        """Send the request, await its final answer; once again if a kept connection died of age."""
        for fresh in (False, True):
            self._wanted()
            up = await self._acquire(fresh=fresh)
            if isinstance(up, Refusal):
                return up
            reused = up.used > 0
            up.used += 1
            self._up, self.outcome.link, self.outcome.reused = up, up.link, reused
            self._wanted()
            try:
                self._send(up)
                answer = await self._await_answer(up)
            except (Gone, Truncated) as error:
                if fresh or not reused or error.wire is not up.wire or not self._repeatable():
                    raise
                up.wire.abort()
                continue
            return answer if isinstance(answer, Refusal) else (up, answer)
        raise AssertionError  # the second connection is not a reused one, so its failure was raised

    async def _acquire(self, *, fresh: bool) -> Upstream | Refusal:
        """A connection to the API. A cut ends the wait for it: nobody is looked up or dialled any more."""
        self._dialling = asyncio.current_task()
        try:
            return await self._pool.acquire(self._call.key, fresh=fresh)
        except asyncio.CancelledError:
            if self.outcome.result != "cut" or self._dialling is None:
                raise
            self._dialling.uncancel()
            raise Cut(self._down.wire) from None
        finally:
            self._dialling = None

    def _wanted(self) -> None:
        """Nothing may leave once the agent has gone or its task is over, and a dial gives time for both."""
        if self._down.wire.gone:
            raise Gone(self._down.wire)

    def _repeatable(self) -> bool:
        """Only if idempotent, without a body that is half taken, and nothing of an answer has come."""
        return self._call.method in _IDEMPOTENT and self._upload.empty and self.outcome.first_byte_ns == 0

    # -- up --

    def _send(self, up: Upstream) -> None:
        call = self._call
        if call.exchange.step is not Step.FORWARDED:
            call.exchange.advance(Step.FORWARDED)
        headers = with_host(call.headers, call.target.origin)
        head = format_request_head(call.method, call.request_target, headers)
        self.outcome.up += len(head)
        if self._upload.empty:
            up.wire.write(head)
            return
        first = self._upload.first()
        up.wire.write(head + first)
        if call.guarded.expect_continue and not first and call.content is None:
            self._down.wire.write(_CONTINUE)
        self._upload.start(up)

    # -- down --

    async def _await_answer(self, up: Upstream) -> Answer | Refusal:
        """The final answer's head; interim answers are relayed as they come."""
        call, patience = self._call, self._patience
        for _ in range(MAX_INTERIM):
            up.wire.deadline = self._loop.time() + patience.first_byte
            answer = await next_answer(up.reading, call.method, call.guarded.upgrade, patience)
            self.outcome.first_byte_ns = self.outcome.first_byte_ns or self._clock.mono_ns()
            if isinstance(answer, Refusal) or answer.final:
                return answer
            if relayed := interim(answer, call.version):
                self._down.wire.write(relayed)
        return Refusal(Code.UPSTREAM_PROTOCOL, "too many interim answers")

    async def _answer(self, up: Upstream, head: ResponseHead, guarded: GuardedResponse) -> bool | Refusal:
        keep = await self._download.answer(up, head, guarded)
        if isinstance(keep, Refusal):
            self.outcome.end("refused", keep)
            return keep
        return self._finish(up, guarded) and keep

    def _finish(self, up: Upstream, guarded: GuardedResponse) -> bool:
        """Give the upstream connection back if both directions ended cleanly."""
        if self._upload.done and guarded.keep_alive:
            self._pool.release(self._call.key, up)
        else:
            up.wire.close()
        self._up = None
        return self._upload.done

    async def _switch(self, up: Upstream, head: ResponseHead, guarded: GuardedResponse) -> bool:
        """101: from here on the octets are the two sides' own."""
        self.outcome.status, self._download.answered = head.status, True
        self._down.wire.write(format_response_head(head.status, guarded.reason, guarded.forward))
        up.wire.deadline = None
        sent, received = up.wire.sent, self._down.wire.sent
        try:
            await websocket.splice(self._down, up.reading)
        finally:
            self.outcome.up += up.wire.sent - sent
            self.outcome.down += self._down.wire.sent - received
        up.wire.close()
        self._up = None
        return False

    # -- ends --

    def _client_gone(self) -> None:
        self.outcome.end("client_gone", None)
        if self._up is not None:
            self._up.wire.cut()

    def cut(self, refusal: Refusal) -> None:
        """End this call now, because its task ended or the sidecar stops."""
        self.outcome.end("cut", refusal)
        if self._dialling is not None:
            self._dialling.cancel()
        if self._up is not None:
            self._up.wire.cut()
        self._down.wire.cut()

    def _blame(self, error: WireError) -> Refusal:
        """Whose fault an early end is; the refusal is for the agent, if it can still be told."""
        if self._upload.refusal is not None:
            self.outcome.end("refused", self._upload.refusal)
            return self._upload.refusal
        if error.wire is self._down.wire:
            # Late after the answer's head means: it does not take the answer.
            refusal, gone = upload_refusal(error), self.answered or isinstance(error, Gone | Cut)
            self.outcome.end("client_gone" if gone else "refused", None if gone else refusal)
            return refusal
        refusal = upstream_refusal(error)
        self.outcome.end("upstream_error", refusal)
        return refusal


async def relay(transfer: Transfer, call: Admitted, enforcer: Enforcer) -> bool | Refused:
    """Run ``transfer`` and record its outcome, whatever happens: keep the connection, or what to answer.

    Raises as ``Transfer.run``.
    """
    outcome = transfer.outcome
    try:
        result = await transfer.run()
        if not isinstance(result, Refusal):
            return result
        outcome.status = result.status
        return Refused(result, call.exchange.id, call.principal)
    except WireError:
        raise
    except Exception as error:
        if transfer.answered:
            outcome.result, outcome.refusal = "cut", Refusal(Code.INTERNAL, type(error).__name__)
            raise
        refusal = enforcer.failed(error, "relayed")
        outcome.result, outcome.refusal, outcome.status = "cut", refusal, refusal.status
        return Refused(refusal, call.exchange.id, call.principal)
    except BaseException as error:
        if outcome.result == "complete":
            outcome.result, outcome.refusal = "cut", Refusal(Code.INTERNAL, type(error).__name__)
        raise
    finally:
        enforcer.settle(call, outcome)
