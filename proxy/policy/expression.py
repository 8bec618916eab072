"""Expressions of policies as people read them: from Cedar's JSON form (EST) back to Cedar's text.

Only as many brackets as the grammar needs (Cedar language, "Grammar"); what Cedar itself prints has one pair
for every operator.
"""

import json
from collections.abc import Callable

_OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(1, 8)
_ATOM = 9

# operator -> how tight it binds, and how tight its sides have to
_BINARY = {
    "||": (_OR, _OR, _AND),
    "&&": (_AND, _AND, _RELATION),
    "==": (_RELATION, _SUM, _SUM),
    "!=": (_RELATION, _SUM, _SUM),
    "<": (_RELATION, _SUM, _SUM),
    "<=": (_RELATION, _SUM, _SUM),
    ">": (_RELATION, _SUM, _SUM),
    ">=": (_RELATION, _SUM, _SUM),
    "in": (_RELATION, _SUM, _SUM),
    "+": (_SUM, _SUM, _PRODUCT),
    "-": (_SUM, _SUM, _PRODUCT),
    "*": (_PRODUCT, _PRODUCT, _UNARY),
}
_METHODS = frozenset({"contains", "containsAll", "containsAny", "getTag", "hasTag"})
_EXTENSIONS = frozenset({"ip", "decimal", "datetime", "duration"})


def printed(node: object) -> str:
    """The text of an expression; Cedar's JSON for what is none that this file knows."""
    return _print(node)[0]


def quoted(text: str) -> str:
    """A string literal."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char.isprintable():
            out.append(char)
        else:
            out.append(f"\\u{{{ord(char):x}}}")
    return '"' + "".join(out) + '"'


def reference(kind: object, name: object) -> str:
    """The name of an entity."""
    return f"{kind}::{quoted(str(name))}"


def _at(node: object, least: int) -> str:
    """The text, in brackets if it binds less tightly than its place wants."""
    text, strength = _print(node)
    return text if strength >= least else f"({text})"


def _print(node: object) -> tuple[str, int]:
    if not isinstance(node, dict) or len(node) != 1:
        return json.dumps(node), _ATOM
    operator, operand = next(iter(node.items()))
    if operator in _BINARY and _has(operand, "left", "right"):
        strength, left, right = _BINARY[operator]
        return f"{_at(operand['left'], left)} {operator} {_at(operand['right'], right)}", strength
    if operator in _METHODS and _has(operand, "left", "right"):
        return f"{_at(operand['left'], _MEMBER)}.{operator}({printed(operand['right'])})", _MEMBER
    printer = _PRINTERS.get(operator)
    found = None if printer is None else printer(operand)
    if found is None and isinstance(operand, list) and operand:
        return _call(operator, operand)
    return found or (json.dumps(node), _ATOM)


def _has(operand: object, *names: str) -> bool:
    return isinstance(operand, dict) and all(name in operand for name in names)


def _call(name: str, arguments: list[object]) -> tuple[str, int]:
    """A function of an extension (``ip("...")``), or one of its methods (``x.isInRange(y)``)."""
    if name in _EXTENSIONS:
        return f"{name}({', '.join(map(printed, arguments))})", _ATOM
    rest = ", ".join(map(printed, arguments[1:]))
    return f"{_at(arguments[0], _MEMBER)}.{name}({rest})", _MEMBER


def _value(operand: object) -> tuple[str, int]:
    if isinstance(operand, str):
        return quoted(operand), _ATOM
    if isinstance(operand, dict) and isinstance(entity := operand.get("__entity"), dict):
        return reference(entity.get("type"), entity.get("id")), _ATOM
    if isinstance(operand, list):
        return f"[{', '.join(_value(item)[0] for item in operand)}]", _ATOM
    negative = isinstance(operand, int) and operand < 0
    return json.dumps(operand), _UNARY if negative else _ATOM


def _plain(name: str) -> bool:
    return name.isidentifier() and name.isascii()


def _attribute(operand: object) -> tuple[str, int] | None:
    if not isinstance(operand, dict):
        return None
    left, name = _at(operand["left"], _MEMBER), str(operand["attr"])
    return (f"{left}.{name}" if _plain(name) else f"{left}[{quoted(name)}]"), _MEMBER


def _has_attribute(operand: object) -> tuple[str, int] | None:
    if not isinstance(operand, dict):
        return None
    name = str(operand["attr"])
    return f"{_at(operand['left'], _SUM)} has {name if _plain(name) else quoted(name)}", _RELATION


def _like(operand: object) -> tuple[str, int] | None:
    if not isinstance(operand, dict) or not isinstance(operand.get("pattern"), list):
        return None
    parts = []
    for part in operand["pattern"]:
        literal = part.get("Literal") if isinstance(part, dict) else None
        parts.append("*" if literal is None else quoted(str(literal))[1:-1].replace("*", "\\*"))
    return f'{_at(operand["left"], _SUM)} like "{"".join(parts)}"', _RELATION


def _is(operand: object) -> tuple[str, int] | None:
    if not isinstance(operand, dict):
        return None
    within = f" in {_at(operand['in'], _SUM)}" if "in" in operand else ""
    return f"{_at(operand['left'], _SUM)} is {operand['entity_type']}{within}", _RELATION


def _choice(operand: object) -> tuple[str, int] | None:
    if not isinstance(operand, dict):
        return None
    test, yes, no = (printed(operand[name]) for name in ("if", "then", "else"))
    return f"if {test} then {yes} else {no}", 0


def _prefix(sign: str) -> Callable[[object], tuple[str, int] | None]:
    def printer(operand: object) -> tuple[str, int] | None:
        if not isinstance(operand, dict):
            return None
        text = _at(operand["arg"], _MEMBER)
        if sign == "-" and text[:1].isdigit():
            text = f"({text})"  # -1 is a literal, -(1) is not
        return f"{sign}{text}", _UNARY

    return printer


def _record(operand: object) -> tuple[str, int] | None:
    if not isinstance(operand, dict):
        return None
    members = (f"{quoted(str(name))}: {printed(value)}" for name, value in operand.items())
    return f"{{{', '.join(members)}}}", _ATOM


_PRINTERS: dict[str, Callable[[object], tuple[str, int] | None]] = {
    "Value": _value,
    "Var": lambda operand: (str(operand), _ATOM),
    "Set": lambda operand: (
        (f"[{', '.join(map(printed, operand))}]", _ATOM) if isinstance(operand, list) else None
    ),
    "Record": _record,
    ".": _attribute,
    "has": _has_attribute,
    "like": _like,
    "is": _is,
    "if-then-else": _choice,
    "!": _prefix("!"),
    "neg": _prefix("-"),
    "isEmpty": lambda operand: (
        (f"{_at(operand['arg'], _MEMBER)}.isEmpty()", _MEMBER) if isinstance(operand, dict) else None
    ),
}
