"""What a head must satisfy before anybody trusts its framing (RFC 9110, 7.6-7.8; RFC 9112, 6 and 9).

The parser (llhttp) lets through what is legal somewhere; this file lets through what can be read in
one way only; ``answer`` does the same for responses. The checks of a request, in order: (1) version
and method, (2) the grammar of its fields, (3) one meaning for the fields that steer, (4) Connection,
(5) framing, (6) Upgrade and Expect, (7) what is forwarded. Requests are refused where answers are
tidied up: an agent can be told to write properly, an API cannot. The Host headers are judged by
``target.parse_target``.

Decided: TE, Expect and every Proxy-* field end here; the relay itself answers ``100 Continue`` once
the request may leave. Content-Length and Transfer-Encoding stay in their places, normalised, because
the relay sends every body with the framing it came with.
"""

from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.http import field
from proxy.http.answer import GuardedResponse, guard_response
from proxy.http.framing import Index, content_length, index, members, wants_keep_alive
from proxy.http.host import Origin
from proxy.http.message import Chunked, Framing, Header, Headers, Length, NoBody, RequestHead
from proxy.http.names import HOP_BY_HOP, METHOD_OVERRIDES, NO_TRAILER, PROTECTED, dashed, is_claim

__all__ = [
    "METHODS",
    "Guarded",
    "GuardedResponse",
    "guard_request",
    "guard_response",
    "guard_trailers",
    "with_host",
]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"})
_ONCE = (b"authorization", b"proxy-authorization", b"content-type", b"expect")
_ROUTINE = (HOP_BY_HOP | {b"proxy-authorization", b"expect"}) - {b"upgrade"}


class Guarded(NamedTuple):
    """A request head that passed.

    ``upgrade`` is ``"websocket"`` or ``""``; ``expect_continue`` says that the agent waits for
    ``100 Continue`` before it sends a body; ``keep_alive`` is what the agent wants of its connection.
    ``forward`` is what goes upstream, in the order and case it came in; ``stripped`` names, in lower
    case, what does not and is worth recording.
    """

    framing: NoBody | Length | Chunked
    upgrade: str
    expect_continue: bool
    keep_alive: bool
    forward: Headers
    stripped: tuple[str, ...]


def _bad(why: str) -> Refusal:
    return Refusal(Code.MALFORMED, why)


def _grammar(head: RequestHead, max_headers: int, max_line: int) -> Refusal | None:
    """Steps 1 and 2."""
    if head.version not in ("1.0", "1.1"):
        return _bad("the version is neither HTTP/1.0 nor HTTP/1.1")
    if head.method not in METHODS:
        return Refusal(Code.METHOD_UNSUPPORTED, "relayed are " + " ".join(sorted(METHODS)))
    found = field.fault(head.headers, max_headers, max_line)
    if found is not None:
        too_large, why = found
        return Refusal(Code.HEAD_TOO_LARGE, why) if too_large else _bad(why)
    return None


def _steering(method: str, fields: Index) -> Refusal | None:
    """Step 3."""
    for name in _ONCE:
        if len(fields.get(name, ())) > 1:
            return Refusal(Code.HEADER_FORBIDDEN, f"more than one {name.decode('ascii')} header")
    for name in fields:
        if dashed(name) in METHOD_OVERRIDES and any(
            value.upper() != method.encode("ascii") for value in fields[name]
        ):
            return Refusal(Code.HEADER_FORBIDDEN, "a header asks for another method than the request has")
    return None


def _connection(options: list[bytes]) -> Refusal | None:
    """Step 4."""
    for option in options:
        if field.TOKEN.fullmatch(option) is None:
            return _bad("the Connection header is not a list of tokens")
        if option in PROTECTED or (is_claim(option) and option != b"proxy-connection"):
            return Refusal(Code.HEADER_FORBIDDEN, f"Connection must not remove {option.decode('ascii')}")
    return None


def _framing(head: RequestHead, fields: Index) -> NoBody | Length | Chunked | Refusal:
    """Step 5, RFC 9112, 6.3."""
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    if codings:
        if lengths:
            return _bad("both Content-Length and Transfer-Encoding")
        if head.version == "1.0":
            return _bad("Transfer-Encoding in HTTP/1.0")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            return _bad("the only Transfer-Encoding is chunked")
        return _bad("CONNECT has no body") if head.method == "CONNECT" else Chunked()
    if lengths:
        octets = content_length(lengths)
        if octets is None:
            return _bad("Content-Length is not one decimal number")
        return _bad("CONNECT has no body") if octets and head.method == "CONNECT" else Length(octets)
    return NoBody()


