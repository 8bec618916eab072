"""The way of one answer down to the agent, streamed and with back-pressure (RFC 9112)."""

import asyncio
from collections.abc import Awaitable

from proxy.engine.answering import Answering, Withheld, reshaped, resized
from proxy.engine.body import Body, Writer
from proxy.engine.dial import Upstream
from proxy.engine.enforce import Admitted
from proxy.engine.facts import Outcome
from proxy.engine.head import Reading, format_response_head
from proxy.engine.response import Patience, reframed
from proxy.engine.upload import permitted
from proxy.engine.wire_error import Cut
from proxy.errors import Refusal
from proxy.http.answer import GuardedResponse
from proxy.http.message import Headers, ResponseHead


class Download:
    """See the module. ``answered``: the head of the final answer has left."""

    __slots__ = ("_call", "_down", "_loop", "_outcome", "_patience", "answered")

    def __init__(self, down: Reading, call: Admitted, patience: Patience, outcome: Outcome) -> None:
        """``outcome`` is told if the answer is withheld after it began."""
        self.answered = False
        self._down = down
        self._call = call
        self._patience = patience
        self._outcome = outcome
        self._loop = asyncio.get_running_loop()

    def answer(self, up: Upstream, head: ResponseHead, guarded: GuardedResponse) -> Awaitable[bool | Refusal]:
        """Relay the final answer; whether the agent's connection may go on, or what it is told instead."""
        body, watched = Body(up.reading, guarded.framing), self._call.answering
        if watched is None:
            return self._relay(up, head, guarded, body, None)
        return self._watched(up, head, guarded, body, watched)

    async def _watched(
        self, up: Upstream, head: ResponseHead, guarded: GuardedResponse, body: Body, watched: Answering
    ) -> bool | Refusal:
        refusal = watched.begin(head.status, guarded)
        if refusal is not None:
            return refusal
        try:
            if watched.collects:
                return await self._collected(up, head, guarded, body, watched)
            shape = reshaped(guarded) if watched.rewrites else guarded
            return await self._relay(up, head, shape, body, watched)
        except Withheld as error:
            if not self.answered:
                return error.refusal
            self._outcome.end("refused", error.refusal)
            raise Cut(self._down.wire) from None

    async def _relay(
        self,
        up: Upstream,
        head: ResponseHead,
        guarded: GuardedResponse,
        body: Body,
        watched: Answering | None,
    ) -> bool:
        headers, writer, keep = self._framed(guarded)
        first = body.ready()
        self._outcome.down += len(first)
        if watched is not None and first:
            first = watched.piece(first)
        out = self._head(head.status, guarded.reason, headers)
        if first:
            out += writer.piece(first)
        if body.done:
            out += self._last(body, writer, watched)
        self.answered = True
        self._down.wire.write(out)
        if not body.done:
            await self._stream(up, body, writer, watched)
        elif not self._down.wire.writable:
            await self._drain()
        return keep

    async def _stream(self, up: Upstream, body: Body, writer: Writer, watched: Answering | None) -> None:
        down, loop, idle = self._down.wire, self._loop, self._patience.upstream_idle
        while not body.done:
            up.wire.deadline = loop.time() + idle
            piece = await body.read()
            if piece:
                self._outcome.down += len(piece)
                if watched is not None:
                    piece = watched.piece(piece)
                if piece:
                    down.write(writer.piece(piece))
            if not down.writable:
                await self._drain()
        last = self._last(body, writer, watched)
        if last:
            down.write(last)

    async def _collected(
        self, up: Upstream, head: ResponseHead, guarded: GuardedResponse, body: Body, watched: Answering
    ) -> bool | Refusal:
        """Relay an answer that has to be read to its end before any of it may go."""
        pieces = [watched.piece(body.ready())]
        while not body.done:
            up.wire.deadline = self._loop.time() + self._patience.upstream_idle
            pieces.append(watched.piece(await body.read()))
        content = b"".join(pieces)
        self._outcome.down += len(content)
        shown = watched.whole(content)
        if isinstance(shown, Refusal):
            return shown
        sized = resized(guarded, len(shown))
        headers, _, keep = self._framed(sized)
        self.answered = True
        self._down.wire.write(self._head(head.status, guarded.reason, headers) + shown)
        if not self._down.wire.writable:
            await self._drain()
        return keep

    def _framed(self, guarded: GuardedResponse) -> tuple[Headers, Writer, bool]:
        headers, writer, delimited = reframed(guarded, self._call.version)
        keep = delimited and self._call.guarded.keep_alive
        if not keep:
            headers = (*headers, (b"Connection", b"close"))
        elif self._call.version == "1.0":
            headers = (*headers, (b"Connection", b"keep-alive"))
        return headers, writer, keep

    def _head(self, status: int, reason: bytes, headers: Headers) -> bytes:
        self._outcome.status = status
        out = format_response_head(status, reason, headers)
        self._outcome.down += len(out)
        return out

    def _last(self, body: Body, writer: Writer, watched: Answering | None) -> bytes:
        held = watched.last() if watched is not None else b""
        end = writer.last(permitted(body.trailers))
        return writer.piece(held) + end if held else end

    async def _drain(self) -> None:
        self._down.wire.deadline = self._loop.time() + self._patience.downstream_idle
        await self._down.wire.drain()
        self._down.wire.deadline = None
