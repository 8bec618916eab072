"""The canned answers of the scripted upstream: one handler each, ``ROUTES`` says which path.

Handlers that take a factory argument (``raw``, ``redirect``) are for ``Upstream.on``.
"""

import asyncio
import json

from tests.support.call import Call, Handler
from tests.support.websocket import CLOSE, PING, PONG, Frame, accept_key, read_frame
from tests.support.wire import CRLF, Header, response

BLOCK = bytes(range(256)) * 256  # 64 KiB; `/bytes` repeats it
JSON: Header = (b"Content-Type", b"application/json")


def pattern(size: int) -> bytes:
    """The body ``/bytes?n=size`` and ``/chunked?n=size`` answer with."""
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


async def echo(call: Call) -> None:
    """Say what was received, as JSON; asks for the body where the client expects it to."""
    if (call.received.head.get("expect") or b"").lower() == b"100-continue":
        await call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await call.take()
    got = call.received
    told = {
        "method": got.method,
        "target": got.target,
        "version": got.version,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in got.headers],
        "length": got.length,
        "sha256": got.sha256,
        "trailers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in got.trailers],
    }
    await call.send(shown(call, 200, json.dumps(told).encode(), JSON))


def shown(call: Call, status: int, body: bytes, *headers: Header) -> bytes:
    """A response, without its body where the request was HEAD."""
    return response(status, b"" if call.received.method == "HEAD" else body, *headers, length=len(body))


async def octets(call: Call) -> None:
    """``/bytes?n=``: so many octets, streamed; one GiB costs no memory."""
    await call.take()
    left = int(call.received.query("n", "0"))
    await call.send(response(200, length=left))
    while left and call.received.method != "HEAD":
        await call.send(BLOCK[:left])
        left -= min(left, len(BLOCK))


async def chunked(call: Call) -> None:
    """``/chunked?n=&size=``: the same octets in chunks of ``size``."""
    await call.take()
    left, size = int(call.received.query("n", "0")), int(call.received.query("size", "1000"))
    body = pattern(left)
    await call.send(b"HTTP/1.1 200 Scripted\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in range(0, left, size):
        piece = body[start : start + size]
        await call.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    await call.send(b"0\r\n\r\n")


async def trailers(call: Call) -> None:
    """A chunked answer with two trailers."""
    await call.take()
    head = b"HTTP/1.1 200 Scripted\r\nTransfer-Encoding: chunked\r\nTrailer: X-Digest, X-Count\r\n\r\n"
    await call.send(head + b"5\r\nhello\r\n0\r\nX-Digest: abc\r\nX-Count: 5\r\n\r\n")


async def sse(call: Call) -> None:
    """One event at once, the second when the test sets ``release``, then the end."""
    await call.take()
    head = b"HTTP/1.1 200 Scripted\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    await call.send(head + b"d\r\ndata: first\n\n\r\n")
    await call.release.wait()
    await call.send(b"e\r\ndata: second\n\n\r\n0\r\n\r\n")


async def early_hints(call: Call) -> None:
    """103, then 200 (RFC 8297)."""
    await call.take()
    await call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
    await call.send(shown(call, 200, b"hinted"))


async def status(call: Call) -> None:
    """``/status?code=``: that status, ``ETag`` set, and a short body where one is allowed."""
    await call.take()
    code = int(call.received.query("code", "200"))
    body = b"" if code in {204, 304} else b"status"
    await call.send(shown(call, code, body, (b"ETag", b'"one"')))


async def until_close(call: Call) -> None:
    """A body that ends with the connection."""
    await call.take()
    await call.send(b"HTTP/1.1 200 Scripted\r\n\r\nuntil close")
    call.close = True


async def early(call: Call) -> None:
    """413 before the upload has been read; the rest is read once the test sets ``release``."""
    await call.send(response(413, b"too much", (b"Connection", b"close")))
    await call.release.wait()
    await call.take()
    call.close = True


async def slow(call: Call) -> None:
    """Nothing at all until the test sets ``release``."""
    await call.take()
    await call.release.wait()
    await call.send(shown(call, 200, b"at last"))


async def vanish(call: Call) -> None:
    """Close without an answer."""
    await call.take()
    call.close = True


async def abort(call: Call) -> None:
    """A TCP reset in place of an answer."""
    await call.take()
    call.abort()


async def websocket(call: Call) -> None:
    """Accept the upgrade, echo every frame as it came (flags too), answer pings, mirror the close."""
    key = call.received.head.get("sec-websocket-key") or b""
    head = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept_key(key),
    ]
    await call.send(CRLF.join(head) + CRLF + CRLF)
    call.close = True
    while frame := await read_frame(call.received.connection):
        opcode = PONG if frame.opcode == PING else frame.opcode
        await call.send(Frame(opcode, frame.payload, fin=frame.fin, rsv1=frame.rsv1).encode())
        if frame.opcode == CLOSE:
            return


def raw(script: bytes, *, close: bool = True) -> Handler:
    """Send exactly these octets, whatever they are."""

    async def handler(call: Call) -> None:
        await call.take()
        await call.send(script)
        call.close = close

    return handler


def paced(*pieces: bytes, gate: asyncio.Event) -> Handler:
    """Send the first piece, then wait for ``gate`` before the others; the connection closes at the end."""

    async def handler(call: Call) -> None:
        await call.take()
        await call.send(pieces[0])
        await gate.wait()
        await call.send(b"".join(pieces[1:]))
        call.close = True

    return handler


def redirect(location: str, code: int = 302) -> Handler:
    """Answer with ``Location``."""

    async def handler(call: Call) -> None:
        await call.take()
        await call.send(shown(call, code, b"moved", (b"Location", location.encode())))

    return handler


ROUTES: dict[str, Handler] = {
    "/bytes": octets,
    "/chunked": chunked,
    "/trailers": trailers,
    "/sse": sse,
    "/early-hints": early_hints,
    "/status": status,
    "/until-close": until_close,
    "/early": early,
    "/slow": slow,
    "/vanish": vanish,
    "/abort": abort,
    "/websocket": websocket,
}