def _upgrade(head: RequestHead, fields: Index, options: list[bytes], framing: Framing) -> str | Refusal:
    """Step 6: Upgrade counts only in HTTP/1.1 and if Connection names it (RFC 9110, 7.8)."""
    if b"upgrade" not in options or head.version == "1.0" or head.method == "CONNECT":
        return ""
    protocols = [name for name in members(fields.get(b"upgrade", ())) if name != b"h2c"]
    if not protocols:
        return ""
    if protocols != [b"websocket"]:
        return Refusal(Code.UPGRADE_UNSUPPORTED, "the upgrade asked for is not websocket")
    if head.method != "GET" or framing not in (NoBody(), Length(0)):
        return Refusal(Code.UPGRADE_UNSUPPORTED, "Upgrade: websocket needs a GET without a body")
    return "websocket"


def _expects(head: RequestHead, fields: Index, framing: Framing) -> bool | Refusal:
    """Step 6: in HTTP/1.0 Expect means nothing (RFC 9110, 10.1.1)."""
    expected = fields.get(b"expect")
    if not expected or head.version == "1.0":
        return False
    if expected[0].lower() != b"100-continue":
        return Refusal(Code.HEADER_FORBIDDEN, "the only expectation is 100-continue")
    return framing not in (NoBody(), Length(0))


def _forward(
    headers: Headers, options: list[bytes], upgrade: str, framing: Framing
) -> tuple[Headers, tuple[str, ...]]:
    """Step 7. The fields of an upgrade stay where they stood, because order is preserved."""
    keep: list[Header] = []
    stripped: list[str] = []
    again = {b"connection": b"Upgrade", b"upgrade": upgrade.encode("ascii")} if upgrade else {}
    for name, value in headers:
        low = name.lower()
        if low in again:
            keep.append((name, again.pop(low)))
        elif low == b"transfer-encoding":
            keep.append((name, b"chunked"))
        elif low == b"content-length" and isinstance(framing, Length):
            keep.append((name, b"%d" % framing.octets))
        elif low in _ROUTINE:
            continue
        elif low == b"upgrade" or low in options or is_claim(low):
            stripped.append(low.decode("ascii"))
        else:
            keep.append((name, value))
    return tuple(keep), tuple(stripped)


def guard_request(head: RequestHead, *, max_headers: int = 100, max_line: int = 8192) -> Guarded | Refusal:
    """Hold a request head against the rules of this file; never raises.

    ``max_line`` is in octets of one field's name and value together.
    """
    refusal = _grammar(head, max_headers, max_line)
    if refusal is not None:
        return refusal
    fields = index(head.headers)
    options = members(fields.get(b"connection", ()))
    refusal = _steering(head.method, fields) or _connection(options)
    if refusal is not None:
        return refusal
    framing = _framing(head, fields)
    if isinstance(framing, Refusal):
        return framing
    upgrade = _upgrade(head, fields, options, framing)
    if isinstance(upgrade, Refusal):
        return upgrade
    expects = _expects(head, fields, framing)
    if isinstance(expects, Refusal):
        return expects
    forward, stripped = _forward(head.headers, options, upgrade, framing)
    return Guarded(framing, upgrade, expects, wants_keep_alive(head.version, options), forward, stripped)


def with_host(forward: Headers, origin: Origin) -> Headers:
    """Write the canonical Host: in place of the agent's, or first if there was none (HTTP/1.0)."""
    authority = origin.authority.encode("ascii")
    if all(name.lower() != b"host" for name, _ in forward):
        return ((b"Host", authority), *forward)
    return tuple((name, authority if name.lower() == b"host" else value) for name, value in forward)


def guard_trailers(trailers: Headers, *, max_headers: int = 100) -> tuple[Headers, tuple[str, ...]] | Refusal:
    """Divide trailers into those that may be forwarded and the names of those that may not.

    Everything that routes, frames, authenticates or steers is dropped (RFC 9110, 6.5.1). Refuses
    with MALFORMED what is no field at all.
    """
    found = field.fault(trailers, max_headers, 8192)
    if found is not None:
        return _bad(f"trailers: {found[1]}")
    keep = tuple(item for item in trailers if not _is_no_trailer(item[0].lower()))
    dropped = (name.lower() for name, _ in trailers if _is_no_trailer(name.lower()))
    return keep, tuple(name.decode("ascii") for name in dropped)


def _is_no_trailer(name: bytes) -> bool:
    return dashed(name) in NO_TRAILER or is_claim(name)
