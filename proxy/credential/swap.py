"""Swapping a placeholder for its credential: first a plan, which may refuse, then its execution.

Numbered like the checks of ``plan``: (1) find every placeholder in the head, in every spelling a server
would undo once; (2) none: the call goes without a credential, several: refuse; (3) it is one of ours;
(4) it belongs to this task; (5) it belongs to the service at this origin, which is the origin that is
dialled, not what a header claims; (6) it stands in the declared surface and is the whole of it.

Nothing is decoded twice, nothing is replaced in part, and a refusal names the place, never the
placeholder. This is the only file that sees a credential's value.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from proxy.credential.binding import (
    BasicSurface,
    Binding,
    HeaderSurface,
    Place,
    QuerySurface,
    Surface,
    places,
)
from proxy.credential.placeholder import PREFIX, Holding, find, redact
from proxy.credential.secret import Secret
from proxy.errors import Code, Refusal
from proxy.http.canonical import Target
from proxy.http.message import Headers, values

_BASIC = re.compile(rb"basic[ \t]+", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_AUTHORIZATION = b"authorization"
_NOWHERE = Refusal(Code.PLACEHOLDER_SURFACE, "the placeholder is not in its place")


@dataclass(frozen=True, slots=True)
class NoSwap:
    """There is no placeholder in the request: it goes without a credential."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One placeholder in its declared place, which ``surface`` names for records, of what it was made for."""

    holding: Holding
    binding: Binding
    surface: str
    placeholder: bytes = field(repr=False)
    place: Place = field(repr=False)
    made_for: tuple[Headers, Target] = field(repr=False)


class _Sighting(NamedTuple):
    place: str
    placeholder: bytes


class _Pair(NamedTuple):
    """One parameter of a query, raw, and its name and value decoded once."""

    raw: str
    name: bytes
    value: bytes


def _pairs(query: str | None) -> list[_Pair]:
    """The parameters, split before they are decoded: an encoded ``=`` or ``&`` is data."""
    pairs = []
    for piece in (query or "").split("&"):
        name, _, value = piece.replace("+", " ").partition("=")
        pairs.append(_Pair(piece, unquote_to_bytes(name), unquote_to_bytes(value)))
    return pairs


def _lenient_basic(value: bytes) -> bytes:
    """What the most careless server would decode from a Basic credential; b"" if it is none."""
    scheme = _BASIC.match(value)
    if scheme is None:
        return b""
    digits = _NOT_BASE64.sub(b"", value[scheme.end() :].replace(b"-", b"+").replace(b"_", b"/"))
    whole = digits[: len(digits) - 1] if len(digits) % 4 == 1 else digits
    return b64decode(whole + b"=" * (-len(whole) % 4))


def _in_headers(headers: Headers) -> Iterator[_Sighting]:
    for name, value in headers:
        if PREFIX in name:
            yield from (_Sighting("a header name", found) for found in find(name))
        basic = _lenient_basic(value)
        if PREFIX not in value and b"%" not in value and not basic:
            continue
        shown = name.decode("latin-1").lower()
        for text in (unquote_to_bytes(value), unquote_to_bytes(basic)):
            yield from (_Sighting(f"header {shown}", found) for found in find(text))


def _in_target(target: Target) -> Iterator[_Sighting]:
    whole = target.request_target
    if PREFIX not in whole and b"%" not in whole:
        return
    path = unquote_to_bytes(target.path.text)
    yield from (_Sighting("the path", found) for found in find(path))
    for pair in _pairs(target.query):
        yield from (_Sighting("a query parameter's name", found) for found in find(pair.name))
        shown = f"query {redact(pair.name.decode('utf-8', 'replace'))}"
        yield from (_Sighting(shown, found) for found in find(pair.value))


