"""Obligations (XACML): what has to be done with a call that is allowed, on the word of its permits.

They are annotations of a permit; all permits that determine a decision are heard, and their obligations
add up. An obligation that cannot be met refuses the call (OBLIGATION_UNMET).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Obligations:
    """Header names are lower case. A field is a JSON Pointer (RFC 6901) in which ``*`` is every member.

    ``max_response`` is in octets of the answer's content. ``interception``: gatepass has to be able to
    read the call to its end, so it may not become a WebSocket.
    """

    drop_headers: frozenset[str] = frozenset()
    redact_headers: frozenset[str] = frozenset()
    drop_fields: frozenset[str] = frozenset()
    redact_fields: frozenset[str] = frozenset()
    max_response: int | None = None
    interception: bool = False


NO_OBLIGATIONS = Obligations()
