"""JSON that can be read in one way only (RFC 8259; I-JSON, RFC 7493).

Refused besides what is no JSON: a name twice in one object at any depth (also if it is spelled with
escapes), anything behind the document, a byte order mark, NaN and Infinity, octets that are not UTF-8, lone
surrogates, integers that are not signed 64 bit numbers (parsers round or wrap them), and more than
MAX_DEPTH levels.

Decided: orjson parses, because it is strict about text; it is silent about repeated names and rounds large
integers. Members are therefore counted: each has a quote and a colon in the text, so the pattern finds at
least as many as there are; if the document holds as many, none was lost. Only what this cannot excuse (a
quote and a colon inside a string, a very large number) is read again, by a slower parser.
"""

import json
import re
from collections.abc import Iterable
from typing import TypeAlias

import orjson

from proxy.errors import Code, Refusal

Json: TypeAlias = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

MAX_DEPTH = 64
_MIN, _MAX = -(2**63), 2**63 - 1
_EXACT = 2**63  # an integer that orjson made a float is at least as large
_NUMBER = (int, float)
_MEMBER = re.compile(rb'"[ \t\r\n]*:')


def parse(body: bytes) -> Json | Refusal:
    """The document that ``body`` is; AMBIGUOUS_INPUT if it is not exactly one. Never raises."""
    try:
        document: Json = orjson.loads(body)
    except ValueError as error:
        return _refuse(f"the content is not JSON: {error}")
    members, depth, certain = _survey(document)
    if depth > MAX_DEPTH:
        return _refuse(f"the JSON is nested deeper than {MAX_DEPTH} levels")
    if not certain or len(_MEMBER.findall(body)) != members:
        why = _fault(body)
        if why is not None:
            return _refuse(why)
    return document


def _survey(document: Json) -> tuple[int, int, bool]:
    """How many members a document has, how deep it is, and whether all its numbers are certainly small."""
    members, depth, certain = 0, 0, True
    level: list[dict[str, Json] | list[Json]] = [[document]]
    while level:
        deeper: list[dict[str, Json] | list[Json]] = []
        for container in level:
            values: Iterable[Json] = container
            if isinstance(container, dict):
                members += len(container)
                values = container.values()
            for value in values:
                if type(value) is str:
                    continue
                if type(value) is dict or type(value) is list:
                    deeper.append(value)
                elif isinstance(value, _NUMBER) and not -_EXACT < value < _EXACT:
                    certain = False
        level = deeper
        depth += bool(level)
        if depth > MAX_DEPTH:
            break
    return members, depth, certain


class _Ambiguous(ValueError):
    """What the second reading found."""


def _once(members: list[tuple[str, object]]) -> None:
    if len({name for name, _ in members}) != len(members):
        raise _Ambiguous("a name occurs twice in one JSON object")


def _integer(digits: str) -> None:
    if len(digits) > len(str(_MIN)) or not _MIN <= int(digits) <= _MAX:
        raise _Ambiguous("a JSON integer is beyond signed 64 bit")


def _fault(body: bytes) -> str | None:
    """Read well-formed JSON again, for repeated names and integers beyond 64 bit."""
    try:
        json.loads(body, object_pairs_hook=_once, parse_int=_integer)
    except _Ambiguous as found:
        return str(found)
    return None


def _refuse(why: str) -> Refusal:
    return Refusal(Code.AMBIGUOUS_INPUT, why)
