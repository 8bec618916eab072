"""HTTP/1.1 for the control API on aiohttp: bounded in number, size and time, and silent about itself.

A connection too many takes the place of the oldest that serves no operator, instead of being turned away:
whoever fills all places must not keep an operator from revoking it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.control.body import MAX_OCTETS
from proxy.control.problem import Reply, Why, problem
from proxy.identity.jws import MAX_TOKEN

_LINGER_S = 1.0
_GRACE_S = 2.0
_MAX_LINE = 16_384  # an id of 2048 octets, percent-encoded, and more

Handler = Callable[[web.BaseRequest], Awaitable[Reply]]


class Bounds(NamedTuple):
    """What clients may take; a head that does not end is idle. Times are seconds."""

    connections: int = 128
    idle: float = 15.0
    body: float = 10.0


class Connections(web.Server):
    """Every connection of the control API."""

    def __init__(self, handler: Handler, bounds: Bounds) -> None:
        async def respond(request: web.BaseRequest) -> web.StreamResponse:
            return response(await handler(request))

        super().__init__(respond)
        self._bounds = bounds
        self._trusted: set[web.RequestHandler] = set()

    def __call__(self) -> web.RequestHandler:
        """A new connection; the oldest makes room if there are too many."""
        present = [one for one in self.connections if one.transport is not None]
        if len(present) >= self._bounds.connections:
            oldest = next((one for one in present if one not in self._trusted), None)
            if oldest is not None:
                oldest.force_close()
        return _Connection(
            self,
            loop=self._loop,
            keepalive_timeout=self._bounds.idle,
            max_line_size=_MAX_LINE,
            max_field_size=MAX_TOKEN + 64,
            lingering_time=_LINGER_S,
            auto_decompress=False,
        )

    @contextmanager
    def trusted(self, request: web.BaseRequest) -> Iterator[None]:
        """While this lasts, the connection of the request makes room for no other."""
        connection = request.protocol
        self._trusted.add(connection)
        try:
            yield
        finally:
            self._trusted.discard(connection)

    async def end(self) -> None:
        """Let calls under way come to their end for a moment, then close."""
        self.pre_shutdown()
        await self.shutdown(_GRACE_S)


class _Connection(web.RequestHandler):
    """One connection. What is not HTTP gets a problem too, and nothing is said about why."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - the signature is aiohttp's
        status: int = 500,  # noqa: ARG002 - the signature is aiohttp's
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the signature is aiohttp's
    ) -> web.StreamResponse:
        """The answer where the handler has none: the request is malformed, or the handler failed."""
        if isinstance(exc, HttpProcessingError):
            answer = response(problem(Why.BAD_REQUEST, "not well-formed HTTP/1.1, or too large"))
        else:
            self._loop.call_exception_handler({"message": "the control API failed", "exception": exc})
            answer = response(problem(Why.INTERNAL, "the request was not served"))
        answer.force_close()
        return answer


def response(reply: Reply) -> web.Response:
    """The answer as aiohttp sends it."""
    answer = web.Response(status=reply.status, body=reply.body, content_type=reply.media_type)
    answer.headers["Server"] = "gatepass"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    for name, value in reply.headers:
        answer.headers[name] = value
    return answer


async def body_of(request: web.BaseRequest, seconds: float) -> bytes | Reply:
    """The whole body, as JSON if there is any; it has to arrive within ``seconds``."""
    if (request.content_length or 0) > MAX_OCTETS:
        return problem(Why.BODY_TOO_LARGE, f"send {MAX_OCTETS} octets at most")
    try:
        async with asyncio.timeout(seconds):
            body = await _read(request)
    except TimeoutError:
        return problem(Why.BODY_TIMEOUT, f"send it within {seconds:g} s")
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError):
        return problem(Why.BAD_REQUEST, "the body is not well-formed HTTP/1.1")
    if len(body) > MAX_OCTETS:
        return problem(Why.BODY_TOO_LARGE, f"send {MAX_OCTETS} octets at most")
    if body and not _is_json(request):
        return problem(Why.NOT_JSON, "send Content-Type: application/json, and no Content-Encoding")
    return body


async def _read(request: web.BaseRequest) -> bytes:
    """The body, or a little more than is allowed of it."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_OCTETS:
            break
    return bytes(body)


def _is_json(request: web.BaseRequest) -> bool:
    types = request.headers.getall("Content-Type", [])
    media_type, _, parameters = types[0].partition(";") if len(types) == 1 else ("", "", "")
    plain = parameters.strip().lower() in {"", "charset=utf-8", 'charset="utf-8"'}
    return (
        media_type.strip().lower() == "application/json"
        and plain
        and "Content-Encoding" not in request.headers
    )
