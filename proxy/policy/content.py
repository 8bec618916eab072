"""One call as a classifier sees it, and what it makes of it: acts, each an operation and its facts.

A call that does several things (a JSON-RPC batch, a GraphQL document) has several acts, and is allowed
only if every one of them is. Nothing here is a guess: what cannot be read in exactly one way is a
``Refusal`` (AMBIGUOUS_INPUT, CONTENT_UNSUPPORTED, BODY_TOO_LARGE).
"""

from enum import StrEnum
from typing import NamedTuple

from proxy.http.message import Headers
from proxy.policy.operation import Operation

MAX_ACTS = 16  # of one call


class Call(NamedTuple):
    """A request in canonical form. ``path`` is the canonical path; ``query`` its parameters, decoded.

    ``headers`` are those that may travel on. ``body`` is None until it has been read; a request without
    content has ``has_body`` False and needs none.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Headers
    has_body: bool
    body: bytes | None


class Act(NamedTuple):
    """One thing a call does. ``facts`` is the canonical JSON object that becomes ``context.facts``.

    ``told`` is one more, for the record alone: what the protocol says of the act (which tool, which fields),
    also where rules for other actions read it and those for this one do not; or nothing.
    """

    operation: Operation
    facts: bytes = b"{}"
    told: bytes = b""


class Watch(StrEnum):
    """What has to be done with the answer of a call while it is relayed."""

    MCP = "mcp"  # lists of tools are filtered to what policy would allow
    OPENAI = "openai"  # what it used is counted
    ANTHROPIC = "anthropic"


class Classified(NamedTuple):
    """What a call does. ``acts`` is never empty and has at most MAX_ACTS members."""

    acts: tuple[Act, ...]
    watch: Watch | None = None


class NeedBody(NamedTuple):
    """The content has to be read before anything can be said: at most ``limit`` octets of it."""

    limit: int
