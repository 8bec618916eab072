"""One connection, either side, plain, under TLS or under TLS in TLS: bytes in, bytes out, with back-pressure.

A ``Wire`` reads ahead at most ``HIGH_WATER`` octets and then stops reading the socket. Time-outs are
deadlines that one ``Deadlines`` sweep checks, so that waiting costs no timer.
"""

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from proxy.engine.deadlines import Deadlines
from proxy.engine.tls import Broken, Tls
from proxy.engine.tls_nested import Nested
from proxy.engine.wire_error import Cut, Expired, Gone, WireError

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024
FAREWELL = 30.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, zero seconds


class Wire(asyncio.Protocol):
    """See the module. ``on_gone`` is called once when the peer vanishes, also while nobody reads."""

    def __init__(self, deadlines: Deadlines, accepted: "Callable[[Wire], None] | None" = None) -> None:
        self.deadline: float | None = None
        self.peer = ""
        self.on_gone: Callable[[], None] | None = None
        self.received = self.sent = 0
        self._deadlines = deadlines
        self._accepted = accepted
        self._transport = cast("asyncio.Transport", None)
        self._inbox: deque[bytes] = deque()
        self._size = 0
        self._reading = True
        self.eof = False  # the peer has said that it sends nothing more
        self._error: type[WireError] | None = None
        self._reader: asyncio.Future[None] | None = None
        self.writable = True  # False while the peer takes less than we queue
        self._writer: asyncio.Future[None] | None = None
        self._tls: Tls | None = None
        self._closed = self._ended = False  # ended: we send nothing more, and loops raise on a later write

    # -- what the event loop calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``, as the five below."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER, low=LOW_WATER)
        self._deadlines.wires.add(self)
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if address else "unix"
        if self._accepted is not None:
            self._accepted(self)

    def data_received(self, data: bytes) -> None:  # noqa: D102 - the base class says it
        self.received += len(data)
        if self._tls is None:
            self._push(data)
            return
        self._tls.feed(data)
        if self._tls.handshaking:
            _wake(self._reader)
        else:
            self._decrypt(self._tls)

    def eof_received(self) -> bool:  # noqa: D102 - the base class says it
        if self._tls is None:
            self.eof = True
        else:
            self._tls.feed_end()
            if not self._tls.handshaking:
                self._decrypt(self._tls)
        _wake(self._reader)
        return True  # half-open: the other direction goes on until we close it

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002, D102 - the base class's
        self._deadlines.wires.discard(self)
        self._closed = True
        self.fail(Gone)
        self._tell_gone()

    def pause_writing(self) -> None:  # noqa: D102 - the base class says it
        self.writable = False

    def resume_writing(self) -> None:  # noqa: D102 - the base class says it
        self.writable = True
        _wake(self._writer)

    # -- reading --

    @property
    def idle(self) -> bool:
        """True while the peer has neither sent nor ended anything that was not read yet."""
        return not (self._inbox or self.eof or self._error or self._closed)

    async def read(self) -> bytes:
        """The next octets, in whatever pieces they came; ``b""`` at the end of the peer's direction.

        :raises Gone: the peer vanished. :raises Expired: the deadline passed. :raises Cut: see ``cut``.
        """
        while True:
            if self._inbox:
                data = self._inbox.popleft()
                self._size -= len(data)
                self._resume()
                return data
            if self.eof:
                return b""
            if self._error is not None:
                raise self._error(self)
            await self._wait_readable()

    async def _wait_readable(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _push(self, data: bytes) -> None:
        self._inbox.append(data)
        self._size += len(data)
        if self._reading and self._size > HIGH_WATER:
            self._reading = False
            self._transport.pause_reading()
        _wake(self._reader)

    def _resume(self) -> None:
        if not self._reading and self._size < LOW_WATER:
            self._reading = True
            self._transport.resume_reading()

    # -- writing --

    def write(self, data: bytes) -> None:
        """Queue octets; ``drain`` before queueing much more. After our direction's end they are dropped."""
        if self._ended or self.closed:
            return
        self.sent += len(data)
        try:
            self._transport.write(data if self._tls is None else self._tls.encrypt(data))
        except ssl.SSLError:
            self.abort()

    async def drain(self) -> None:
        """Wait until the peer has taken enough. Raises as ``read`` does."""
        while not self.writable:
            if self._error is not None:
                raise self._error(self)
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await self._writer
            finally:
                self._writer = None
        if self._closed and self._error is not None:
            raise self._error(self)

    # -- ending --

    def fail(self, error: type[WireError]) -> None:
        """Make every present and later wait on this wire raise ``error``; the first one stays."""
        if error is Expired and self._transport.is_closing():
            self.abort()  # it was to close once the peer has taken what is queued, and the peer does not
        self._error = self._error or error
        _wake(self._reader)
        _wake(self._writer)

    def forgive(self) -> None:
        """Forget an ``Expired``, so that a last answer can be written and the connection lingered on."""
        if self._error is Expired:
            self._error = None

    def end(self) -> None:
        """Half-close: say that we send nothing more (TLS close_notify, then FIN)."""
        if self._ended or self.closed:
            return
        if self._tls is not None:
            self._send(self._tls.goodbye())
        self._ended = True
        with suppress(OSError):  # the peer has reset the connection, and the loop is about to say so
            self._transport.write_eof()

    def close(self) -> None:
        """Close after what is queued has left, or after ``FAREWELL`` seconds."""
        if self._closed:
            return
        self.deadline = self._deadlines.now() + FAREWELL
        if self._tls is not None:
            self._send(self._tls.goodbye())
        self.on_gone = None
        self._transport.close()

    def abort(self) -> None:
        """Close now, with a reset: an orderly end would complete a message that only closing delimits."""
        self.on_gone = None
        if self._closed:
            return
        if not self._transport.is_closing():  # else the descriptor may be another connection's by now
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def cut(self) -> None:
        """Abort, and make whoever uses this wire see ``Cut``."""
        self.fail(Cut)
        self.abort()

    @property
    def socket(self) -> socket.socket:
        """The socket below, for options alone; not once the wire is closing."""
        return cast("socket.socket", self._transport.get_extra_info("socket"))

    @property
    def closed(self) -> bool:
        """True once nothing can be written any more."""
        return self._closed or self._transport.is_closing()

    @property
    def gone(self) -> bool:
        """True once the peer has vanished or was cut off: nobody hears an answer any more."""
        return self._error is not None or self.closed

    # -- TLS --

    async def secure(
        self, context: ssl.SSLContext, *, first: bytes = b"", server_name: str | None = None
    ) -> None:
        """Run the TLS handshake: as server, or, with ``server_name``, as client. ``first`` was read already.

        On a wire that is under TLS it runs inside that. One that failed is the end of our direction.

        :raises ssl.SSLError: it failed. :raises Gone: the peer left in the middle. :raises Expired: too slow.
        """
        under, first = self._tls, first + b"".join(self._inbox)
        given = context, first, server_name
        tls = Tls(*given) if under is None else Nested(under, *given)
        self._inbox.clear()
        self._size = 0
        self._resume()
        if self.eof:
            self.eof = False
            tls.feed_end()
        self._tls = tls
        try:
            while not tls.advance():
                self._send(tls.output())
                if self._error is not None:
                    raise self._error(self)
                await self._wait_readable()
        except ssl.SSLEOFError:
            raise Gone(self) from None
        except ssl.SSLError:
            self._send(tls.output())  # the alert that tells the peer why
            self._tls = under  # what still comes is no TLS to us, and nobody reads it
            self.end()
            raise
        finally:
            self._send(tls.output())  # the last flight
        self._decrypt(tls)

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS state, for facts such as version and peer certificate."""
        return self._tls.session if self._tls is not None else None

    def _send(self, data: bytes) -> None:
        if data and not self._ended and not self._transport.is_closing():
            self._transport.write(data)

    def _decrypt(self, tls: Tls) -> None:
        """Move the plain text of every complete record to the inbox."""
        try:
            data = tls.decrypt()
        except Broken as broken:
            if broken.data:
                self._push(broken.data)
            self._send(tls.output())
            self.fail(Gone)
            self._tell_gone()
            return
        self._send(tls.output())
        self.eof = self.eof or tls.ended
        if data:
            self._push(data)
        _wake(self._reader)

    def _tell_gone(self) -> None:
        if (gone := self.on_gone) is not None:
            self.on_gone = None
            gone()


def _wake(waiting: "asyncio.Future[None] | None") -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
