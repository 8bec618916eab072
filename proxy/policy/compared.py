"""What policies compare the input with: attributes and the literals on the other side, from their JSON form.

So what a policy wants to find somewhere is known without guessing: it stands in its text.
"""

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from proxy.policy.statement import Policy

Path = tuple[str, ...]
Literal: TypeAlias = str | int | bool


class Kind(Enum):
    """How an attribute and a literal meet."""

    VALUE = auto()  # == or !=, or it is one of a set
    ORDER = auto()  # < <= > >=
    MEMBER = auto()  # the attribute is a set, and the literal may be in it
    PATTERN = auto()  # like; the literal is the pattern's text without its wildcards
    TRUTH = auto()  # the attribute itself is the condition
    ENTITY = auto()  # == or in; the literal is an entity, written Type::id


class Compared(NamedTuple):
    """One comparison. ``path`` begins with ``context``, ``principal`` or ``resource``.

    ``literals`` are taken together (``containsAll``), or are one.
    """

    path: Path
    kind: Kind
    literals: tuple[Literal, ...]


_VALUE = ("==", "!=")
_ORDER = ("<", "<=", ">", ">=")
_TOGETHER = ("containsAll", "containsAny")


def compared(policies: Iterable[Policy]) -> frozenset[Compared]:
    """Every comparison of an attribute with a literal, in heads and conditions."""
    return frozenset(found for policy in policies for found in _policy(policy))


def _policy(policy: Policy) -> Iterator[Compared]:
    head = policy.json.get("principal")
    if isinstance(head, dict):
        inside = head.get("in")
        listed = [head.get("entity"), inside.get("entity") if isinstance(inside, dict) else None]
        for node in listed:
            name = _entity(node)
            if name is not None:
                yield Compared(("principal",), Kind.ENTITY, (name,))
    yield from _node(policy.json.get("conditions"))


def _node(node: object) -> Iterator[Compared]:
    if isinstance(node, list):
        for child in node:
            yield from _node(child)
    elif isinstance(node, dict):
        for operator, operand in node.items():
            if isinstance(operand, dict) and "left" in operand and "right" in operand:
                yield from _comparison(operator, operand["left"], operand["right"])
            elif operator == "like" and isinstance(operand, dict):
                yield from _like(operand)
            elif operator == ".":
                path = _path(node)
                if path is not None:
                    yield Compared(path, Kind.TRUTH, ())
            else:
                yield from _node(operand)


def _comparison(operator: str, left: object, right: object) -> Iterator[Compared]:
    for one, other in ((left, right), (right, left)):
        path = _path(one)
        if path is None:
            yield from _node(one)
            continue
        literals = tuple(_literals(other))
        kind = _kind(operator, first=one is left)
        if kind is None or not literals:
            yield Compared(path, Kind.TRUTH, ())
        elif any(name for name in _entities(other)):
            yield from (Compared(path, Kind.ENTITY, (name,)) for name in _entities(other))
        elif operator in _TOGETHER and kind is Kind.MEMBER:
            yield Compared(path, kind, literals)
            yield from (Compared(path, kind, (literal,)) for literal in literals)
        else:
            yield from (Compared(path, kind, (literal,)) for literal in literals)


def _kind(operator: str, *, first: bool) -> Kind | None:
    """What the attribute is to the literal, if it stands on the first side, or on the second."""
    if operator in _VALUE or operator == "in":
        return Kind.VALUE
    if operator in _ORDER:
        return Kind.ORDER
    if operator == "contains":
        return Kind.MEMBER if first else Kind.VALUE
    return Kind.MEMBER if operator in _TOGETHER else None


def _like(operand: dict[str, object]) -> Iterator[Compared]:
    path, pattern = _path(operand.get("left")), operand.get("pattern")
    if path is not None and isinstance(pattern, list):
        text = "".join(
            str(part["Literal"]) for part in pattern if isinstance(part, dict) and "Literal" in part
        )
        yield Compared(path, Kind.PATTERN, (text,))


def _path(node: object) -> Path | None:
    """The attributes of an access, its variable first."""
    if not isinstance(node, dict) or len(node) != 1:
        return None
    if isinstance(name := node.get("Var"), str):
        return (name,)
    access = node.get(".")
    if not isinstance(access, dict):
        return None
    left = _path(access.get("left"))
    return None if left is None else (*left, str(access.get("attr")))


def _literals(node: object) -> Iterator[Literal]:
    if not isinstance(node, dict):
        return
    value, members = node.get("Value"), node.get("Set")
    if isinstance(value, str | int):
        yield value
    name = _entity(value.get("__entity")) if isinstance(value, dict) else None
    if name is not None:
        yield name
    for member in members if isinstance(members, list) else []:
        yield from _literals(member)


def _entities(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        value, members = node.get("Value"), node.get("Set")
        name = _entity(value.get("__entity")) if isinstance(value, dict) else None
        if name is not None:
            yield name
        for member in members if isinstance(members, list) else []:
            yield from _entities(member)


def _entity(node: object) -> str | None:
    if not isinstance(node, dict):
        return None
    kind, name = node.get("type"), node.get("id")
    return f"{kind}::{name}" if isinstance(kind, str) and isinstance(name, str) else None
