"""Values that stand in a GraphQL document, as JSON has them (GraphQL, October 2021, 2.9)."""

from collections.abc import Iterable, Mapping

from graphql.language import (
    ArgumentNode,
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    IntValueNode,
    ListValueNode,
    ObjectFieldNode,
    ObjectValueNode,
    StringValueNode,
    ValueNode,
    VariableNode,
)

from proxy.errors import Code, Refusal
from proxy.policy.strict_json import Json

_INT_DIGITS = 20  # of the widest signed 64 bit number; what is longer is slow to read
_MIN, _MAX = -(2**63), 2**63 - 1


def ambiguous(why: str) -> Refusal:
    """A refusal of what servers may read in different ways."""
    return Refusal(Code.AMBIGUOUS_INPUT, why)


class Absent:
    """The value of a variable that was not given."""


ABSENT = Absent()


def members(
    nodes: Iterable[ArgumentNode] | Iterable[ObjectFieldNode], variables: Mapping[str, Json]
) -> dict[str, Json] | Refusal:
    """Arguments, or the members of an input object, by name; those whose variable is absent are absent."""
    found: dict[str, Json] = {}
    seen: set[str] = set()
    for node in nodes:
        name = node.name.value
        if name in seen:
            return ambiguous(f"{name} is given twice; give it once")
        seen.add(name)
        value = plain(node.value, variables)
        if isinstance(value, Refusal):
            return value
        if not isinstance(value, Absent):
            found[name] = value
    return found


def plain(node: ValueNode, variables: Mapping[str, Json]) -> Json | Absent | Refusal:
    """A value as JSON has it. An integer beyond every range becomes a float: no declared type fits it."""
    if isinstance(node, VariableNode):
        return variables.get(node.name.value, ABSENT)
    if isinstance(node, (StringValueNode, EnumValueNode, BooleanValueNode)):
        return node.value
    if isinstance(node, IntValueNode):
        value = int(node.value) if len(node.value) <= _INT_DIGITS else _MAX + 1
        return value if _MIN <= value <= _MAX else float(node.value)
    if isinstance(node, FloatValueNode):
        return float(node.value)
    if isinstance(node, ObjectValueNode):
        return members(node.fields, variables)
    if not isinstance(node, ListValueNode):
        return None  # NullValueNode is the last kind of value
    items: list[Json] = []
    for item in node.values:
        read = plain(item, variables)
        if isinstance(read, Refusal):
            return read
        items.append(None if isinstance(read, Absent) else read)
    return items
