"""Why a call is refused: the closed list of reason codes, whose fault each one is, and what to do next.

A refusal is a value, never an exception with prose. Words for people are rendered at the edge from
this table (``application/problem+json``, RFC 9457; ``Proxy-Status``, RFC 9209). ``rules/README.md``
documents every code; a test compares the two.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple


class Fault(Enum):
    """Whose fault a refusal is."""

    AGENT = "agent"  # the request is malformed, unidentified or not allowed: 4xx
    UPSTREAM = "upstream"  # the API could not be reached or misbehaved: 502, 504
    OURS = "gatepass"  # the sidecar cannot do its duty and fails closed: 500, 503


class Code(StrEnum):
    """Reason codes. The value is what records, answers and rules print."""

    # the request is not one well-formed HTTP request
    MALFORMED = "malformed"
    HEADER_FORBIDDEN = "header_forbidden"
    TARGET_MALFORMED = "target_malformed"
    HOST_NONCANONICAL = "host_noncanonical"
    SCHEME_UNSUPPORTED = "scheme_unsupported"
    METHOD_UNSUPPORTED = "method_unsupported"
    UPGRADE_UNSUPPORTED = "upgrade_unsupported"
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    HEAD_TOO_LARGE = "head_too_large"
    TARGET_TOO_LONG = "target_too_long"
    # the connection contradicts itself
    AUTHORITY_MISMATCH = "authority_mismatch"
    SNI_MISMATCH = "sni_mismatch"
    SNI_MISSING = "sni_missing"
    NOT_TLS = "not_tls"
    TLS_CLIENT_REJECT = "tls_client_reject"
    TLS_HANDSHAKE = "tls_handshake"
    # identity
    IDENTITY_MISSING = "identity_missing"
    IDENTITY_INVALID = "identity_invalid"
    IDENTITY_EXPIRED = "identity_expired"
    IDENTITY_CONFLICT = "identity_conflict"
    AGENT_UNKNOWN = "agent_unknown"
    AGENT_UNOWNED = "agent_unowned"
    AUTHENTICATION_UNSUITABLE = "authentication_unsuitable"
    TASK_UNKNOWN = "task_unknown"
    TASK_ENDED = "task_ended"
    ENVIRONMENT_FOREIGN = "environment_foreign"
    CHAIN_INVALID = "chain_invalid"
    REVOKED = "revoked"
    # destination
    DEST_LOOPBACK = "dest_loopback"
    DEST_PRIVATE = "dest_private"
    DEST_LINK_LOCAL = "dest_link_local"
    DEST_METADATA = "dest_metadata"
    DEST_RESERVED = "dest_reserved"
    DEST_NAME = "dest_name"
    EMBEDDED_V4 = "embedded_v4"
    NAT64 = "nat64"
    MIXED_ANSWER = "mixed_answer"
    IP_LITERAL = "ip_literal"
    PORT = "port"
    SELF_CONNECT = "self_connect"
    LOOP = "loop"
    # policy
    DEFAULT_DENY = "default_deny"
    POLICY_DENY = "policy_deny"
    POLICY_ERROR = "policy_error"
    SERVICE_NOT_GRANTED = "service_not_granted"
    BUDGET_EXCEEDED = "budget_exceeded"
    DELEGATION_REFUSED = "delegation_refused"
    DESK_REQUEST = "desk_request"
    TUNNELS_EXCEEDED = "tunnels_exceeded"
    # credentials
    PLACEHOLDER_HOST_MISMATCH = "placeholder_host_mismatch"
    PLACEHOLDER_TASK_MISMATCH = "placeholder_task_mismatch"
    PLACEHOLDER_SURFACE = "placeholder_surface"
    PLACEHOLDER_AMBIGUOUS = "placeholder_ambiguous"
    PLACEHOLDER_UNKNOWN = "placeholder_unknown"
    CREDENTIAL_UNAVAILABLE = "credential_unavailable"
    # upstream
    DNS_ERROR = "dns_error"
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_CERT = "tls_cert"
    TLS_UPSTREAM = "tls_upstream"
    UPSTREAM_PROTOCOL = "upstream_protocol"
    UPSTREAM_CLOSED = "upstream_closed"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    # ours
    KEYS_UNAVAILABLE = "keys_unavailable"
    LOG_UNAVAILABLE = "log_unavailable"
    DRAINING = "draining"
    INTERNAL = "internal"


class Meaning(NamedTuple):
    """What one reason code means: HTTP status, fault, a title, RFC 9209 error token, what to do next."""

    status: int
    fault: Fault
    title: str
    proxy_status: str
    advice: str


_A, _U, _O = Fault.AGENT, Fault.UPSTREAM, Fault.OURS
_DENIED = "http_request_denied"
_BAD = "http_request_error"
_IP = "destination_ip_prohibited"
_FIX = "Correct the request; sending the same one again will be refused again."
_PLACE = (
    "Send the placeholder only where its service declares it, to that service's own host, "
    "from the task that holds it."
)
_INSIDE = "Use a public host name, or ask the operator to list host, CIDR and port in upstream.allow_private."
_ASK = "Do not retry. Ask the operator to allow this call, or make another one: GET http://gatepass.internal/may?method=&url= tells beforehand."
_LATER = "Retry later; nothing was sent upstream."
_TOKEN = "Use the proxy URL of your task, http://task:TOKEN@HOST:PORT: the token is Basic's password. Bearer works too."

# fmt: off
MEANING: dict[Code, Meaning] = {
    Code.MALFORMED: Meaning(400, _A, "The request is not well-formed HTTP/1.1", _BAD, _FIX),
    Code.HEADER_FORBIDDEN: Meaning(400, _A, "A header may not be sent like this", _BAD, _FIX),
    Code.TARGET_MALFORMED: Meaning(400, _A, "The request target is malformed", _BAD, _FIX),
    Code.HOST_NONCANONICAL: Meaning(
        400, _A, "The host is not in canonical form", _BAD,
        "Write the host as a plain DNS name, a dotted quad or a bracketed IPv6 address.",
    ),
    Code.SCHEME_UNSUPPORTED: Meaning(
        501, _A, "Only http and https are relayed", _BAD, "Use an http:// or https:// URL."
    ),
    Code.METHOD_UNSUPPORTED: Meaning(501, _A, "The method is not relayed", _BAD, _FIX),
    Code.UPGRADE_UNSUPPORTED: Meaning(501, _A, "Only Upgrade: websocket is relayed", _BAD, _FIX),
    Code.HEAD_TIMEOUT: Meaning(408, _A, "The request head did not arrive in time", _BAD, "Send it again, faster."),
    Code.BODY_TIMEOUT: Meaning(408, _A, "The request body stopped arriving", _BAD, "Send it again, faster."),
    Code.HEAD_TOO_LARGE: Meaning(431, _A, "The request head is too large", _BAD, "Send fewer or shorter headers."),
    Code.TARGET_TOO_LONG: Meaning(414, _A, "The request target is too long", _BAD, "Use a shorter URL."),
    Code.AUTHORITY_MISMATCH: Meaning(
        421, _A, "CONNECT, SNI, Host and URL do not name the same origin", _DENIED, _FIX
    ),
    Code.SNI_MISMATCH: Meaning(421, _A, "The TLS server name is not the CONNECT host", _DENIED, _FIX),
    Code.SNI_MISSING: Meaning(
        403, _A, "TLS without a server name", _DENIED, "Send SNI; every current TLS library does by default."
    ),
    Code.NOT_TLS: Meaning(
        400, _A, "The tunnel carries neither TLS nor HTTP", _DENIED, "Only HTTP and HTTPS pass through gatepass."
    ),
    Code.TLS_CLIENT_REJECT: Meaning(
        400,
        _A,
        "The client rejected the gatepass certificate",
        _DENIED,
        "Make the client trust the gatepass CA (`gatepass ca export`); `gatepass doctor` lists the variables.",
    ),
    Code.TLS_HANDSHAKE: Meaning(400, _A, "The TLS handshake failed", _DENIED, "Offer TLS 1.2 or newer and http/1.1."),
    Code.IDENTITY_MISSING: Meaning(407, _A, "No proxy identity was presented", _DENIED, _TOKEN),
    Code.IDENTITY_INVALID: Meaning(407, _A, "The proxy identity is not valid", _DENIED, _TOKEN),
    Code.IDENTITY_EXPIRED: Meaning(
        407, _A, "The proof of identity has expired", _DENIED, "Present a fresh one, or ask for a new task."
    ),
    Code.IDENTITY_CONFLICT: Meaning(
        407, _A, "The proofs of identity contradict each other", _DENIED,
        "Let every proof on this connection (certificate, socket, token) name the same agent and task.",
    ),
    Code.AGENT_UNKNOWN: Meaning(
        403, _A, "The agent is not registered", _DENIED, "Ask the operator to add it to rules/agents.yaml."
    ),
    Code.AGENT_UNOWNED: Meaning(
        403, _A, "Nobody answers for the agent", _DENIED,
        "Ask the operator to name its business_owner and data_owner in rules/agents.yaml.",
    ),
    Code.AUTHENTICATION_UNSUITABLE: Meaning(
        403, _A, "The agent may not authenticate this way", _DENIED,
        "Use a way that the agent's entry in rules/agents.yaml lists under authenticate.",
    ),
    Code.TASK_UNKNOWN: Meaning(403, _A, "The task is not known here", _DENIED, "Ask for a new task."),
    Code.TASK_ENDED: Meaning(403, _A, "The task has ended", _DENIED, "Ask for a new task; this one is over."),
    Code.ENVIRONMENT_FOREIGN: Meaning(
        403, _A, "The task belongs to another environment than its agent", _DENIED, "Ask for a new task."
    ),
    Code.CHAIN_INVALID: Meaning(
        403, _A, "The delegation does not hold", _DENIED, "Ask whoever delegated the task for a new one."
    ),
    Code.REVOKED: Meaning(
        403, _A, "The right to call was revoked", _DENIED, "Do not retry. Stop, and tell the operator."
    ),
    Code.DEST_LOOPBACK: Meaning(403, _A, "Loopback destinations are refused", _IP, _INSIDE),
    Code.DEST_PRIVATE: Meaning(403, _A, "Private destinations are refused", _IP, _INSIDE),
    Code.DEST_LINK_LOCAL: Meaning(403, _A, "Link-local destinations are refused", _IP, _INSIDE),
    Code.DEST_METADATA: Meaning(
        403, _A, "Cloud metadata endpoints are refused", _IP, "Do not retry; no rule can allow this."
    ),
    Code.DEST_RESERVED: Meaning(403, _A, "Reserved and multicast destinations are refused", _IP, _INSIDE),
    Code.DEST_NAME: Meaning(403, _A, "Names of the local machine or cluster are refused", _IP, _INSIDE),
    Code.EMBEDDED_V4: Meaning(403, _A, "The IPv6 address hides an IPv4 address", _IP, _INSIDE),
    Code.NAT64: Meaning(403, _A, "NAT64 destinations are refused", _IP, _INSIDE),
    Code.MIXED_ANSWER: Meaning(403, _A, "The name resolves to allowed and refused addresses", _IP, _INSIDE),
    Code.IP_LITERAL: Meaning(403, _A, "Destinations must be named, not numbered", _IP, "Use the host's DNS name."),
    Code.PORT: Meaning(
        403, _A, "The port is not open for agents", _DENIED, "Use 80 or 443, or ask the operator to open the port."
    ),
    Code.SELF_CONNECT: Meaning(
        403, _A, "The destination is gatepass itself", _IP,
        "Do not call gatepass through itself; what agents may ask is at http://gatepass.internal/.",
    ),
    Code.LOOP: Meaning(508, _A, "The request came back to gatepass", "proxy_loop_detected", _FIX),
    Code.DEFAULT_DENY: Meaning(403, _A, "No rule permits this call", _DENIED, _ASK),
    Code.POLICY_DENY: Meaning(403, _A, "A rule forbids this call", _DENIED, _ASK),
    Code.POLICY_ERROR: Meaning(
        403, _A, "The rules could not be evaluated for this call", _DENIED, "Tell the operator; the rules need a fix."
    ),
    Code.SERVICE_NOT_GRANTED: Meaning(
        403, _A, "The task was not given this service", _DENIED,
        "Do not retry. Ask whoever started or delegated the task for one that lists the service.",
    ),
    Code.BUDGET_EXCEEDED: Meaning(
        429, _A, "The budget of the task is spent", _DENIED,
        "Do not retry. Finish with what you have, or ask for a new task with a larger budget.",
    ),
    Code.DELEGATION_REFUSED: Meaning(
        403, _A, "The task cannot be delegated like this", _DENIED,
        "Ask for no more than you have: GET http://gatepass.internal/whoami shows it.",
    ),
    Code.DESK_REQUEST: Meaning(
        400, _A, "The desk does not understand the request", _BAD,
        "The desk answers GET /whoami, /may?method=&url=, /blocked and POST /delegate, /end with JSON bodies.",
    ),
    Code.TUNNELS_EXCEEDED: Meaning(
        429, _A, "Too many connections at once", "connection_limit_reached", "Close some, then retry."
    ),
    Code.PLACEHOLDER_HOST_MISMATCH: Meaning(403, _A, "The placeholder belongs to another service", _DENIED, _PLACE),
    Code.PLACEHOLDER_TASK_MISMATCH: Meaning(403, _A, "The placeholder belongs to another task", _DENIED, _PLACE),
    Code.PLACEHOLDER_SURFACE: Meaning(403, _A, "The placeholder is in a place that is not declared", _DENIED, _PLACE),
    Code.PLACEHOLDER_AMBIGUOUS: Meaning(403, _A, "More than one placeholder in one request", _DENIED, _PLACE),
    Code.PLACEHOLDER_UNKNOWN: Meaning(403, _A, "The placeholder is not known here", _DENIED, _PLACE),
    Code.CREDENTIAL_UNAVAILABLE: Meaning(503, _O, "The credential could not be obtained", "proxy_internal_error", _LATER),
    Code.DNS_ERROR: Meaning(502, _U, "The host name could not be resolved", "dns_error", "Check the host name."),
    Code.CONNECT_FAILED: Meaning(502, _U, "The API refused the connection", "connection_refused", _LATER),
    Code.CONNECT_TIMEOUT: Meaning(504, _U, "The API did not accept the connection in time", "connection_timeout", _LATER),
    Code.TLS_CERT: Meaning(
        502,
        _U,
        "The API's certificate is not trusted",
        "tls_certificate_error",
        "Do not retry. The operator can add its root to certs/upstream/.",
    ),
    Code.TLS_UPSTREAM: Meaning(502, _U, "The TLS handshake with the API failed", "tls_protocol_error", _LATER),
    Code.UPSTREAM_PROTOCOL: Meaning(
        502, _U, "The API's answer is not well-formed HTTP", "http_protocol_error", "Tell the API's owner."
    ),
    Code.UPSTREAM_CLOSED: Meaning(
        502, _U, "The API closed the connection without an answer", "connection_terminated",
        "The request may have been processed; retry only if that is safe.",
    ),
    Code.UPSTREAM_TIMEOUT: Meaning(
        504, _U, "The API did not answer in time", "http_response_timeout",
        "The request may have been processed; retry only if that is safe.",
    ),
    Code.KEYS_UNAVAILABLE: Meaning(
        503, _O, "The keys that verify the token could not be obtained", "proxy_internal_error", _LATER
    ),
    Code.LOG_UNAVAILABLE: Meaning(
        503, _O, "The audit log cannot be written, so nothing may leave", "proxy_internal_error", _LATER
    ),
    Code.DRAINING: Meaning(503, _O, "gatepass is shutting down", "proxy_internal_error", _LATER),
    Code.INTERNAL: Meaning(500, _O, "gatepass failed and refused the call", "proxy_internal_error", _LATER),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal, as data.

    ``detail`` says in plain words what happened this time; it never holds a secret, and whoever
    prints it escapes it. ``rule`` is the ``@id`` of the determining rule, if a rule spoke.
    ``retry_after`` is in seconds.
    """

    code: Code
    detail: str
    rule: str | None = None
    retry_after: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status this refusal is answered with."""
        return MEANING[self.code].status

    @property
    def meaning(self) -> Meaning:
        """The table's row for this refusal's code."""
        return MEANING[self.code]
