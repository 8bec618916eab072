"""Request targets and what they have to agree with (RFC 9112, 3.2 and 3.3; RFC 3986).

A proxy is sent absolute-form; inside a tunnel it is sent origin-form, or absolute-form that names
the tunnel's own origin. The Host header names the same origin, always: where RFC 9112 lets a proxy
ignore Host, gatepass refuses, because two names for one request is how requests are smuggled.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from proxy.errors import Code, Refusal
from proxy.http.host import DEFAULT_PORT, Host, Origin, parse_authority
from proxy.http.path import ASTERISK, CanonicalPath, Note, canonical_path

_VISIBLE = re.compile(rb"[!-~]+")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(/[^?]*)?(?:\?(.*))?")
_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*):(.*)")
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes, in canonical form, and what was normalised on the way.

    ``query`` is verbatim, without its question mark; None if there was no question mark. The rules
    in ``notes`` are ``scheme_case``, ``host``, ``default_port``, ``path_empty``, ``path_percent`` and
    ``path_dot_segments``.
    """

    origin: Origin
    path: CanonicalPath
    query: str | None
    notes: tuple[Note, ...]

    @property
    def request_target(self) -> bytes:
        """The origin-form (or ``*``) to send upstream."""
        text = self.path.text if self.query is None else f"{self.path.text}?{self.query}"
        return text.encode("ascii")

    def __str__(self) -> str:
        return f"{self.origin}{self.request_target.decode('ascii')}"


def _refuse(why: str) -> Refusal:
    return Refusal(Code.TARGET_MALFORMED, why)


def _agrees(origin: Origin, hosts: Sequence[bytes], version: str) -> Refusal | None:
    """One Host header (none is fine in HTTP/1.0), and it names ``origin``."""
    if len(hosts) != 1:
        if version == "1.0" and not hosts:
            return None
        return Refusal(Code.MALFORMED, f"{len(hosts)} Host headers; exactly one is needed")
    parsed = parse_authority(hosts[0])
    if isinstance(parsed, Refusal):
        return parsed
    host, port = parsed
    if host != origin.host or (port or DEFAULT_PORT[origin.scheme]) != origin.port:
        return Refusal(Code.AUTHORITY_MISMATCH, f"the Host header does not name {origin.authority}")
    return None


def _without_origin(raw: bytes) -> Refusal:
    """Why ``raw`` is no absolute-form of a scheme we relay."""
    match = _SCHEME.fullmatch(raw)
    if match and match[1].lower() not in (b"http", b"https") and not match[2].isdigit():
        return Refusal(Code.SCHEME_UNSUPPORTED, "the scheme of the URL is neither http nor https")
    return _refuse("the target is neither a URL nor a path")


def _absolute_origin(scheme: bytes, authority: bytes) -> tuple[Origin, list[Note]] | Refusal:
    parsed = parse_authority(authority)
    if isinstance(parsed, Refusal):
        return parsed
    notes: list[Note] = []
    host, port = parsed
    name = scheme.decode("ascii")
    if name != name.lower():
        notes.append(Note("scheme_case", name, name.lower()))
    origin = Origin(name.lower(), host, port or DEFAULT_PORT[name.lower()])
    sent = authority.decode("ascii")
    spelled = sent if port is None else sent.rpartition(":")[0]
    if spelled != host.bracketed:
        notes.append(Note("host", spelled, host.bracketed))
    if port == DEFAULT_PORT[origin.scheme]:
        notes.append(Note("default_port", f":{port}", ""))
    return origin, notes


def _origin_form(
    raw: bytes, origin: Origin, notes: Sequence[Note], *, encoded_slash: bool
) -> Target | Refusal:
    path, mark, query = raw.partition(b"?")
    result = canonical_path(path, encoded_slash=encoded_slash)
    if isinstance(result, Refusal):
        return result
    canonical, more = result
    return Target(origin, canonical, query.decode("ascii") if mark else None, (*notes, *more))


