"""Inside a CONNECT tunnel: find out what is spoken, and terminate TLS with a leaf for the CONNECT host.

What may be spoken is HTTP, under TLS or plain. The name in the ClientHello must be the CONNECT host
(invariant 4). A leaf is minted for that host alone, whatever the ClientHello asked for.
"""

import re
import ssl
from dataclasses import dataclass

from proxy.engine.head import Reading
from proxy.engine.leaf_cache import LeafCache
from proxy.engine.wire import Wire
from proxy.engine.wire_error import Gone
from proxy.errors import Code, Refusal
from proxy.http.canonical import Host, HostKind
from proxy.http.clienthello import ClientHello, Incomplete, NotTls, parse_client_hello

_TLS_HANDSHAKE_RECORD = 0x16
_HTTP = re.compile(rb"[A-Z]+ [^\r\n]* HTTP/\d")
_MAX_LINE = 128 * 1024
_TOLD_IN_TLS = frozenset({Code.SNI_MISMATCH, Code.SNI_MISSING})
_REJECTIONS = (
    "UNKNOWN_CA",
    "BAD_CERTIFICATE",
    "CERTIFICATE_UNKNOWN",
    "CERTIFICATE_EXPIRED",
    "UNSUPPORTED_CERTIFICATE",
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the tunnel carries: ``scheme`` is http or https; ``refusal`` answers its first request."""

    scheme: str
    refusal: Refusal | None = None


async def sniff(reading: Reading, host: Host, leaves: LeafCache) -> Spoken | Refusal | None:
    """Read the first octets of a tunnel; a ``Refusal`` ends it, None means that nothing was ever said.

    Raises as ``Wire.read``.
    """
    first = await reading.some()
    if not first:
        return None
    if first[0] != _TLS_HANDSHAKE_RECORD:
        return await _plain(reading, first)
    while isinstance(hello := parse_client_hello(first), Incomplete):
        more = await _more(reading)
        if not more:
            return Refusal(
                Code.TLS_HANDSHAKE, "the client closed the connection in the middle of its ClientHello"
            )
        first += more
    if isinstance(hello, NotTls):
        return Refusal(Code.NOT_TLS, "the tunnel starts like TLS and is not")
    refusal = _judge(hello, host)
    if refusal is not None and refusal.code not in _TOLD_IN_TLS:
        return refusal
    context = leaves.context(host.name, host.kind is not HostKind.NAME)
    if isinstance(context, Refusal):
        return context
    failure = await _handshake(reading.wire, context, first)
    # A client that checks the leaf against the name it asked for fails here because of that name.
    return Spoken("https", refusal) if failure is None else refusal or failure


async def _more(reading: Reading) -> bytes:
    """The next octets; nothing if the client has ended or gone: what it began is recorded either way."""
    try:
        return await reading.some()
    except Gone:
        return b""


async def _plain(reading: Reading, first: bytes) -> Spoken | Refusal:
    """HTTP says so at the end of its first line; others (SSH, SMTP) begin with a capital letter, too."""
    while first[:1].isupper() and b"\n" not in first and len(first) <= _MAX_LINE:
        more = await _more(reading)
        if not more:
            break
        first += more
    if _HTTP.match(first) is None:
        return Refusal(
            Code.NOT_TLS, f"the tunnel begins with 0x{first[:4].hex()}, which is neither TLS nor HTTP"
        )
    reading.unread(first)
    return Spoken("http")


def _judge(hello: ClientHello, host: Host) -> Refusal | None:
    if hello.alpn and b"http/1.1" not in hello.alpn:
        offered = ", ".join(protocol.decode("ascii", "backslashreplace") for protocol in hello.alpn[:4])
        return Refusal(Code.TLS_HANDSHAKE, f"the client offers only {offered}; gatepass speaks http/1.1 here")
    if hello.sni is None:
        if host.kind is not HostKind.NAME:
            return None  # addresses are not sent as server names (RFC 6066, 3)
        return Refusal(Code.SNI_MISSING, f"the ClientHello names no server; CONNECT named {host.name}")
    if hello.sni.lower() != host.name.encode("ascii"):
        named = hello.sni.decode("ascii", "backslashreplace")[:255]
        return Refusal(Code.SNI_MISMATCH, f"CONNECT named {host.name}, the ClientHello names {named}")
    return None


async def _handshake(wire: Wire, context: ssl.SSLContext, first: bytes) -> Refusal | None:
    try:
        await wire.secure(context, first=first)
    except ssl.SSLError as error:
        reason = error.reason or "unknown"
        if any(word in reason for word in _REJECTIONS):
            return Refusal(
                Code.TLS_CLIENT_REJECT, f"the client answered the certificate with {reason.lower()}"
            )
        return Refusal(Code.TLS_HANDSHAKE, f"the TLS handshake with the client failed: {reason.lower()}")
    except Gone:
        # The leaf has been sent; not every library says why it leaves then (Python's asyncio does not).
        return Refusal(Code.TLS_CLIENT_REJECT, "the client closed the connection when it had the certificate")
    return None
