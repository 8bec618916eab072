"""A refusal in the words of MCP: a JSON-RPC error (JSON-RPC 2.0, 5.1; MCP 2025-06-18, streamable HTTP).

``{"jsonrpc":"2.0","id":7,"error":{"code":-32030,"message":"gatepass: ...","data":{the problem}}}``

Decided: it comes with status 200. To clients of MCP an HTTP error is the end of the session, or a failure
without words; an error of JSON-RPC belongs to the one request, and they show its message. It goes only to
who asked in JSON-RPC and accepts what every client of MCP has to; all others are told by ``http.problem``.
"""

import orjson

from proxy.errors import Refusal
from proxy.http.message import Headers, RequestHead, tokens
from proxy.http.problem import problem
from proxy.policy import strict_json

REFUSED = -32030  # of those that JSON-RPC leaves to implementations, one that MCP gives no meaning
_ACCEPTED = (b"application/json", b"text/event-stream")


def asked(head: RequestHead, content: bytes | None) -> str | int | None:
    """The id of the one JSON-RPC request that ``content`` is; None if it is none or not from an MCP client.

    A batch and a notification have no answer of their own, and what cannot be read in one way has no id.
    """
    if head.method != "POST" or not content:
        return None
    accepted = [token.partition(b";")[0].rstrip() for token in tokens(head.headers, b"accept")]
    if not all(kind in accepted for kind in _ACCEPTED):
        return None
    message = strict_json.parse(content)
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or "method" not in message:
        return None
    known = message.get("id")
    return known if isinstance(known, str | int) and not isinstance(known, bool) else None


def rpc_error(refusal: Refusal, known: str | int, *, record_id: str) -> tuple[int, Headers, bytes]:
    """The status, the headers and the body that the request ``known`` is answered with."""
    _, headers, document = problem(refusal, record_id=record_id)
    told = orjson.loads(document)
    error = {"code": REFUSED, "message": told["error"], "data": told}
    body = orjson.dumps({"jsonrpc": "2.0", "id": known, "error": error})
    changed = {b"Content-Type": b"application/json", b"Content-Length": b"%d" % len(body)}
    return 200, tuple((name, changed.get(name, value)) for name, value in headers), body