def _sightings(headers: Headers, target: Target) -> list[_Sighting]:
    parts = [part for header in headers for part in header]
    parts.append(target.request_target)
    blob = b"\n".join(parts)
    # Most requests hold none of the three, and this is all they pay for.
    if PREFIX not in blob and b"%" not in blob and b"basic" not in blob.lower():
        return []
    return [*_in_headers(headers), *_in_target(target)]


# -- looking whether it is where it belongs --


def _basic_halves(value: bytes) -> tuple[bytes, bytes] | None:
    """User name and password of a well-formed Basic credential (RFC 7617), or None."""
    scheme = _BASIC.match(value)
    if scheme is None:
        return None
    try:
        username, colon, password = b64decode(value[scheme.end() :], validate=True).partition(b":")
    except Base64Error:
        return None
    return (username, password) if colon else None


def _header_is(value: bytes, surface: HeaderSurface, placeholder: bytes) -> bool:
    before, after = surface.around
    at = len(before)  # the scheme of an Authorization header has no case (RFC 9110, 11.1); all else has
    return value[at:] == placeholder + after and value[:at].lower() == before.lower()


def _declared(
    surface: Surface, headers: Headers, target: Target, placeholder: bytes
) -> Refusal | tuple[Place, str]:
    """The declared place that ``placeholder`` is the whole of, and its name."""
    refusal = _NOWHERE
    for place in places(surface):
        name = _whole(place, headers, target, placeholder)
        if not isinstance(name, Refusal):
            return place, name
        refusal = name if name.code is Code.PLACEHOLDER_AMBIGUOUS else refusal
    return refusal


def _whole(surface: Place, headers: Headers, target: Target, placeholder: bytes) -> Refusal | str:
    """The place's name if ``placeholder`` is the whole of it."""
    match surface:
        case QuerySurface(parameter):
            wanted, place = parameter.encode("utf-8"), f"query {parameter}"
            found = [pair.value for pair in _pairs(target.query) if pair.name == wanted]
            fits = placeholder in found
        case HeaderSurface(header):
            place, found = f"header {header.lower()}", values(headers, header.lower().encode("ascii"))
            fits = any(_header_is(value, surface, placeholder) for value in found)
        case BasicSurface(_, where):
            place, found = f"header authorization, the {where} of Basic", values(headers, _AUTHORIZATION)
            half = 0 if where == "username" else 1
            halves = [_basic_halves(value) for value in found]
            fits = any(pair is not None and pair[half] == placeholder for pair in halves)
    if not fits:
        return _NOWHERE
    if len(found) > 1:
        return Refusal(Code.PLACEHOLDER_AMBIGUOUS, f"{place} is there {len(found)} times")
    return place


def plan(
    headers: Headers,
    target: Target,
    *,
    service_name: str | None,
    binding: Binding | None,
    task_id: str,
    holding: Callable[[bytes], Holding | None],
) -> Plan | NoSwap | Refusal:
    """Decide what is to be swapped in a request of task ``task_id``. Never raises.

    ``service_name`` and ``binding`` are those of the service at the request's origin, if there is one.
    """
    found = _sightings(headers, target)
    # (2): none, or exactly one.
    if not found:
        return NoSwap()
    if len(found) > 1:
        where = ", ".join(dict.fromkeys(_safe(sighting.place) for sighting in found))
        return Refusal(Code.PLACEHOLDER_AMBIGUOUS, f"{len(found)} placeholders in one request: {where}")
    place, placeholder = _safe(found[0].place), found[0].placeholder
    # (3): it is one of ours.
    held = holding(placeholder)
    if held is None:
        return Refusal(Code.PLACEHOLDER_UNKNOWN, f"the placeholder in {place} is not known here")
    # (4): it belongs to this task.
    if held.task_id != task_id:
        return Refusal(Code.PLACEHOLDER_TASK_MISMATCH, f"the placeholder in {place} belongs to another task")
    # (5): it belongs to the service at this origin.
    if binding is None or held.service != service_name or binding.service != service_name:
        return Refusal(
            Code.PLACEHOLDER_HOST_MISMATCH,
            f"the placeholder in {place} is for {held.service}, and {target.origin} is not a host of it",
        )
    # (6): it is the whole of the declared surface.
    declared = _declared(binding.surface, headers, target, placeholder)
    if not isinstance(declared, Refusal):
        return Plan(held, binding, declared[1], placeholder, declared[0], (headers, target))
    if declared.code is Code.PLACEHOLDER_AMBIGUOUS:
        return declared
    shapes = " or ".join(map(_shape, places(binding.surface)))
    words = f"the placeholder is in {place}; {held.service} takes it as the whole of {shapes}"
    return Refusal(Code.PLACEHOLDER_SURFACE, words)


