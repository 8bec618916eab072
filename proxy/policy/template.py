"""Path templates: which canonical paths an operation, or an endpoint of a service, is about.

A template is matched against the segments of the canonical path, so that what is encoded inside a
segment stays inside it. ``{name}`` is exactly one segment that is not empty, ``{name*}`` at the end is
one or more of any kind. Segment by segment, a literal is more specific than ``{name}``, and that more
than ``{name*}``.
"""

import re
from dataclasses import dataclass
from itertools import zip_longest

from proxy.errors import Refusal
from proxy.http.canonical import parse_path

_PARAMETER = re.compile(r"\{([a-z][a-z0-9_]*)(\*?)\}")
LITERAL, ONE, REST = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Template:
    """A path template, read; ``parse_template`` makes one.

    ``shape`` says of each segment how specific it is; lower is more so. ``names`` are the parameters'
    names, "" where the segment is a literal.
    """

    text: str
    segments: tuple[str, ...]
    shape: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(name for name in self.names if name)

    def values(self, path: str) -> dict[str, str]:
        """The parameters of a path that matches, as they stand in it: canonical, still encoded."""
        parts = path.split("/", len(self.names))[1:]
        return {name: part for name, part in zip(self.names, parts, strict=True) if name}


def parse_template(text: str) -> Template:
    """Read a path template.

    :raises ValueError: if its literal parts are not canonical, a parameter is not one, or stands twice.
    """
    segments = tuple(text.split("/")[1:])
    shape, names = [], []
    for segment in segments:
        match = _PARAMETER.fullmatch(segment)
        if match is None and ("{" in segment or "}" in segment):
            raise ValueError(f"{segment!r}: a parameter is a whole segment, {{name}} or at the end {{name*}}")
        shape.append(LITERAL if match is None else REST if match[2] else ONE)
        names.append("" if match is None else match[1])
    if REST in shape[:-1]:
        raise ValueError("{name*} may stand at the end only")
    if len(set(filter(None, names))) != len(list(filter(None, names))):
        raise ValueError("each parameter needs a name of its own")
    plain = "/".join(["", *("x" if kind else part for part, kind in zip(segments, shape, strict=True))])
    path = parse_path(plain.encode("utf-8"))
    if isinstance(path, Refusal) or path.text != plain or not text.startswith("/"):
        raise ValueError("not a canonical path: start with /, encode as it is sent, no dots, no query")
    return Template(text, segments, tuple(shape), tuple(names))


def common(one: Template, other: Template) -> bool:
    """Whether there is a path that both match."""
    for left, kind, right, sort in zip(one.segments, one.shape, other.segments, other.shape, strict=False):
        if REST in (kind, sort):
            return True
        if kind == sort == LITERAL and left != right:
            return False
        if ONE in (kind, sort) and "" in (left, right):
            return False  # the literal is the empty segment, which {name} does not match
    return len(one.segments) == len(other.segments)


def more_specific(one: Template, other: Template) -> bool:
    """Whether ``one`` is more specific than ``other``: nowhere less so, and somewhere more."""
    pairs = list(zip_longest(one.shape, other.shape, fillvalue=REST))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def covers(wide: Template, narrow: Template) -> bool:
    """Whether every path that ``narrow`` matches is one that ``wide`` matches."""
    for left, kind, right, sort in zip(
        wide.segments, wide.shape, narrow.segments, narrow.shape, strict=False
    ):
        if kind == REST:
            return True
        if sort == REST or (kind == LITERAL and (sort != LITERAL or left != right)):
            return False
        if kind == ONE and right == "":
            return False
    return len(wide.segments) == len(narrow.segments)
