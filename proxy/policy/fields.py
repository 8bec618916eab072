"""The fields of a call that its operation declares: conditions on them, and facts from them.

They stand in pairs (the query, a form: RFC 3986; WHATWG URL, 5) or in a JSON document. A field that is read
stands there once, under exactly its name and with exactly its type; everything else is AMBIGUOUS_INPUT with
a message that names it. Nothing is converted: ``"5"`` is no ``long`` and ``5`` no ``string``; a member that
is null is as good as absent. In pairs, where every value is text, a long is its decimal digits and a bool is
true or false; only a ``[string]`` may stand there more than once, for its repetition is the list.

Decided: a long beyond 53 bits is refused, because JSON readers round it differently (RFC 7493, 2.2) and so
would those who read it in a record.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from proxy.errors import Code, Refusal
from proxy.policy.fact import Condition, FactField, FactType
from proxy.policy.media import Pairs
from proxy.policy.spelling import lookalike
from proxy.policy.strict_json import Json

Facts: TypeAlias = dict[str, Json]

_LONG = re.compile(r"0|-?[1-9][0-9]{0,15}")
_MAX = 2**53 - 1
_BOOL = {"true": True, "false": False}
_WORDS = {
    FactType.STRING: "one string",
    FactType.LONG: "one whole number of at most 53 bits",
    FactType.BOOL: "either true or false",
    FactType.STRINGS: "a list of strings",
}


def from_document(fields: Sequence[FactField], document: Json) -> Facts | Refusal:
    """The values of ``fields``, nested as they are declared, out of a JSON document."""
    return _level(fields, 0, document)


def from_pairs(fields: Sequence[FactField], pairs: Pairs) -> Facts | Refusal:
    """The values of ``fields``, nested as they are declared, out of a query or a form."""
    named = {".".join(field.path): field for field in fields}
    texts = _texts(named, pairs)
    if isinstance(texts, Refusal):
        return texts
    facts: Facts = {}
    for name, field in named.items():
        if name not in texts:
            if field.required:
                return _missing(field)
            continue
        value = _typed(field.type, texts[name])
        if value is None:
            return _wrong(field)
        _put(facts, field.path, value)
    return facts


def in_pairs(conditions: Sequence[Condition], pairs: Pairs) -> bool | Refusal:
    """Whether all ``conditions`` hold of a query or a form."""
    named = {".".join(condition.path): condition for condition in conditions}
    texts = _texts(named, pairs)
    if isinstance(texts, Refusal):
        return texts
    for name, found in texts.items():
        if len(found) > 1:
            return _refuse(f"{name} stands there {len(found)} times; send it once")
    return all(
        name in texts and (not condition.values or texts[name][0] in condition.values)
        for name, condition in named.items()
    )


def in_document(conditions: Sequence[Condition], document: Json) -> bool | Refusal:
    """Whether all ``conditions`` hold of a JSON document."""
    for condition in conditions:
        found = _follow(condition.path, document)
        if isinstance(found, Refusal):
            return found
        if not found:
            return False
        if condition.values:
            text = _text(found[0])
            if text is None:
                name = ".".join(condition.path)
                return _refuse(f"{name} has to be text, a whole number, true or false")
            if text not in condition.values:
                return False
    return True


def _level(fields: Sequence[FactField], depth: int, document: Json) -> Facts | Refusal:
    """The fields whose paths go through this object, ``depth`` objects down."""
    if not isinstance(document, dict):
        return _refuse(f"what should hold {'.'.join(fields[0].path)} is no JSON object; send one")
    members: dict[str, list[FactField]] = {}
    for field in fields:
        members.setdefault(field.path[depth], []).append(field)
    strange = lookalike(document, members) or _flat(document, [field.path[depth:] for field in fields])
    if strange is not None:
        return strange
    facts: Facts = {}
    for name, below in members.items():
        value = document.get(name)
        if value is None:
            needed = next((field for field in below if field.required), None)
            if needed is not None:
                return _missing(needed)
        elif len(below[0].path) > depth + 1:
            inner = _level(below, depth + 1, value)
            if isinstance(inner, Refusal):
                return inner
            facts[name] = inner
        elif _fits(below[0].type, value):
            facts[name] = value
        else:
            return _wrong(below[0])
    return facts


def _flat(names: Iterable[str], paths: Iterable[Sequence[str]]) -> Refusal | None:
    """Refuse ``"a.b"`` where ``b`` is declared as a member of ``a``: Elasticsearch takes it for that."""
    nested = {
        ".".join(path[:length]).casefold()
        for path in paths
        if len(path) > 1
        for length in range(2, len(path) + 1)
    }
    name = next((name for name in names if name.casefold() in nested), None) if nested else None
    return None if name is None else _refuse(f"{name} can be taken for an object with members; send that")


def _fits(kind: FactType, value: Json) -> bool:
    if kind is FactType.STRINGS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind is FactType.LONG:
        return isinstance(value, int) and not isinstance(value, bool) and -_MAX <= value <= _MAX
    return isinstance(value, str if kind is FactType.STRING else bool)


def _texts(known: Mapping[str, object], pairs: Pairs) -> dict[str, list[str]] | Refusal:
    """All values of every known name that occurs."""
    strange = lookalike((name for name, _ in pairs), known)
    if strange is not None:
        return strange
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        if name in known:
            found.setdefault(name, []).append(text)
    return found


def _typed(kind: FactType, texts: list[str]) -> Json:
    """What stands in pairs as a value; None if it has another type."""
    if kind is FactType.STRINGS:
        return [*texts]
    if len(texts) > 1:
        return None
    text = texts[0]
    if kind is FactType.BOOL:
        return _BOOL.get(text)
    if kind is FactType.LONG:
        return int(text) if _LONG.fullmatch(text) and -_MAX <= int(text) <= _MAX else None
    return text


def _put(facts: Facts, path: Sequence[str], value: Json) -> None:
    """Nest a value; no field is both a value and an object of others."""
    inner = facts
    for part in path[:-1]:
        below = inner.setdefault(part, {})
        assert isinstance(below, dict)
        inner = below
    inner[path[-1]] = value


def _follow(path: Sequence[str], document: Json) -> tuple[Json, ...] | Refusal:
    """What stands at ``path``, or nothing; an object on the way that is null holds nothing."""
    value = document
    for index, part in enumerate(path):
        if value is None and index:
            return ()
        if not isinstance(value, dict):
            return _refuse(f"what should hold {'.'.join(path)} is no JSON object")
        strange = lookalike(value, (part,)) or _flat(value, (path[index:],))
        if strange is not None:
            return strange
        if part not in value:
            return ()
        value = value[part]
    return (value,)


def _text(value: Json) -> str | None:
    """A scalar as conditions compare it; None for what has no one text: 1.0 is 1 to some readers."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value) if isinstance(value, int) else None


def _missing(field: FactField) -> Refusal:
    return _refuse(f"{'.'.join(field.path)} is missing: the service declares it as part of the {field.place}")


def _wrong(field: FactField) -> Refusal:
    name = ".".join(field.path)
    return _refuse(f"{name} has to be {_WORDS[field.type]}: the service declares it as {field.type}")


def _refuse(why: str) -> Refusal:
    return Refusal(Code.AMBIGUOUS_INPUT, why)
