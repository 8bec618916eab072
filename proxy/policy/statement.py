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

from proxy.policy.annotations import Notes, parse_annotations
from proxy.policy.obligation import Obligations
from proxy.problems import Problem

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|;', re.DOTALL)
_SPACE = re.compile(r"(?:\s+|//[^\n]*(?:\n|\Z))*")

Json = dict[str, object]


class Reference(NamedTuple):
    """An entity that a policy names."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class Policy:
    """One Cedar policy. ``notes`` are its annotations, ``json`` its JSON form (EST)."""

    notes: Notes
    effect: str
    file: str
    line: int
    text: str
    json: Json

    @property
    def id(self) -> str:
        """Its ``@id``."""
        return self.notes.id

    @property
    def reason(self) -> str:
        """Its ``@reason``, or ""."""
        return self.notes.reason

    @property
    def obligations(self) -> Obligations:
        """What its permit obliges gatepass to."""
        return self.notes.obligations

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
    effect = str(document["effect"])
    notes = parse_annotations(_texts(document.get("annotations")), effect)
    if isinstance(notes, str):
        return Problem(file, line, notes)
    return Policy(notes, effect, file, line, text, document)


def _texts(annotations: object) -> dict[str, str]:
    """The annotations of a policy's JSON form; one without a text (``@note``) has the empty one."""
    if not isinstance(annotations, dict):
        return {}
    return {str(name): "" if text is None else str(text) for name, text in annotations.items()}


def parse_policies(data: bytes, file: str) -> list[Policy | Problem]:
    """Read the policies of one file, in order, and what is wrong with the others. Never raises."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return [Problem(file, None, "not UTF-8")]
    return [_policy(file, line, statement) for line, statement in _cut(text)]
