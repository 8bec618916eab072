"""In whose words a refusal is told: whatever the client shows its user of an answer has to say why.

Decided: a client of MCP is told in JSON-RPC (see ``policy.mcp_refusal``). The SDKs that Stainless makes,
those of OpenAI and Anthropic among them, show ``error.message`` and say by ``X-Stainless-Lang`` who they
are; npm shows ``error`` only where that is text. So everybody else gets text.
"""

from typing import NamedTuple

from proxy.http.message import RequestHead, values
from proxy.policy.mcp_refusal import asked


class Manner(NamedTuple):
    """``request`` is the id of the request of MCP, if it is one. ``nested``: ``error`` is an object."""

    request: str | int | None = None
    nested: bool = False


PLAIN = Manner()


def manner(head: RequestHead, content: bytes | None) -> Manner:
    """How the sender of a request is told; ``content`` as far as it was read whole."""
    return Manner(asked(head, content), bool(values(head.headers, b"x-stainless-lang")))
