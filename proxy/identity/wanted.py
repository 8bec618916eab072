"""What an agent asks for when it delegates: the body of ``POST http://gatepass.internal/delegate``.

::

    {"agent": "tester", "purpose": "run the tests of issue 7",
     "scopes": ["repo:read"], "services": ["github"], "ttl": 600,
     "budgets": {"requests": 100, "octets": 1000000}, "depth": 0}

``agent`` and ``purpose`` are required; what else is left out, or null, is as the parent has it. Members
that are not known, or there twice, are refused: each could be a restriction that is not understood.
"""

import json
import re
from dataclasses import dataclass
from typing import TypeAlias

import orjson

from proxy.errors import Code, Refusal
from proxy.identity.principal import NO_BUDGETS, Budgets
from proxy.identity.task import AGENT_ID, MAX_DEPTH, MAX_INTEGER, PLAIN, SCOPE, SERVICE

MAX_BODY = 16_384
_MEMBERS = frozenset({"agent", "purpose", "scopes", "services", "ttl", "budgets", "depth"})
_BUDGETS = frozenset({"requests", "octets"})
_Document: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an agent asks to hand on. ``scopes`` and ``services`` are sorted and distinct.

    None is as much as the parent has: its scopes, its services, all its time (``ttl_s`` is seconds from
    now), its budgets; ``depth`` None is one less than the parent's.
    """

    agent: str
    purpose: str
    scopes: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None
    ttl_s: int | None = None
    budgets: Budgets = NO_BUDGETS
    depth: int | None = None


class _Unclear(ValueError):
    """The body is not what it should be; the message says which member."""


def parse_wanted(body: bytes) -> Wanted | Refusal:
    """Read the body, or refuse it with DESK_REQUEST. Never raises."""
    if len(body) > MAX_BODY:
        return Refusal(Code.DESK_REQUEST, f"the body is longer than {MAX_BODY} octets")
    try:
        return _wanted(json.loads(body.decode(), object_pairs_hook=_distinct))
    except _Unclear as unclear:
        return Refusal(Code.DESK_REQUEST, str(unclear))
    except (ValueError, RecursionError):  # not UTF-8, not JSON, endless digits, or endless brackets
        return Refusal(Code.DESK_REQUEST, "the body is not JSON")


def format_wanted(wanted: Wanted) -> bytes:
    """The body that asks for this: undoes ``parse_wanted``."""
    budgets = {"requests": wanted.budgets.requests, "octets": wanted.budgets.octets}
    document: _Document = {
        "agent": wanted.agent,
        "purpose": wanted.purpose,
        "scopes": wanted.scopes,
        "services": wanted.services,
        "ttl": wanted.ttl_s,
        "budgets": {name: budget for name, budget in budgets.items() if budget is not None} or None,
        "depth": wanted.depth,
    }
    return orjson.dumps({name: value for name, value in document.items() if value is not None})


def _wanted(value: object) -> Wanted:
    document = _object(value, "the body", _MEMBERS)
    asked = document.get("budgets")
    budgets = _object({} if asked is None else asked, "budgets", _BUDGETS)
    return Wanted(
        agent=_text(document, "agent", AGENT_ID),
        purpose=_text(document, "purpose", PLAIN),
        scopes=_names(document, "scopes", SCOPE),
        services=_names(document, "services", SERVICE),
        ttl_s=_whole(document.get("ttl"), "ttl", 1, MAX_INTEGER),
        budgets=Budgets(
            requests=_whole(budgets.get("requests"), "budgets.requests", 1, MAX_INTEGER),
            octets=_whole(budgets.get("octets"), "budgets.octets", 1, MAX_INTEGER),
        ),
        depth=_whole(document.get("depth"), "depth", 0, MAX_DEPTH),
    )


def _distinct(members: list[tuple[str, object]]) -> _Document:
    document = dict(members)
    if len(document) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Unclear(f"the member {_quoted(twice)} is there twice")
    return document


def _object(value: object, which: str, known: frozenset[str]) -> _Document:
    if not isinstance(value, dict):
        raise _Unclear(f"{which} is not a JSON object")
    strange = next((name for name in value if name not in known), None)
    if strange is not None:
        raise _Unclear(f"{which} has the member {_quoted(strange)}, which is not known")
    return value


def _text(document: _Document, name: str, pattern: re.Pattern[str]) -> str:
    value = document.get(name)
    if value is None:
        raise _Unclear(f"{name} is missing")
    if not isinstance(value, str) or value == "" or not pattern.fullmatch(value):
        raise _Unclear(f"{name} is not plain text, is empty, or is too long")
    return value


def _names(document: _Document, name: str, pattern: re.Pattern[str]) -> tuple[str, ...] | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, list):
        raise _Unclear(f"{name} is not a list")
    names: set[str] = set()
    for item in value:
        if not isinstance(item, str) or not pattern.fullmatch(item):
            raise _Unclear(f"{name} holds something that cannot be one")
        names.add(item)
    return tuple(sorted(names))


def _whole(value: object, name: str, lowest: int, highest: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not lowest <= value <= highest:  # true is no number here
        raise _Unclear(f"{name} is not a whole number from {lowest} to {highest}")
    return value


def _quoted(name: str) -> str:
    return repr(name[:40])  # with quotes, and a lone surrogate, which has no bytes, escaped
