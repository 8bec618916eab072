"""Which header fields stay on one hop, which are ours to speak, and which nobody may remove.

RFC 9110, 7.6.1 (Connection) and 6.5.1 (trailers); RFC 7239; the names of headers that carry identity
or route requests inside trusted networks. All names are in lower case.
"""

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings"},
)
"""Spoken to the next hop only; they leave a message without being worth a word in the record."""

CLAIMS = frozenset(
    {
        b"via",
        b"forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"x-original-url",
        b"x-original-host",
        b"x-rewrite-url",
        b"x-upstream-https-proxy",
        b"txn-token",
        b"dpop",
        b"signature",
        b"signature-input",
        b"alt-used",
    },
)
"""What an agent must not claim to an upstream: other clients, other routes, other identities.

Proofs of possession (RFC 9449, RFC 9421, WIMSE) are among them: they would bind the call to a key of
the agent's, and they cover what gatepass changes.
"""

CLAIM_PREFIXES = (b"proxy-", b"x-forwarded-", b"workload-")

METHOD_OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
"""They make an API see another method than the one that was decided."""

PROTECTED = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"trailer",
        b"content-type",
        b"content-encoding",
        b"content-range",
        b"range",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"origin",
        b"referer",
        b"expect",
        b"cache-control",
        b"date",
        b"location",
        b"via",
        b"forwarded",
        b"dpop",
        b"signature",
        b"signature-input",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"proxy-status",
        b"www-authenticate",
        b"x-agent-id",
        b"x-task-id",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"txn-token",
    },
)
"""A Connection header must not name these: it would remove what was decided on."""

NO_TRAILER = (
    HOP_BY_HOP
    | CLAIMS
    | METHOD_OVERRIDES
    | PROTECTED
    | {
        b"max-forwards",
        b"age",
        b"expires",
        b"pragma",
        b"vary",
        b"warning",
        b"retry-after",
        b"alt-svc",
        b"if-match",
        b"if-none-match",
        b"if-modified-since",
        b"if-unmodified-since",
        b"if-range",
    }
)
"""A trailer must not say these: they route, frame, authenticate or decide, and come too late for that."""


def dashed(name: bytes) -> bytes:
    """What an API behind CGI or WSGI makes of a field's name: there X_A and X-A are the same field."""
    return name.replace(b"_", b"-") if b"_" in name else name


def is_claim(name: bytes) -> bool:
    """Whether the field ``name`` (in lower case) is one that only gatepass may speak."""
    name = dashed(name)
    return name in CLAIMS or name.startswith(CLAIM_PREFIXES)
