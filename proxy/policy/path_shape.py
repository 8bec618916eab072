"""Path templates out of paths that were used: what looks like the name of one thing becomes ``{id}``.

A segment is such a name if it is a number, a UUID (RFC 9562), hexadecimal digits, or long and with
digits in it. Everything else stays as it was used: to widen is a person's decision, not a guess of ours.
"""

import re
from collections.abc import Iterable

from proxy.policy.builtin_operations import RESERVED
from proxy.policy.matching import ambiguous
from proxy.policy.operation import Group, Operation
from proxy.policy.template import parse_template

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"[0-9]+")
_HEX = re.compile(r"(?=.*[0-9])[0-9a-fA-F]{8,}")
_LONG = re.compile(r"(?=.*[0-9])[A-Za-z0-9_~:.=%-]{20,}")
_VERSIONED = re.compile(r".*\.[A-Za-z][A-Za-z0-9]{0,7}")  # a file's name has an ending, an id has none
_REDACTED = "gp_%5Bsha256:"
_WORD = re.compile(r"[^a-z0-9]+")
_INCLUDING = {"HEAD": ("GET",)}
_MAX_NAME = 100
_MAX_PARTS = 6
_PARAMETER = re.compile(r"\{([a-z_]+)[0-9]*\*?\}")


def is_id(segment: str) -> bool:
    """Whether a segment of a canonical path looks like the name of one thing among many."""
    if _UUID.fullmatch(segment) or _NUMBER.fullmatch(segment) or _HEX.fullmatch(segment):
        return True
    return _LONG.fullmatch(segment) is not None and _VERSIONED.fullmatch(segment) is None


def general(path: str) -> str:
    """The template of a canonical path; its parameters are ``{id}``, ``{id2}``, ``{id3}`` ..."""
    out, count = [], 0
    for segment in path.split("/"):
        if segment and (is_id(segment) or _REDACTED in segment or "gp_[sha256:" in segment):
            count += 1
            out.append("{id}" if count == 1 else f"{{id{count}}}")
        else:
            out.append(segment)
    return "/".join(out)


def shapes(used: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """For each (method, canonical path) that was used, the template it falls under.

    A path whose template would match the same requests as another's, neither being the more specific
    one, stays as it was used. What can have no template (``*``) is left out.
    """
    kept: dict[tuple[str, int], list[Operation]] = {}
    found: dict[tuple[str, str], str] = {}
    known: dict[tuple[str, str], str | None] = {}
    for method, path in sorted(set(used)):
        text = general(path)
        key = method, text
        if key not in known:
            known[key] = text if _fits(kept, method, text) else None
        template = known[key]
        if template is not None:
            found[method, path] = template
        elif _fits(kept, method, path):
            found[method, path] = path
    return found


def _fits(kept: dict[tuple[str, int], list[Operation]], method: str, text: str) -> bool:
    """Keep the template if it is one, and clear beside those that are kept."""
    try:
        template = parse_template(text)
    except ValueError:
        return False
    family = "GET" if method == "HEAD" else method
    others = kept.setdefault((family, len(template.segments)), [])
    one = Operation(text, Group.READ, (method,), template)
    if any(
        other.template == template and other.methods in (one.methods, _INCLUDING.get(method))
        for other in others
    ):
        return True
    if any(ambiguous((other, one)) is not None for other in others):
        return False
    others.append(one)
    return True


def name_of(method: str, template: str) -> str:
    """A name for the operation: the words of its path, then its method: ``v1.orders.id.get``."""
    words = [_word(_PARAMETER.sub(r"\1", segment)) for segment in template.split("/")]
    parts = [word for word in words if word][-_MAX_PARTS:]
    return operation_name(".".join([*parts, method.lower()]))


def operation_name(text: str) -> str:
    """The text as the name of an operation in a service file: words of a-z, 0-9 and _ with dots between."""
    words = [_word(word) for word in text.split(".")]
    name = ".".join([word for word in words if word][: _MAX_PARTS + 1])[:_MAX_NAME].rstrip("._")
    return name if name[:1].isalpha() and not name.startswith(RESERVED) else f"path.{name}".rstrip(".")


def _word(text: str) -> str:
    return _WORD.sub("_", text.lower()).strip("_")


def unique(name: str, taken: Iterable[str]) -> str:
    """The name, or the name with the first number that makes it one of its own."""
    there = set(taken)
    if name not in there:
        return name
    return next(other for n in range(2, len(there) + 3) if (other := f"{name}_{n}") not in there)
