"""The meaning of codes for what is not the agent's fault: upstream's, and our own."""

from proxy.errors.code import Code
from proxy.errors.meaning import LATER, OURS, UPSTREAM, Meaning

# fmt: off
BEYOND: dict[Code, Meaning] = {
    Code.DNS_ERROR: Meaning(502, UPSTREAM, "The host name could not be resolved", "dns_error", "Check the host name."),
    Code.CONNECT_FAILED: Meaning(502, UPSTREAM, "The API refused the connection", "connection_refused", LATER),
    Code.CONNECT_TIMEOUT: Meaning(504, UPSTREAM, "The API did not accept the connection in time", "connection_timeout", LATER),
    Code.TLS_CERT: Meaning(
        502,
        UPSTREAM,
        "The API's certificate is not trusted",
        "tls_certificate_error",
        "Do not retry. The operator can add its root to certs/upstream/.",
    ),
    Code.TLS_UPSTREAM: Meaning(502, UPSTREAM, "The TLS handshake with the API failed", "tls_protocol_error", LATER),
    Code.UPSTREAM_PROTOCOL: Meaning(
        502, UPSTREAM, "The API's answer is not well-formed HTTP", "http_protocol_error", "Tell the API's owner."
    ),
    Code.UPSTREAM_CLOSED: Meaning(
        502, UPSTREAM, "The API closed the connection without an answer", "connection_terminated",
        "The request may have been processed; retry only if that is safe.",
    ),
    Code.UPSTREAM_TIMEOUT: Meaning(
        504, UPSTREAM, "The API did not answer in time", "http_response_timeout",
        "The request may have been processed; retry only if that is safe.",
    ),
    Code.RESPONSE_TOO_LARGE: Meaning(
        502, UPSTREAM, "The answer is larger than the rule allows", "http_response_body_size", "Ask the API for less at a time."
    ),
    Code.RESPONSE_UNREADABLE: Meaning(
        502, UPSTREAM, "The answer cannot be read, and a rule needs it read", "http_protocol_error", "Tell the operator."
    ),
    Code.PDP_UNAVAILABLE: Meaning(
        503, OURS, "The policy decision point did not answer", "proxy_internal_error", LATER
    ),
    Code.KEYS_UNAVAILABLE: Meaning(
        503, OURS, "The keys that verify the token could not be obtained", "proxy_internal_error", LATER
    ),
    Code.LOG_UNAVAILABLE: Meaning(
        503, OURS, "The audit log cannot be written, so nothing may leave", "proxy_internal_error", LATER
    ),
    Code.DRAINING: Meaning(503, OURS, "gatepass is shutting down", "proxy_internal_error", LATER),
    Code.INTERNAL: Meaning(500, OURS, "gatepass failed and refused the call", "proxy_internal_error", LATER),
}
# fmt: on
