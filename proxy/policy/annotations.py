"""The annotations of a policy: its name, what people are told, and what its permit obliges gatepass to.

``@id``, ``@reason``, ``@owner`` and ``@advice`` stand at any policy; ``@drop_headers``,
``@redact_headers``, ``@drop_fields``, ``@redact_fields``, ``@max_response`` and ``@require`` at permits
only. Any other is an error: a typing error in an obligation would silently let through what it was to stop.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from proxy.policy.obligation import Obligations, combine, parse_pointer

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_SIZE = re.compile(r"([1-9][0-9]{0,12})(B|KiB|MiB|GiB)?")
_UNIT = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_MAX_WORDS = 500
_WORDS = ("reason", "owner", "advice")

FRAMING = frozenset(
    {
        *("host", "content-length", "content-encoding", "content-type", "transfer-encoding", "te", "trailer"),
        *("connection", "keep-alive", "proxy-connection", "upgrade", "expect"),
    }
)
"""Headers that say where a message goes, where it ends and how it is read; they stay as they are."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What a policy's annotations say. ``reason``, ``owner`` and ``advice`` are "" if they are missing."""

    id: str
    reason: str
    owner: str
    advice: str
    obligations: Obligations


def _items(text: str) -> list[str]:
    """A list separated by commas.

    :raises ValueError: if it has no members, or an empty one.
    """
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ValueError("a list separated by commas, without empty members")
    return items


def _headers(text: str) -> frozenset[str]:
    names = frozenset(name.lower() for name in _items(text))
    for name in sorted(names):
        if _HEADER.fullmatch(name) is None:
            raise ValueError(f"{name!r} is not the name of a header")
        if name in FRAMING:
            raise ValueError(f"{name} is needed to send the message, so it cannot be changed")
    return names


def _fields(text: str) -> frozenset[str]:
    pointers = frozenset(_items(text))
    for pointer in sorted(pointers):
        parse_pointer(pointer)
    return pointers


def _octets(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError('a size such as "1048576", "64KiB" or "1MiB"')
    return int(match[1]) * _UNIT[match[2] or ""]


def _interception(text: str) -> bool:
    if text != "interception":
        raise ValueError('the one thing that can be required is "interception"')
    return True


_READ: Mapping[str, Callable[[str], Obligations]] = {
    "drop_headers": lambda text: Obligations(drop_headers=_headers(text)),
    "redact_headers": lambda text: Obligations(redact_headers=_headers(text)),
    "drop_fields": lambda text: Obligations(drop_fields=_fields(text)),
    "redact_fields": lambda text: Obligations(redact_fields=_fields(text)),
    "max_response": lambda text: Obligations(max_response=_octets(text)),
    "require": lambda text: Obligations(interception=_interception(text)),
}
KNOWN = ("id", *_WORDS, *_READ)


def _unknown(name: str) -> str:
    near = get_close_matches(name, KNOWN, 1)
    hint = f"did you mean @{near[0]}?" if near else f"known are {', '.join(KNOWN)}"
    return f"the annotation @{name} is not known; {hint}"


def _wrong(texts: Mapping[str, str], effect: str) -> str | None:
    """What is wrong with the annotations as a whole, or with their words."""
    for name in texts:
        if name not in KNOWN:
            return _unknown(name)
        if name in _READ and effect != "permit":
            return f"@{name} stands at a {effect}: only what is permitted can be obliged to something"
    if not texts.get("id"):
        return 'a policy needs a name: @id("...")'
    if _ID.fullmatch(texts["id"]) is None:
        return f"@id {texts['id']!r}: letters, digits, dots, colons, hyphens and underscores only"
    for name in _WORDS:
        text = texts.get(name, "")
        if not text.isprintable() or len(text) > _MAX_WORDS:
            return f"@{name} is one line of at most {_MAX_WORDS} characters"
    return None


def parse_annotations(texts: Mapping[str, str], effect: str) -> Notes | str:
    """Read the annotations of a policy with this effect; or what is wrong with them, in words."""
    wrong = _wrong(texts, effect)
    if wrong is not None:
        return wrong
    duties = []
    for name, text in texts.items():
        try:
            duties += [_READ[name](text)] if name in _READ else []
        except ValueError as error:
            return f"@{name}: {error}"
    reason, owner, advice = (texts.get(name, "") for name in _WORDS)
    return Notes(texts["id"], reason, owner, advice, combine(duties))
