"""What an answer must satisfy before it is relayed (RFC 9112, 6.3; RFC 9110, 7.6.1 and 15).

An answer that can be read in two ways is refused with UPSTREAM_PROTOCOL, and its connection is not
used again. Fields that speak to one hop only end here, and so does Alt-Svc: it would lead the agent
around gatepass.
"""

from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.http import field
from proxy.http.framing import Index, content_length, index, members, wants_keep_alive
from proxy.http.message import (
    Chunked,
    Framing,
    Header,
    Headers,
    Length,
    NoBody,
    ResponseHead,
    UntilClose,
)
from proxy.http.names import HOP_BY_HOP, PROTECTED

SWITCHING, NO_CONTENT, NOT_MODIFIED = 101, 204, 304
_DROPPED = HOP_BY_HOP | {b"alt-svc", b"transfer-encoding", b"content-length"}


class GuardedResponse(NamedTuple):
    """A response head that passed.

    ``keep_alive`` says whether the upstream connection may carry another request afterwards;
    ``forward`` is what the agent gets, in the order and case it came in; ``reason`` is the phrase, or
    nothing if it was not printable; ``stripped`` names, in lower case, what is worth recording.
    """

    framing: Framing
    keep_alive: bool
    forward: Headers
    reason: bytes
    stripped: tuple[str, ...]


def _bad(why: str) -> Refusal:
    return Refusal(Code.UPSTREAM_PROTOCOL, why)


def _tidy(headers: Headers) -> Headers:
    return tuple([(name, value.strip(b" \t")) for name, value in headers])


def _bodyless(status: int, method: str) -> bool:
    return method == "HEAD" or status < 200 or status in (NO_CONTENT, NOT_MODIFIED)  # noqa: PLR2004 - 1xx


def _framing(head: ResponseHead, fields: Index, method: str) -> Framing | Refusal:
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    if codings and lengths:
        return _bad("both Content-Length and Transfer-Encoding")
    octets = None if lengths is None else content_length(lengths)
    if lengths and octets is None:
        return _bad("Content-Length is not one decimal number")
    if codings and (head.version == "1.0" or len(codings) != 1 or codings[0].lower() != b"chunked"):
        return _bad("the only Transfer-Encoding is chunked, in HTTP/1.1")
    if _bodyless(head.status, method):
        # HEAD and 304 describe a body that is elsewhere; 1xx and 204 cannot have one at all.
        elsewhere = method == "HEAD" or head.status == NOT_MODIFIED
        if not elsewhere and (codings or octets):
            return _bad(f"a {head.status} answer announces a body")
        return NoBody()
    if codings:
        return Chunked()
    return UntilClose() if octets is None else Length(octets)


def _switches(head: ResponseHead, fields: Index, upgrade: str) -> Refusal | None:
    if head.status != SWITCHING:
        return None
    if not upgrade:
        return _bad("101 without having been asked to switch")
    protocols = members(fields.get(b"upgrade", ()))
    if protocols != [upgrade.encode("ascii")] or b"upgrade" not in members(fields.get(b"connection", ())):
        return _bad("101 to another protocol than was asked for")
    return None


def _forward(
    head: ResponseHead, options: list[bytes], framing: Framing, method: str
) -> tuple[Headers, tuple[str, ...]]:
    describes = isinstance(framing, Length) or method == "HEAD" or head.status == NOT_MODIFIED
    again = {b"connection", b"upgrade"} if head.status == SWITCHING else set()
    keep: list[Header] = []
    stripped: list[str] = []
    for name, value in head.headers:
        low = name.lower()
        if low in again:
            again.discard(low)
            keep.append((name, b"Upgrade" if low == b"connection" else value))
        elif low == b"content-length" and describes:
            keep.append((name, b"%d" % int(value)))
        elif low == b"transfer-encoding" and isinstance(framing, Chunked):
            keep.append((name, b"chunked"))
        elif low in _DROPPED or low.startswith(b"proxy-") or (low in options and low not in PROTECTED):
            if low == b"alt-svc" or low.startswith(b"proxy-"):
                stripped.append(low.decode("ascii"))
        else:
            keep.append((name, value))
    return tuple(keep), tuple(stripped)


def guard_response(
    head: ResponseHead,
    method: str,
    upgrade: str = "",
    *,
    max_headers: int = 200,
    max_line: int = 32768,
) -> GuardedResponse | Refusal:
    """Hold a response head against the rules of this file; never raises.

    ``method`` is the request's; ``upgrade`` is what the request asked to switch to, or ``""``;
    ``max_line`` is in octets of one field's name and value together.
    """
    if head.version not in ("1.0", "1.1") or not 100 <= head.status <= 599:  # noqa: PLR2004 - RFC 9110, 15
        return _bad("the status line is not one of HTTP/1.0 or HTTP/1.1")
    head = ResponseHead(head.status, head.reason, head.version, _tidy(head.headers))
    found = field.fault(head.headers, max_headers, max_line)
    if found is not None:
        return _bad(found[1])
    fields = index(head.headers)
    framing = _framing(head, fields, method)
    if isinstance(framing, Refusal):
        return framing
    refusal = _switches(head, fields, upgrade)
    if refusal is not None:
        return refusal
    options = members(fields.get(b"connection", ()))
    forward, stripped = _forward(head, options, framing, method)
    persists = wants_keep_alive(head.version, options)
    keep_alive = persists and head.status != SWITCHING and framing != UntilClose()
    reason = head.reason if field.VALUE.fullmatch(head.reason) else b""
    return GuardedResponse(framing, keep_alive, forward, reason, stripped)