def _safe(place: str) -> str:
    """A place for people: what an agent wrote into a name is cut and made printable."""
    return place[:80] if place.isprintable() else "".join(c if c.isprintable() else "?" for c in place)[:80]


def _shape(surface: Place) -> str:
    match surface:
        case HeaderSurface(header, form):
            return f"'{header}: {form.replace('{secret}', 'PLACEHOLDER')}'"
        case BasicSurface(_, where):
            return f"the {where} of 'Authorization: Basic'"
        case QuerySurface(parameter):
            return f"the query parameter {parameter}"


# -- execution --


def _unfit(secret: Secret, why: str) -> Refusal:
    return Refusal(Code.CREDENTIAL_UNAVAILABLE, f"the credential {secret.name} {why}")


def _put(headers: Headers, name: bytes, value: bytes) -> Headers:
    return tuple([(key, value if key.lower() == name else old) for key, old in headers])


def _visible(value: bytes) -> bool:
    """Whether a header can carry it unchanged (RFC 9110, 5.5)."""
    return value.strip(b" \t") == value and _CONTROL.search(value) is None


def _swap_query(query: str, parameter: str, placeholder: bytes, value: bytes) -> str:
    wanted = (parameter.encode("utf-8"), placeholder)
    new = quote_from_bytes(value, safe="")
    return "&".join(
        f"{pair.raw.partition('=')[0]}={new}" if (pair.name, pair.value) == wanted else pair.raw
        for pair in _pairs(query)
    )


def apply(plan: Plan, secret: Secret, headers: Headers, target: Target) -> tuple[Headers, bytes] | Refusal:
    """Put the credential where the placeholder stood: the headers and the request target to send.

    Order, case and everything else stay. CREDENTIAL_UNAVAILABLE if the value cannot be sent in this
    surface; PLACEHOLDER_SURFACE if ``headers`` or ``target`` are not those of the plan.
    """
    declared: Refusal | tuple[Place, str] = plan.place, plan.surface
    if plan.made_for[0] is not headers or plan.made_for[1] is not target:
        declared = _declared(plan.binding.surface, headers, target, plan.placeholder)
    if isinstance(declared, Refusal):
        return Refusal(declared.code, "the request changed between its plan and its swap")
    value, surface = secret.reveal(), declared[0]
    match surface:
        case QuerySurface(parameter):
            query = _swap_query(target.query or "", parameter, plan.placeholder, value)
            return headers, f"{target.path.text}?{query}".encode("ascii")
        case HeaderSurface(header):
            before, after = surface.around
            name = header.lower().encode("ascii")
            new = before + value + after
        case BasicSurface(fixed, where):
            name = _AUTHORIZATION
            username, password = _basic_halves(values(headers, name)[0]) or (b"", b"")
            if where == "username":
                username = value
            else:
                username, password = fixed.encode("utf-8") if fixed is not None else username, value
            if b":" in username:
                return _unfit(secret, "has a colon and cannot be a user name")
            new = b"Basic " + b64encode(username + b":" + password)
    if not _visible(value) and not isinstance(surface, BasicSurface):
        return _unfit(secret, "holds octets that a header cannot carry")
    return _put(headers, name, new), target.request_target
