"""A request's content while it is decided: read only if rules need it, whole, within a limit (RFC 9110, 6.4).

What rules do not need is never touched here; it streams up later, as it arrives. What was read is kept,
octet for octet, so that what was judged is what is sent. A placeholder in it ends the call.
"""

import asyncio

from proxy.credential.placeholder import PREFIX, find
from proxy.engine.body import BadFraming, Body, Truncated
from proxy.engine.head import Reading
from proxy.engine.room import Room
from proxy.engine.wire_error import Cut, Expired, WireError
from proxy.errors import Code, Refusal
from proxy.http.guard import Guarded
from proxy.http.message import Headers, Length, NoBody

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
_BROKEN = Refusal(Code.MALFORMED, "the request body ended early or its chunks are malformed")
_SLOW = Refusal(Code.BODY_TIMEOUT, "the request body stopped arriving")
_STOPPED = Refusal(Code.DRAINING, "gatepass stopped before the call was decided")
_CROWDED = Refusal(
    Code.TUNNELS_EXCEEDED, "too much content of this agent is being read at once; let some calls end", None, 1
)
BODY_PLACEHOLDER = Refusal(
    Code.PLACEHOLDER_SURFACE,
    "there is a placeholder in the request body, which no service declares as its place",
)


class Intake:
    """The agent's side of one call, as far as deciding needs it. ``idle``: seconds the agent may pause.

    ``content`` is the whole content once it has been read, else None; ``trailers`` came behind it. ``agent``
    is whose it is, once that is known; ``interim`` is false for HTTP/1.0, which knows no 1xx. Set
    ``stopping`` when the sidecar stops: then nothing waits for a person any more. Call ``release`` when the
    call is over.
    """

    __slots__ = ("_held", "_idle", "_reading", "_room", "agent", "content", "interim", "stopping", "trailers")

    def __init__(self, reading: Reading, idle: float, room: Room) -> None:
        self.content: bytes | None = None
        self.trailers: Headers = ()
        self.agent = ""
        self.interim = True
        self.stopping = False
        self._reading = reading
        self._idle = idle
        self._room = room
        self._held = 0

    @property
    def arrived(self) -> bytes:
        """The octets that came with the head: of the content, or of the next request."""
        return self._reading.rest

    @property
    def gone(self) -> bool:
        """Whether nobody waits for an answer any more, as far as can be told.

        Who has ended its own direction has mostly left: closing a socket looks the same from here.
        """
        return self.stopping or self._reading.wire.gone or self._reading.wire.eof

    def processing(self) -> None:
        """Tell a client that asked for it that the call is still being decided (RFC 2518, 10.1)."""
        if self.interim:
            self._reading.wire.write(_PROCESSING)

    async def read(self, guarded: Guarded, limit: int) -> bytes | Refusal:
        """The whole content, if it has at most ``limit`` octets; it is read once."""
        if self.content is not None:
            return self.content
        if isinstance(guarded.framing, NoBody):
            self.content = b""
            return b""
        if isinstance(guarded.framing, Length) and guarded.framing.octets > limit:
            return _too_large(limit)
        if guarded.expect_continue and not self._reading.rest:
            self._reading.wire.write(_CONTINUE)
        body = Body(self._reading, guarded.framing)
        try:
            content = await self._whole(body, limit)
        except (Truncated, BadFraming):
            return _BROKEN
        except Expired:
            self._reading.wire.forgive()
            return _SLOW
        except Cut:
            return _STOPPED
        except WireError:
            return _BROKEN
        if isinstance(content, Refusal):
            return content
        self.content, self.trailers = content, body.trailers
        return BODY_PLACEHOLDER if PREFIX in content and find(content) else content

    def release(self) -> None:
        """Hold nothing any more."""
        self._room.give_back(self.agent, self._held)
        self._held, self.content = 0, None

    async def _whole(self, body: Body, limit: int) -> bytes | Refusal:
        wire, loop = self._reading.wire, asyncio.get_running_loop()
        pieces, octets = [body.ready()], 0
        while True:
            octets += len(pieces[-1])
            if octets > limit:
                return _too_large(limit)
            if not self._room.take(self.agent, len(pieces[-1])):
                return _CROWDED
            self._held = octets
            if body.done:
                wire.deadline = None
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            wire.deadline = loop.time() + self._idle
            pieces.append(await body.read())


def _too_large(limit: int) -> Refusal:
    return Refusal(Code.BODY_TOO_LARGE, f"rules read this content, and at most {limit} octets of it")
