"""Obligations (XACML): what has to be done with a call that is allowed, on the word of its permits.

They are annotations of a permit; all permits that determine a decision are heard, and their obligations
add up. An obligation that cannot be met refuses the call (OBLIGATION_UNMET).

Fields are named by JSON Pointers (RFC 6901) in which ``*`` is every member of an array or an object; one
that is not there is nothing to do. What both drops and redacts is dropped.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from proxy.errors import Code, Refusal
from proxy.http.message import Headers, first
from proxy.http.names import dashed
from proxy.policy.media import kind_of
from proxy.policy.spelling import lookalike

REDACTED = "[redacted]"
_ANY = "*"

Pointer = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Obligations:
    """Header names are lower case. A field is a JSON Pointer (RFC 6901) in which ``*`` is every member.

    ``max_response`` is in octets of the answer's content. ``interception``: gatepass has to be able to
    read the call to its end, so it may not become a WebSocket.
    """

    drop_headers: frozenset[str] = frozenset()
    redact_headers: frozenset[str] = frozenset()
    drop_fields: frozenset[str] = frozenset()
    redact_fields: frozenset[str] = frozenset()
    max_response: int | None = None
    interception: bool = False

    @property
    def content(self) -> bool:
        """Whether the content has to be read and changed."""
        return bool(self.drop_fields or self.redact_fields)


NO_OBLIGATIONS = Obligations()


def combine(obligations: Iterable[Obligations]) -> Obligations:
    """All of them together: the union of what is dropped and redacted, the smallest answer.

    Nothing combined is nothing to do; order and repetition do not matter.
    """
    every = [duty for duty in obligations if duty != NO_OBLIGATIONS]
    if not every:
        return NO_OBLIGATIONS
    sizes = [duty.max_response for duty in every if duty.max_response is not None]
    return Obligations(
        drop_headers=frozenset().union(*(duty.drop_headers for duty in every)),
        redact_headers=frozenset().union(*(duty.redact_headers for duty in every)),
        drop_fields=frozenset().union(*(duty.drop_fields for duty in every)),
        redact_fields=frozenset().union(*(duty.redact_fields for duty in every)),
        max_response=min(sizes, default=None),
        interception=any(duty.interception for duty in every),
    )


def apply_headers(obligations: Obligations, headers: Headers) -> Headers:
    """The headers that may leave, in order: dropped ones are gone, redacted ones say ``[redacted]``.

    ``X_Debug`` goes where ``x-debug`` does: many an API takes them for the same field.
    """
    drop = {dashed(name.encode("ascii")) for name in obligations.drop_headers}
    redact = {dashed(name.encode("ascii")) for name in obligations.redact_headers}
    if not drop and not redact:
        return headers
    kept = ((name, value) for name, value in headers if dashed(name.lower()) not in drop)
    return tuple(
        (name, REDACTED.encode("ascii") if dashed(name.lower()) in redact else value) for name, value in kept
    )


def parse_pointer(text: str) -> Pointer:
    """The members that a JSON Pointer (RFC 6901, section 3) names, outermost first; ``*`` is every member.

    :raises ValueError: if it is not one, or names the whole document.
    """
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON Pointer, such as /user/email or /messages/*/name")
    tokens = text[1:].split("/")
    if any("~" in token.replace("~0", "").replace("~1", "") for token in tokens):
        raise ValueError(f"{text!r}: in a JSON Pointer a tilde is written ~0, a slash inside a name ~1")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in tokens)


class _Dropped:
    """Takes the place of a field that is dropped."""


_DROPPED = _Dropped()


def _edit(value: object, drop: list[Pointer], redact: list[Pointer]) -> object:
    """``value`` without what the pointers name; each is relative to ``value``."""
    if () in drop:
        return _DROPPED
    if () in redact:
        return REDACTED
    if not drop and not redact:
        return value
    if isinstance(value, dict):
        _unmistakable(value, [*drop, *redact])
        edited = ((key, _edit(item, _below(drop, key), _below(redact, key))) for key, item in value.items())
        return {key: item for key, item in edited if item is not _DROPPED}
    if isinstance(value, list):
        items = (
            _edit(item, _below(drop, str(index)), _below(redact, str(index)))
            for index, item in enumerate(value)
        )
        return [item for item in items if item is not _DROPPED]
    return value


def _below(pointers: list[Pointer], token: str) -> list[Pointer]:
    return [pointer[1:] for pointer in pointers if pointer and pointer[0] in (token, _ANY)]


def _unmistakable(names: Iterable[str], pointers: list[Pointer]) -> None:
    """Only exactly what a pointer names is found by it.

    :raises ValueError: if a name could be taken for it by a lax reader: a case, ``a.b`` for b within a.
    """
    known = {pointer[0] for pointer in pointers if pointer[0] != _ANY}
    nested = {
        ".".join(pointer[:length]).casefold() for pointer in pointers for length in range(2, len(pointer) + 1)
    }
    refusal = lookalike(names, known)
    if refusal is not None or any(name.casefold() in nested for name in names):
        raise ValueError("a name can be taken for one that is dropped or redacted")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _number(text: str) -> float:
    """A number that is sent again as exactly the same one, or none."""
    number = float(text)
    if Decimal(repr(number)) != Decimal(text):
        raise ValueError("a number that is too long to be sent again")
    return number


def _constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _unmet(why: str) -> Refusal:
    return Refusal(Code.OBLIGATION_UNMET, f"a rule drops or redacts fields of the content, and {why}")


def changeable(headers: Headers) -> Refusal | None:
    """Why the content could not be changed, if it says that it is no JSON: then the API reads it otherwise.

    ``{"a":"&user[email]=x&"}`` is JSON, and a form. OBLIGATION_UNMET.
    """
    own = (first(headers, b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")
    kind = kind_of(headers, (own,) if own.endswith("+json") else ("application/json",))
    return _unmet(kind.detail) if isinstance(kind, Refusal) else None


def apply_content(obligations: Obligations, body: bytes) -> bytes | Refusal:
    """The content that may leave: JSON (RFC 8259) without the fields that are dropped or redacted.

    No content stays none. OBLIGATION_UNMET if it is not JSON with exactly one reading: duplicate names,
    numbers that would change on the way, what no other parser would accept. Never raises.
    """
    if not obligations.content or not body:
        return body
    drop = [parse_pointer(text) for text in obligations.drop_fields]
    redact = [parse_pointer(text) for text in obligations.redact_fields]
    try:
        text = body.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)
        edited = _edit(value, drop, redact)
        written = json.dumps(edited, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return written.encode("utf-8")
    except (ValueError, ArithmeticError, RecursionError):
        return _unmet("it is not JSON that can be read in exactly one way")
