"""The path of a request in its one canonical form (RFC 3986, 6.2.2, and RFC 3629).

Decoded once and never twice: percent-encoded unreserved characters become themselves, other
triplets get upper-case digits, dot segments go away. An empty segment stays. What upstream servers
are known to read in two ways is refused: encoded slashes and backslashes, encoded controls, bytes
that are not UTF-8, and dot segments dressed up with parameters (``/..;x/``).
"""

import re
from dataclasses import InitVar, dataclass
from urllib.parse import unquote_to_bytes

from proxy.errors import Code, Refusal

_SEAL = object()
# A path of pchar (RFC 3986) without "%" in which no segment starts with a dot: canonical as it is.
_PLAIN = re.compile(rb"(?:/(?:[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)?)+")
_ALIEN = re.compile(r'["<>\[\]^`{|}]')
_RAW = re.compile(rb"/[!-~]*")
_TRIPLET = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DOTS = frozenset({".", ".."})


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that was normalised, for the record: the rule, the text before, the text after."""

    rule: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class CanonicalPath:
    """A canonical absolute path, ASCII, as it is sent; only ``parse_path`` makes one.

    ``text`` starts with ``/``; for ``OPTIONS *`` it is ``*``.

    :raises TypeError: if constructed by anybody but this module.
    """

    text: str
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a CanonicalPath is made by parse_path only")

    def __str__(self) -> str:
        return self.text


ASTERISK = CanonicalPath("*", _SEAL)
ROOT = CanonicalPath("/", _SEAL)


def _refuse(why: str) -> Refusal:
    return Refusal(Code.TARGET_MALFORMED, f"the path {why}")


def _triplet(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _UNRESERVED else match[0].upper()


def _decode(text: str, *, encoded_slash: bool) -> str | Refusal:
    """Step 1: percent-encoding. Every octet is judged as an upstream server would decode it, once."""
    if _BROKEN.search(text):
        return _refuse("has a percent sign without two hexadecimal digits")
    octets = unquote_to_bytes(text)
    if _CONTROL.search(octets):
        return _refuse("has an encoded control character")
    if b"\\" in octets:
        return _refuse("has a backslash, plain or encoded")
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return _refuse("has percent-encoded octets that are not UTF-8")
    decoded = _TRIPLET.sub(_triplet, text)
    if "%2F" in decoded and not encoded_slash:
        return _refuse("has an encoded slash")
    return decoded


def _remove_dots(text: str) -> str | Refusal:
    """Step 2: RFC 3986, 5.2.4, segment by segment; an empty segment is a segment."""
    out: list[str] = []
    segments = text.split("/")[1:]
    for segment in segments:
        parts = segment.split("%2F")
        if segment not in _DOTS and any(part.partition(";")[0] in _DOTS for part in parts):
            return _refuse("hides a dot segment behind a parameter or an encoded slash")
        if segment == "..":
            del out[-1:]
        elif segment != ".":
            out.append(segment)
    if segments[-1] in _DOTS:
        out.append("")
    return "/" + "/".join(out)


def canonical_path(
    raw: bytes, *, encoded_slash: bool = False
) -> tuple[CanonicalPath, tuple[Note, ...]] | Refusal:
    """Read an absolute path and say what was normalised.

    ``encoded_slash`` lets ``%2F`` through, undecoded, for services that name things so (npm scopes,
    GitLab projects). Refuses with TARGET_MALFORMED; never raises.
    """
    if _PLAIN.fullmatch(raw):
        return CanonicalPath(raw.decode("ascii"), _SEAL), ()
    if _RAW.fullmatch(raw) is None or b"#" in raw or b"?" in raw:
        return _refuse("is not absolute, or has a space, a control, a fragment or a raw non-ASCII octet")
    text = raw.decode("ascii")
    notes: list[Note] = []
    decoded = _decode(text, encoded_slash=encoded_slash)
    if isinstance(decoded, Refusal):
        return decoded
    decoded = _ALIEN.sub(lambda match: f"%{ord(match[0]):02X}", decoded)
    if decoded != text:
        notes.append(Note("path_percent", text, decoded))
    dotless = _remove_dots(decoded)
    if isinstance(dotless, Refusal):
        return dotless
    if dotless != decoded:
        notes.append(Note("path_dot_segments", decoded, dotless))
    return CanonicalPath(dotless, _SEAL), tuple(notes)


def parse_path(raw: bytes, *, encoded_slash: bool = False) -> CanonicalPath | Refusal:
    """Read an absolute path; see ``canonical_path``."""
    result = canonical_path(raw, encoded_slash=encoded_slash)
    return result if isinstance(result, Refusal) else result[0]
