"""What a reason code means (RFC 9457, RFC 9209), and the words that several of them share."""

from enum import Enum
from typing import NamedTuple


class Fault(Enum):
    """Whose fault a refusal is."""

    AGENT = "agent"  # the request is malformed, unidentified or not allowed: 4xx
    UPSTREAM = "upstream"  # the API could not be reached or misbehaved: 502, 504
    OURS = "gatepass"  # the sidecar cannot do its duty and fails closed: 500, 503


class Meaning(NamedTuple):
    """What one reason code means: HTTP status, fault, a title, RFC 9209 error token, what to do next."""

    status: int
    fault: Fault
    title: str
    proxy_status: str
    advice: str


AGENT, UPSTREAM, OURS = Fault.AGENT, Fault.UPSTREAM, Fault.OURS
DENIED = "http_request_denied"
BAD = "http_request_error"
IP = "destination_ip_prohibited"
FIX = "Correct the request; sending the same one again will be refused again."
PLACE = (
    "Send the placeholder only where its service declares it, to that service's own host, "
    "from the task that holds it."
)
INSIDE = "Use a public host name, or ask the operator to list host, CIDR and port in upstream.allow_private."
ASK = "Do not retry. Ask the operator to allow this call, or make another one: GET http://gatepass.internal/may?method=&url= tells beforehand."
LATER = "Retry later; nothing was sent upstream."
TOKEN = "Use the proxy URL of your task, http://task:TOKEN@HOST:PORT: the token is Basic's password. Bearer works too."
