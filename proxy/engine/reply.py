"""Answers of our own: a refusal becomes a problem or a JSON-RPC error, and nothing of it is lost."""

from collections.abc import Callable

from proxy.engine.enforce import Refused
from proxy.engine.head import format_response_head
from proxy.engine.manner import PLAIN, Manner
from proxy.engine.wire import Wire
from proxy.engine.wire_error import WireError
from proxy.http.message import RequestHead, tokens
from proxy.http.problem import problem, reason_phrase
from proxy.policy.mcp_refusal import rpc_error

_BODY = frozenset({b"content-length", b"transfer-encoding"})
_LINGER_OCTETS = 1_048_576
_LINGER_SECONDS = 2.0
_REASON = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    421: b"Misdirected Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    508: b"Loop Detected",
}


def refusal(refused: Refused, *, method: str, keep: bool, manner: Manner = PLAIN) -> bytes:
    """The octets that answer a refused call. At CONNECT the reason goes into the reason phrase too."""
    record_id = refused.record_id
    if manner.request is None:
        status, headers, body = problem(refused.refusal, record_id=record_id, nested=manner.nested)
    else:
        status, headers, body = rpc_error(refused.refusal, manner.request, record_id=record_id)
    reason = _REASON[status]
    if method == "CONNECT":
        reason = reason_phrase(refused.refusal, record_id).encode("ascii")
    connection = (b"Connection", b"keep-alive" if keep else b"close")
    head = format_response_head(status, reason, (*headers, connection))
    return head if method == "HEAD" else head + body


async def linger(wire: Wire, now: Callable[[], float]) -> None:
    """Half-close, then let the peer read our answer before the socket goes.

    Closing with unread octets in the receive buffer would reset the connection and destroy the answer
    on its way (RFC 9112, 9.6).
    """
    wire.forgive()
    wire.end()
    wire.deadline = now() + _LINGER_SECONDS
    start = wire.received
    try:
        while wire.received - start < _LINGER_OCTETS and await wire.read():
            pass
    except WireError:
        pass  # gone, or too slow: the answer had its chance
    wire.deadline = None
    wire.close()


def can_continue(head: RequestHead, *, whole: bool = False) -> bool:
    """After a refusal the connection goes on only if the agent wants it to and no body is in the way.

    ``whole``: the body was read to its end.
    """
    names = {name.lower() for name, _ in head.headers}
    if b"upgrade" in names or (names & _BODY and not whole):
        return False
    if b"close" in tokens(head.headers, b"connection"):
        return False
    return head.version == "1.1" or head.method == "CONNECT"
