"""Cedar policy text, statement by statement, so that every policy has an id, a file and a line.

Cedar numbers the policies of a text by position and reports no line. Here each statement is cut out at
its semicolon and parsed alone; what is not exactly one policy with a usable ``@id`` is a problem.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cedarpy
import orjson

from proxy.problems import Problem

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|;', re.DOTALL)
_SPACE = re.compile(r"(?:\s+|//[^\n]*(?:\n|\Z))*")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_MAX_REASON = 500

Json = dict[str, object]


class Reference(NamedTuple):
    """An entity that a policy names."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class Policy:
    """One Cedar policy. ``reason`` is its ``@reason``, or ""; ``json`` its JSON form."""

    id: str
    effect: str
    reason: str
    file: str
    line: int
    text: str
    json: Json

    def references(self) -> set[Reference]:
        """Every entity the policy names."""
        return set(_references(self.json))


def _references(node: object) -> Iterator[Reference]:
    if isinstance(node, dict):
        kind, name = node.get("type"), node.get("id")
        if node.keys() == {"type", "id"} and isinstance(kind, str) and isinstance(name, str):
            yield Reference(kind, name)
        for child in node.values():
            yield from _references(child)
    elif isinstance(node, list):
        for child in node:
            yield from _references(child)


def _cut(text: str) -> Iterator[tuple[int, str]]:
    """The statements of a text, each with its line. What follows the last semicolon is one too."""
    start = 0
    ends = [match.end() for match in _TOKEN.finditer(text) if match[0] == ";"]
    for end in [*ends, len(text)]:
        blank = _SPACE.match(text, start, end)
        begin = blank.end() if blank is not None else start
        if begin < end:
            yield text.count("\n", 0, begin) + 1, text[begin:end]
        start = end


def _policy(file: str, line: int, text: str) -> Policy | Problem:
    try:
        parsed = orjson.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        return Problem(file, line, f"not a Cedar policy: {error}")
    if parsed["templates"] or len(parsed["staticPolicies"]) != 1:
        return Problem(file, line, "templates are not accepted; write the policy out")
    document: Json = next(iter(parsed["staticPolicies"].values()))
    annotations = document.get("annotations")
    notes = annotations if isinstance(annotations, dict) else {}
    name, reason = notes.get("id") or "", notes.get("reason") or ""
    if not name:
        return Problem(file, line, 'a policy needs a name: @id("...")')
    if _ID.fullmatch(name) is None:
        return Problem(
            file, line, f"@id {name!r}: letters, digits, dots, colons, hyphens and underscores only"
        )
    if not reason.isprintable() or len(reason) > _MAX_REASON:
        return Problem(file, line, f"@reason is one line of at most {_MAX_REASON} characters")
    return Policy(name, str(document["effect"]), reason, file, line, text, document)


def parse_policies(data: bytes, file: str) -> list[Policy | Problem]:
    """Read the policies of one file, in order, and what is wrong with the others. Never raises."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return [Problem(file, None, "not UTF-8")]
    return [_policy(file, line, statement) for line, statement in _cut(text)]