def _absolute_form(method: str, raw: bytes, *, encoded_slash: bool) -> Target | Refusal:
    match = _ABSOLUTE.fullmatch(raw)
    if match is None or match[1].lower() not in (b"http", b"https"):
        return _without_origin(raw)
    scheme, authority, path, query = match.groups()
    result = _absolute_origin(scheme, authority)
    if isinstance(result, Refusal):
        return result
    origin, notes = result
    if path is None:
        # RFC 9112, 3.2.4: OPTIONS for a URL without path and query is about the whole server.
        whole = method == "OPTIONS" and query is None
        notes.append(Note("path_empty", "", "*" if whole else "/"))
        if whole:
            return Target(origin, ASTERISK, None, tuple(notes))
    rest = (path or b"/") + (b"" if query is None else b"?" + query)
    return _origin_form(rest, origin, notes, encoded_slash=encoded_slash)


def parse_target(
    method: str,
    raw: bytes,
    *,
    tunnel: Origin | None,
    hosts: Sequence[bytes],
    version: str,
    encoded_slash: bool = False,
) -> Target | Refusal:
    """Read the target of any request but CONNECT, together with its Host headers.

    ``tunnel`` is the origin of the tunnel (or of the intercepted connection) the request came
    through, None on a plain proxy connection; ``hosts`` are the values of all Host headers;
    ``version`` is ``"1.0"`` or ``"1.1"``; for ``encoded_slash`` see ``canonical_path``. Never raises.
    """
    # (1): nothing but visible ASCII, no fragment; a backslash is data in the query only.
    if _VISIBLE.fullmatch(raw) is None or b"#" in raw:
        return _refuse("the target is empty or has a space, a control, a fragment or a raw non-ASCII octet")
    if b"\\" in raw.partition(b"?")[0]:
        return _refuse("the target has a backslash")
    # (2): the form that belongs to this connection.
    target: Target | Refusal
    if raw == b"*" or raw.startswith(b"/"):
        if tunnel is None:
            return _refuse("this is a proxy: send the whole URL (GET http://host/path), or CONNECT first")
        if raw == b"*":
            if method != "OPTIONS":
                return _refuse("only OPTIONS may have the target *")
            target = Target(tunnel, ASTERISK, None, ())
        else:
            target = _origin_form(raw, tunnel, (), encoded_slash=encoded_slash)
    else:
        target = _absolute_form(method, raw, encoded_slash=encoded_slash)
    if isinstance(target, Refusal):
        return target
    # (3): everything that names an origin names the same one.
    if tunnel is not None and target.origin != tunnel:
        return Refusal(Code.AUTHORITY_MISMATCH, f"the URL does not name {tunnel}, where the tunnel leads")
    return _agrees(target.origin, hosts, version) or target


def parse_connect(raw: bytes, hosts: Sequence[bytes] = ()) -> tuple[Host, int] | Refusal:
    """Read the target of CONNECT (authority-form): a host and a port, both mandatory.

    ``hosts`` are the values of its Host headers: there may be none; if there is one it names the
    same host, and the same port if it names any, because clients leave it out at random.
    """
    if b"/" in raw or b"?" in raw or b"#" in raw:
        return _refuse("CONNECT takes host:port and nothing else")
    parsed = parse_authority(raw)
    if isinstance(parsed, Refusal):
        return parsed
    host, port = parsed
    if port is None:
        return _refuse("CONNECT needs a port")
    if len(hosts) > 1:
        return Refusal(Code.MALFORMED, f"{len(hosts)} Host headers; at most one is needed")
    for value in hosts:
        named = parse_authority(value)
        if isinstance(named, Refusal):
            return named
        if named[0] != host or named[1] not in (None, port):
            return Refusal(Code.AUTHORITY_MISMATCH, f"the Host header does not name {host}:{port}")
    return host, port


def _component(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")


def query_pairs(query: str | None) -> tuple[tuple[str, str], ...] | Refusal:
    """The names and values of a query, decoded once as a form is (``&``, ``=``, ``+``, UTF-8).

    Refuses with TARGET_MALFORMED what does not decode; no query has no pairs. Names may repeat.
    """
    if not query:
        return ()
    if _BROKEN.search(query):
        return _refuse("the query has a percent sign without two hexadecimal digits")
    pieces = (piece.partition("=") for piece in query.split("&") if piece)
    try:
        return tuple((_component(name), _component(value)) for name, _, value in pieces)
    except UnicodeDecodeError:
        return _refuse("the query has percent-encoded octets that are not UTF-8")
