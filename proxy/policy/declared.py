"""The fields that an operation declares, read out of an object: ``facts.body`` and ``facts.input``.

Types are those that the service's file names, and nothing is converted: ``"5"`` is no ``long`` and ``5`` no
``string``. A field that is required and absent, or null, is refused; null for an optional one is absence.
"""

from collections.abc import Iterable, Mapping

from proxy.errors import Code, Refusal
from proxy.policy.fact import FactField, FactType, Place
from proxy.policy.operation import Operation
from proxy.policy.spelling import lookalike
from proxy.policy.strict_json import Json

_MIN, _MAX = -(2**63), 2**63 - 1


def declared(operation: Operation, place: Place, document: Mapping[str, Json]) -> dict[str, Json] | Refusal:
    """The fields of ``operation`` at ``place``, nested as they are declared.

    AMBIGUOUS_INPUT names the field that is missing, has another type, or is spelled almost like it.
    """
    return _level([field for field in operation.facts if field.place is place], 0, document)


def _level(
    fields: Iterable[FactField], depth: int, document: Mapping[str, Json]
) -> dict[str, Json] | Refusal:
    members: dict[str, list[FactField]] = {}
    for field in fields:
        members.setdefault(field.path[depth], []).append(field)
    strange = lookalike(document, members)
    if strange is not None:
        return strange
    found: dict[str, Json] = {}
    for name, below in members.items():
        value = document.get(name)
        if value is None:
            missing = next((field for field in below if field.required), None)
            if missing is not None:
                return _refuse(missing, "is missing")
            continue
        read = _value(below, depth, value)
        if isinstance(read, Refusal):
            return read
        found[name] = read
    return found


def _value(below: list[FactField], depth: int, value: Json) -> Json | Refusal:
    """``value`` as the one field ``below``, or as the object that holds all of them."""
    field = below[0]
    if len(field.path) == depth + 1:
        return value if _fits(value, field.type) else _refuse(field, "has another type")
    return _level(below, depth + 1, value) if isinstance(value, dict) else _refuse(field, "is in no object")


def _refuse(field: FactField, what: str) -> Refusal:
    why = f"{'.'.join(field.path)} {what}: the service declares it as {field.type} of its {field.place}"
    return Refusal(Code.AMBIGUOUS_INPUT, why)


def _fits(value: Json, kind: FactType) -> bool:
    if kind is FactType.STRINGS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind is FactType.LONG:
        return isinstance(value, int) and not isinstance(value, bool) and _MIN <= value <= _MAX
    return isinstance(value, str if kind is FactType.STRING else bool)
