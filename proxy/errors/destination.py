"""The meaning of codes for destinations that nobody may reach."""

from proxy.errors.code import Code
from proxy.errors.meaning import AGENT, DENIED, FIX, INSIDE, IP, Meaning

# fmt: off
DESTINATION: dict[Code, Meaning] = {
    Code.DEST_LOOPBACK: Meaning(403, AGENT, "Loopback destinations are refused", IP, INSIDE),
    Code.DEST_PRIVATE: Meaning(403, AGENT, "Private destinations are refused", IP, INSIDE),
    Code.DEST_LINK_LOCAL: Meaning(403, AGENT, "Link-local destinations are refused", IP, INSIDE),
    Code.DEST_METADATA: Meaning(
        403, AGENT, "Cloud metadata endpoints are refused", IP, "Do not retry; no rule can allow this."
    ),
    Code.DEST_RESERVED: Meaning(403, AGENT, "Reserved and multicast destinations are refused", IP, INSIDE),
    Code.DEST_NAME: Meaning(403, AGENT, "Names of the local machine or cluster are refused", IP, INSIDE),
    Code.EMBEDDED_V4: Meaning(403, AGENT, "The IPv6 address hides an IPv4 address", IP, INSIDE),
    Code.NAT64: Meaning(403, AGENT, "NAT64 destinations are refused", IP, INSIDE),
    Code.MIXED_ANSWER: Meaning(403, AGENT, "The name resolves to allowed and refused addresses", IP, INSIDE),
    Code.IP_LITERAL: Meaning(403, AGENT, "Destinations must be named, not numbered", IP, "Use the host's DNS name."),
    Code.PORT: Meaning(
        403, AGENT, "The port is not open for agents", DENIED, "Use 80 or 443, or ask the operator to open the port."
    ),
    Code.SELF_CONNECT: Meaning(
        403, AGENT, "The destination is gatepass itself", IP,
        "Do not call gatepass through itself; what agents may ask is at http://gatepass.internal/.",
    ),
    Code.LOOP: Meaning(508, AGENT, "The request came back to gatepass", "proxy_loop_detected", FIX),
}
# fmt: on
