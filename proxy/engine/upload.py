"""The way of one request's body upstream: streamed, scanned for placeholders, cut on any fault.

The body goes up while its answer may already come down, so it runs as a task of its own; a body that
has arrived with its head needs none.
"""

import asyncio

from proxy.credential.placeholder import PREFIX, Found, StreamScanner, find
from proxy.engine.body import CHUNKS, PLAIN, BadFraming, Body, Writer
from proxy.engine.dial import Upstream
from proxy.engine.head import Reading
from proxy.engine.intake import BODY_PLACEHOLDER
from proxy.engine.wire_error import Cut, Expired, Gone, WireError
from proxy.errors import Code, Refusal
from proxy.http.guard import guard_trailers
from proxy.http.message import Chunked, Framing, Headers, NoBody
from proxy.policy.obligation import NO_OBLIGATIONS, Obligations, apply_headers


class Upload:
    """See the module. ``refusal`` says why it stopped, if that was the agent's doing."""

    __slots__ = (
        "_body", "_content", "_down", "_duties", "_idle", "_patience", "_scanner", "_task", "_trailers",
        "_writer", "refusal", "sent",
    )  # fmt: skip

    def __init__(
        self,
        down: Reading,
        framing: Framing,
        *,
        idle: float,
        patience: float,
        content: bytes | None = None,
        trailers: Headers = (),
        duties: Obligations = NO_OBLIGATIONS,
    ) -> None:
        """``idle``, ``patience``: seconds the agent may pause, and the API after the last octet.

        ``content`` with its ``trailers`` is sent instead, if it was read whole to decide on the call. What
        ``duties`` take from the headers they take from trailers.
        """
        self._duties = duties
        self._content = content
        self._trailers = trailers
        self.refusal: Refusal | None = None
        self.sent = 0
        self._down = down
        self._idle = idle
        self._patience = patience
        self._body = Body(down, framing)
        self._scanner = StreamScanner()
        self._writer: Writer = CHUNKS if isinstance(framing, Chunked) else PLAIN
        self._task: asyncio.Task[None] | None = None

    @property
    def empty(self) -> bool:
        """True if the request has no body at all."""
        return isinstance(self._body.framing, NoBody)

    @property
    def done(self) -> bool:
        """True once the whole body has been taken and passed on."""
        return (self._content is not None or self._body.done) and (self._task is None or self._task.done())

    def first(self) -> bytes:
        """What of the body has arrived with the head, framed for the API.

        :raises BadFraming: it is malformed, or holds a placeholder.
        """
        if self._content is not None:  # it was searched for placeholders when it was read
            self.sent += len(self._content)
            piece = self._writer.piece(self._content) if self._content else b""
            return piece + self._last(self._trailers)
        return self._framed(self._body.ready())

    def start(self, up: Upstream) -> None:
        """Send the rest as it arrives. A fault cuts the upstream, which wakes whoever awaits its answer."""
        if self._content is None and not self._body.done:
            self._task = asyncio.get_running_loop().create_task(self._run(up))

    async def stop(self) -> None:
        """Stop sending; what has not been taken stays unread."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, up: Upstream) -> None:
        loop, down = asyncio.get_running_loop(), self._down.wire
        try:
            while not self._body.done:
                down.deadline = loop.time() + self._idle
                framed = self._framed(await self._body.read())
                if framed:
                    up.wire.write(framed)
                    up.wire.deadline = loop.time() + self._patience
                    if not up.wire.writable:
                        await up.wire.drain()
            down.deadline = None
        except WireError as error:
            if error.wire is down:
                if not isinstance(error, Gone | Cut):
                    self.refusal = self.refusal or upload_refusal(error)
                up.wire.cut()
        except Exception as error:  # noqa: BLE001 - fail closed: a bug of ours ends the call, it does not hang it
            self.refusal = Refusal(Code.INTERNAL, f"{type(error).__name__} while the request body was sent")
            up.wire.cut()

    def _framed(self, piece: bytes) -> bytes:
        """What of ``piece`` may leave, framed; a placeholder never travels upstream."""
        last = self._body.done
        safe = self._scanner.feed(piece) if piece else b""
        if isinstance(safe, Found):
            self.refusal = BODY_PLACEHOLDER
            raise BadFraming(self._down.wire)
        if last:
            safe += self._scanner.finish()
        self.sent += len(safe)
        framed = self._writer.piece(safe) if safe else b""
        return framed + self._last(self._body.trailers) if last else framed

    def _last(self, came: Headers) -> bytes:
        """The end of the body with those trailers that may travel; a placeholder in one ends the call."""
        trailers = apply_headers(self._duties, permitted(came))
        if any(PREFIX in part and find(part) for trailer in trailers for part in trailer):
            self.refusal = BODY_PLACEHOLDER
            raise BadFraming(self._down.wire)
        return self._writer.last(trailers)


def permitted(trailers: Headers) -> Headers:
    """What of a trailer section may travel on; of a malformed one, nothing."""
    if not trailers:
        return ()
    guarded = guard_trailers(trailers)
    return () if isinstance(guarded, Refusal) else guarded[0]


def upload_refusal(error: WireError) -> Refusal:
    """What an agent is told whose body did not arrive well."""
    if isinstance(error, Expired):
        return Refusal(Code.BODY_TIMEOUT, "the request body stopped arriving")
    return Refusal(Code.MALFORMED, "the request body ended early or its chunks are malformed")
