"""Serves one call to the desk on its connection: reads a small body, asks, answers, records the end."""

import asyncio

from proxy.engine.body import BadFraming, Body, Truncated
from proxy.engine.enforce import Called, Enforcer, Refused
from proxy.engine.facts import Outcome
from proxy.engine.head import Reading, format_response_head
from proxy.engine.wire_error import Cut, Expired, WireError
from proxy.errors import Code, Refusal
from proxy.http.message import Length, NoBody
from proxy.ports import Answer, Ask, Desk

MAX_BODY = 16 * 1024  # octets
_REASONS = {200: b"OK", 201: b"Created"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_LARGE = Refusal(Code.DESK_REQUEST, f"the body is larger than {MAX_BODY} octets")
_BROKEN = Refusal(Code.MALFORMED, "the request body ended early or its chunks are malformed")
_SLOW = Refusal(Code.BODY_TIMEOUT, "the request body stopped arriving")
_STOPPED = Refusal(Code.DRAINING, "gatepass stopped before the desk had answered")


async def serve(reading: Reading, called: Called, desk: Desk, enforcer: Enforcer) -> bytes | Refused:
    """The octets that answer a call to the desk, or the refusal that does. Its outcome is recorded.

    Raises as ``Wire.read`` if the agent vanishes or is cut, once that is recorded.
    """
    try:
        answer = await _answer(reading, called, desk, enforcer)
    except Cut:
        enforcer.settle(called, _cut(called, enforcer))
        raise
    except WireError:
        enforcer.settle(called, Outcome("client_gone"))
        raise
    except Exception as error:  # noqa: BLE001 - fail closed: a failure of ours is a refusal, with an outcome
        answer = enforcer.failed(error, "answered")
    except asyncio.CancelledError:
        enforcer.settle(called, _cut(called, enforcer))
        raise
    if isinstance(answer, Refusal):
        enforcer.settle(called, Outcome("refused", answer, answer.status))
        return Refused(answer, called.exchange.id, called.principal)
    enforcer.settle(called, Outcome("complete", None, answer.status, down=len(answer.body)))
    return _format(called, answer)


def _cut(called: Called, enforcer: Enforcer) -> Outcome:
    return Outcome("cut", enforcer.over(called.principal) or _STOPPED)


async def _answer(reading: Reading, called: Called, desk: Desk, enforcer: Enforcer) -> Answer | Refusal:
    # Recording took time, and so does reading; whoever was not known yet when an order came was not cut.
    body = enforcer.over(called.principal) or await _body(reading, called)
    if isinstance(body, Refusal):
        return body
    refusal = enforcer.over(called.principal)
    if refusal is not None:
        return refusal
    called.heard = True
    target = called.errand.target
    ask = Ask(called.method, target.path.text, called.errand.parameters, body)
    return await desk.answer(called.principal, ask)


async def _body(reading: Reading, called: Called) -> bytes | Refusal:
    guarded = called.errand.guarded
    if isinstance(guarded.framing, NoBody):
        return b""
    if isinstance(guarded.framing, Length) and guarded.framing.octets > MAX_BODY:
        return _TOO_LARGE
    if guarded.expect_continue:
        reading.wire.write(_CONTINUE)
    body, read = Body(reading, guarded.framing), b""
    try:
        while not body.done and len(read) <= MAX_BODY:
            read += await body.read()
    except (Truncated, BadFraming):
        return _BROKEN
    except Expired:
        reading.wire.forgive()
        return _SLOW
    return read if len(read) <= MAX_BODY else _TOO_LARGE


def _format(called: Called, answer: Answer) -> bytes:
    keep = called.errand.guarded.keep_alive
    head = format_response_head(
        answer.status,
        _REASONS[answer.status],
        (
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(answer.body)),
            (b"Cache-Control", b"no-store"),
            (b"Connection", b"keep-alive" if keep else b"close"),
        ),
    )
    return head if called.method == "HEAD" else head + answer.body
