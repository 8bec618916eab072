"""What a request does: the operation of a service, by method and path template (RFC 9110, section 9).

A template is matched against the segments of the canonical path, so that what is encoded inside a
segment stays inside it. ``{name}`` is exactly one segment that is not empty, ``{name*}`` at the end is
one or more of any kind. What no template matches falls into the group of its method.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from proxy.errors import Refusal
from proxy.http.canonical import parse_path
from proxy.policy.fact import Condition, Dialect, FactField, Selector


class Group(StrEnum):
    """The four groups of actions that rules can name."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"


OF_METHOD = {
    "GET": Group.READ,
    "HEAD": Group.READ,
    "OPTIONS": Group.READ,
    "POST": Group.WRITE,
    "PUT": Group.WRITE,
    "PATCH": Group.WRITE,
    "DELETE": Group.DELETE,
}

_PARAMETER = re.compile(r"\{([a-z][a-z0-9_]*)(\*?)\}")
_LITERAL, _ONE, _REST = 0, 1, 2
_PATTERN = {_ONE: "/[^/]+", _REST: "/.*"}


@dataclass(frozen=True, slots=True)
class Template:
    """A path template, read. ``shape`` says of each segment how specific it is; lower is more so."""

    text: str
    segments: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def pattern(self) -> str:
        """A regular expression for the whole canonical path."""
        pairs = zip(self.segments, self.shape, strict=True)
        return "".join(_PATTERN.get(kind) or "/" + re.escape(segment) for segment, kind in pairs)


def parse_template(text: str) -> Template:
    """Read a path template.

    :raises ValueError: if its literal parts are not canonical or a parameter is not one.
    """
    segments = tuple(text.split("/")[1:])
    shape = []
    for segment in segments:
        match = _PARAMETER.fullmatch(segment)
        if match is None and ("{" in segment or "}" in segment):
            raise ValueError(f"{segment!r}: a parameter is a whole segment, {{name}} or at the end {{name*}}")
        shape.append(_LITERAL if match is None else _REST if match[2] else _ONE)
    if _REST in shape[:-1]:
        raise ValueError("{name*} may stand at the end only")
    plain = "/".join(["", *("x" if kind else name for name, kind in zip(segments, shape, strict=True))])
    path = parse_path(plain.encode("utf-8"))
    if isinstance(path, Refusal) or path.text != plain or not text.startswith("/"):
        raise ValueError("not a canonical path: start with /, encode as it is sent, no dots, no query")
    return Template(text, segments, tuple(shape))


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing a service does. ``id`` is what rules and records call it: ``service.operation``.

    It is named by ``methods`` and ``template``, or by ``selector`` where something else than REST is
    spoken; ``when`` narrows it further. ``facts`` are the fields that rules may read, ``llm`` says that it
    is a call to a language model.
    """

    id: str
    group: Group
    methods: tuple[str, ...] = ()
    template: Template | None = None
    selector: Selector | None = None
    when: tuple[Condition, ...] = ()
    facts: tuple[FactField, ...] = ()
    llm: Dialect | None = None


_BY_GROUP = {group: Operation(f"http.{group}", group) for group in Group}
UNCATALOGUED = tuple(_BY_GROUP.values())


def by_method(method: str) -> Operation:
    """What a method does as far as HTTP itself says. A method HTTP does not class is ``http.admin``."""
    return _BY_GROUP[OF_METHOD.get(method, Group.ADMIN)]


def _expand(methods: Sequence[str]) -> set[str]:
    return {*methods, "HEAD"} if "GET" in methods else set(methods)


def _common(one: Template, other: Template) -> bool:
    """Whether there is a path that both match."""
    for left, right in zip_longest(_parts(one), _parts(other)):
        if left is None or right is None:
            return False
        if _REST in (left[1], right[1]):
            return True
        if left[1] == right[1] == _LITERAL and left[0] != right[0]:
            return False
        if _ONE in (left[1], right[1]) and "" in (left[0], right[0]):
            return False  # the literal is the empty segment, which {name} does not match
    return True


def _parts(template: Template) -> Iterable[tuple[str, int]]:
    return zip(template.segments, template.shape, strict=True)


def _comparable(one: Template, other: Template) -> bool:
    """Whether one of them is more specific than the other, segment by segment."""
    pairs = list(zip_longest(one.shape, other.shape, fillvalue=_REST))
    less, more = any(a < b for a, b in pairs), any(a > b for a, b in pairs)
    return less != more


def ambiguous(operations: Sequence[Operation]) -> tuple[Operation, Operation] | None:
    """Two operations that match the same request while neither is the more specific one, if any."""
    for index, one in enumerate(operations):
        for other in operations[:index]:
            if one.template is None or other.template is None:
                continue
            shared = _expand(one.methods) & _expand(other.methods)
            if (
                shared
                and _common(one.template, other.template)
                and not _comparable(one.template, other.template)
            ):
                return other, one
    return None


class Classifier:
    """The operations of one service, ready to be matched: one regular expression a method.

    :raises ValueError: if two of them are ambiguous.
    """

    __slots__ = ("_tables",)

    def __init__(self, operations: Sequence[Operation]) -> None:
        pair = ambiguous(operations)
        if pair is not None:
            raise ValueError(f"{pair[0].id} and {pair[1].id} match the same requests")
        self._tables: dict[str, tuple[re.Pattern[str], list[Operation]]] = {}
        for method in sorted({method for operation in operations for method in _expand(operation.methods)}):
            chosen = [(op.template, op) for op in operations if op.template and method in _expand(op.methods)]
            chosen.sort(key=lambda pair: pair[0].shape)  # the first alternative that fits wins
            pattern = "|".join(f"({template.pattern})" for template, _ in chosen)
            self._tables[method] = re.compile(pattern, re.DOTALL), [operation for _, operation in chosen]

    def match(self, method: str, path: str) -> Operation | None:
        """The operation of this method on this canonical path, or None."""
        table = self._tables.get(method)
        if table is None:
            return None
        found = table[0].fullmatch(path)
        return None if found is None or found.lastindex is None else table[1][found.lastindex - 1]
