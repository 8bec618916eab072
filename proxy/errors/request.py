"""The meaning of codes for requests and connections that are not well-formed, and for content nobody can judge."""

from proxy.errors.code import Code
from proxy.errors.meaning import AGENT, BAD, DENIED, FIX, Meaning

# fmt: off
REQUEST: dict[Code, Meaning] = {
    Code.MALFORMED: Meaning(400, AGENT, "The request is not well-formed HTTP/1.1", BAD, FIX),
    Code.HEADER_FORBIDDEN: Meaning(400, AGENT, "A header may not be sent like this", BAD, FIX),
    Code.TARGET_MALFORMED: Meaning(400, AGENT, "The request target is malformed", BAD, FIX),
    Code.HOST_NONCANONICAL: Meaning(
        400, AGENT, "The host is not in canonical form", BAD,
        "Write the host as a plain DNS name, a dotted quad or a bracketed IPv6 address.",
    ),
    Code.SCHEME_UNSUPPORTED: Meaning(
        501, AGENT, "Only http and https are relayed", BAD, "Use an http:// or https:// URL."
    ),
    Code.METHOD_UNSUPPORTED: Meaning(501, AGENT, "The method is not relayed", BAD, FIX),
    Code.UPGRADE_UNSUPPORTED: Meaning(501, AGENT, "Only Upgrade: websocket is relayed", BAD, FIX),
    Code.HEAD_TIMEOUT: Meaning(408, AGENT, "The request head did not arrive in time", BAD, "Send it again, faster."),
    Code.BODY_TIMEOUT: Meaning(408, AGENT, "The request body stopped arriving", BAD, "Send it again, faster."),
    Code.HEAD_TOO_LARGE: Meaning(431, AGENT, "The request head is too large", BAD, "Send fewer or shorter headers."),
    Code.TARGET_TOO_LONG: Meaning(414, AGENT, "The request target is too long", BAD, "Use a shorter URL."),
    Code.AUTHORITY_MISMATCH: Meaning(
        421, AGENT, "CONNECT, SNI, Host and URL do not name the same origin", DENIED, FIX
    ),
    Code.SNI_MISMATCH: Meaning(421, AGENT, "The TLS server name is not the CONNECT host", DENIED, FIX),
    Code.SNI_MISSING: Meaning(
        403, AGENT, "TLS without a server name", DENIED, "Send SNI; every current TLS library does by default."
    ),
    Code.NOT_TLS: Meaning(
        400, AGENT, "The tunnel carries neither TLS nor HTTP", DENIED, "Only HTTP and HTTPS pass through gatepass."
    ),
    Code.TLS_CLIENT_REJECT: Meaning(
        400,
        AGENT,
        "The client rejected the gatepass certificate",
        DENIED,
        "Make the client trust the gatepass CA (`gatepass ca export`); `gatepass doctor` lists the variables.",
    ),
    Code.TLS_HANDSHAKE: Meaning(400, AGENT, "The TLS handshake failed", DENIED, "Offer TLS 1.2 or newer and http/1.1."),
    Code.AMBIGUOUS_INPUT: Meaning(
        400, AGENT, "The content can be read in more than one way", BAD,
        "Send plain JSON with unique keys and nothing behind it, one operation, and the values the service declares.",
    ),
    Code.CONTENT_UNSUPPORTED: Meaning(
        400, AGENT, "The content is not of a kind that rules can judge here", BAD,
        "Send the content type that the API documents, without Content-Encoding.",
    ),
    Code.BODY_TOO_LARGE: Meaning(
        413, AGENT, "The content is larger than rules may read", BAD, "Send less in one request, or a smaller batch."
    ),
    Code.PERSISTED_QUERY_UNKNOWN: Meaning(
        403, AGENT, "The persisted query is not listed", DENIED,
        "Send the query's text, or ask the operator to list its hash in the service's file.",
    ),
}
# fmt: on
