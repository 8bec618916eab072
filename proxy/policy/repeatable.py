"""The digest of a content as it is approved: of its octets, or of an MCP request without its number.

JSON-RPC (2.0, 4) makes clients number their requests, and MCP's progress tokens are numbers of requests, too.
So the very same call of a tool has other octets when it is sent again after somebody has approved it. What is
digested of one request is therefore its canonical JSON with 0 for both. A batch and a response are taken as
they are; so is the header with the session, because what a call does may depend on it.
"""

from hashlib import sha256

from proxy.errors import Refusal
from proxy.policy import strict_json
from proxy.policy.catalogue import Service
from proxy.policy.document import canonical
from proxy.policy.fact import Protocol

_TOKEN = "progressToken"  # noqa: S105 - of progress


def content_sha256(service: Service | None, path: str, content: bytes) -> str:
    """The digest in hex of what is sent to ``service`` at a canonical path; equal for what does the same."""
    mcp = service is not None and service.protocol_at(path) is Protocol.MCP
    return sha256(_unnumbered(content) if mcp else content).hexdigest()


def _unnumbered(content: bytes) -> bytes:
    message = strict_json.parse(content) if content else None
    if isinstance(message, Refusal) or not isinstance(message, dict) or "method" not in message:
        return content
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    for holder, name in ((message, "id"), (meta, _TOKEN)):
        if isinstance(holder, dict) and name in holder:
            holder[name] = 0
    return canonical(message)
