"""A service file as text: the way back from plain values to the YAML that ``service_file`` reads.

For files that gatepass proposes (``suggest``, ``import_openapi``) and people review: one operation a line,
in the order given, every string quoted that could be read as something else (YAML 1.2, section 10.3).
"""

import re
from collections.abc import Mapping, Sequence

Plain = str | int | bool | Sequence["Plain"] | Mapping[str, "Plain"] | None
"""What a file may hold: the values of JSON without fractions."""

_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_.@-]*|/[A-Za-z0-9_./-]*")
# Words that some reader of YAML, 1.1 or 1.2, takes for something else than themselves.
_TAKEN = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_OPERATIONS = "operations"
_MAX_LINE = 200


def scalar(value: str | bool | int | None) -> str:  # noqa: FBT001 - a value, not a flag
    """One value as it stands in YAML, in double quotes where it needs them."""
    if value is None:
        return "~"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if _BARE.fullmatch(value) and value.lower() not in _TAKEN:
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004 - two digits hold it
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - four digits hold it


def flow(value: Plain) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {flow(member)}" for key, member in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def one_line(text: str) -> str:
    """What somebody wrote as one line of plain words, as names of owners and titles are taken."""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:_MAX_LINE].strip()


def operation_line(name: str, entry: Mapping[str, Plain], comment: str = "", indent: str = "  ") -> str:
    """One operation, as it stands under ``operations:``; ``comment`` is one line of plain words."""
    return f"{indent}{scalar(name)}: {flow(entry)}" + (f"  # {comment}" if comment else "")


def service_text(
    entry: Mapping[str, Plain], *, head: Sequence[str] = (), comments: Mapping[str, str] | None = None
) -> str:
    """The file of a service. ``head`` are lines of comment above it, ``comments`` one for an operation."""
    lines = [f"# {line}" for line in head]
    for key, value in entry.items():
        if key == _OPERATIONS and isinstance(value, Mapping) and value:
            lines.append(f"{_OPERATIONS}:")
            for name, operation in value.items():
                assert isinstance(operation, Mapping), "an operation is a mapping"
                lines.append(operation_line(name, operation, (comments or {}).get(name, "")))
        else:
            lines.append(f"{scalar(key)}: {flow(value)}")
    return "\n".join(lines) + "\n"


def with_operations(text: str, added: Mapping[str, str]) -> str | None:
    """A service file with more operations, or None if its ``operations`` do not stand one a line.

    ``added`` are lines that ``operation_line`` made, by name; they go to the end of ``operations:``. All
    else stays as it was written, comments too.
    """
    lines = text.splitlines()
    place = next((n for n, line in enumerate(lines) if re.fullmatch(r"operations:\s*(#.*)?", line)), None)
    if place is None:
        if any(line.startswith("operations") for line in lines):
            return None
        return "\n".join([*lines, "operations:", *added.values()]) + "\n"
    end = place + 1
    for number in range(place + 1, len(lines)):
        if lines[number].startswith((" ", "\t")) and lines[number].strip():
            end = number + 1
        elif lines[number].strip() and not lines[number].startswith("#"):
            break
    first = lines[place + 1] if end > place + 1 else "  "
    indent = first[: len(first) - len(first.lstrip())] or "  "
    more = [indent + line.lstrip() for line in added.values()]
    return "\n".join([*lines[:end], *more, *lines[end:]]) + "\n"
