"""What the rules for one service can read of a call, so that nothing else has to be looked at.

A member that no policy of a slice can read is neither computed nor evaluated nor, if it stands in the
content, waited for: the content streams through untouched.
"""

from dataclasses import dataclass

REQUEST = frozenset({"content_type", "has_body", "method", "path", "query_keys", "time", "upgrade"})
"""The members of ``context.request``."""

FACTS = frozenset({"aws", "body", "graphql", "grpc", "input", "llm", "mcp", "path", "query"})
"""The groups of ``context.facts``."""


@dataclass(frozen=True, slots=True)
class Needs:
    """``request``: members of ``context.request``; ``facts``: groups of ``context.facts``.

    ``approval``: some policy reads ``context.approved``. ``content``: some permit carries an obligation
    that changes the content.
    """

    request: frozenset[str]
    facts: frozenset[str]
    approval: bool
    content: bool


NOTHING = Needs(frozenset(), frozenset(), approval=False, content=False)
EVERYTHING = Needs(REQUEST, FACTS, approval=True, content=True)
