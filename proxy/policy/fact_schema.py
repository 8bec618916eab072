"""The Cedar types of ``context.facts``: those of protocols, and the fields that operations declare."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import orjson

from proxy.policy.fact import FactField, FactType

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = frozenset({"in", "is", "has", "like", "if", "then", "else", "true", "false"})
_TYPES = {
    FactType.STRING: "String",
    FactType.LONG: "Long",
    FactType.BOOL: "Bool",
    FactType.STRINGS: "Set<String>",
}


class NamedType(NamedTuple):
    """A type that has a name of its own in the schema."""

    name: str
    text: str


PROTOCOL_TYPES: Mapping[str, NamedType] = {
    "mcp": NamedType(
        "Mcp",
        """\
// What an MCP message asks for; "" where a member does not apply.
type Mcp = {
  method: String,
  tool: String,
  uri: String,            // of a resource, or the name of a prompt
  batch: Bool,            // it is one of several messages in one request
};
""",
    ),
    "graphql": NamedType(
        "Graphql",
        """\
type Graphql = {
  operation: String,      // query, mutation or subscription
  name: String,           // of the operation; "" if it has none
  fields: Set<String>,    // every root field, fragments and aliases resolved
  depth: Long,
  persisted: Bool,        // its text is one that the service lists
};
""",
    ),
    "grpc": NamedType(
        "Grpc",
        """\
type Grpc = {
  service: String,
  method: String,
};
""",
    ),
    "aws": NamedType(
        "Aws",
        """\
type Aws = {
  action: String,
  service: String,        // of the target or the host; "" if unknown
  version: String,
};
""",
    ),
    "llm": NamedType(
        "Llm",
        """\
type Llm = {
  model: String,
  stream: Bool,
  tools: Set<String>,     // the names of those that are offered
  max_tokens: Long,       // -1 if it is not given
};
""",
    ),
}


def attribute(name: str, kind: str, *, required: bool = True) -> str:
    """One member of a record type; what is no plain name is quoted."""
    plain = _PLAIN.fullmatch(name) is not None and name not in _WORDS and not name.startswith("__cedar")
    key = name if plain else orjson.dumps(name).decode("utf-8")
    return f"{key}{'' if required else '?'}: {kind}"


def declared(fields: Iterable[FactField]) -> str:
    """The record type of the fields of one place.

    An object is optional if all of its fields are: nothing then says that it is there at all.
    """
    return _text(_tree([(field.path, field) for field in fields]))


def _tree(fields: list[tuple[tuple[str, ...], FactField]]) -> list[tuple[str, str, bool]]:
    """Of each member its name, its type and whether it is required, in the order of declaration."""
    inner: dict[str, list[tuple[tuple[str, ...], FactField]]] = {}
    for path, field in fields:
        inner.setdefault(path[0], []).append((path[1:], field))
    members = []
    for name, below in inner.items():
        path, field = below[0]
        kind = _TYPES[field.type] if not path else _text(_tree(below))
        members.append((name, kind, any(field.required for _, field in below)))
    return members


def _text(members: Iterable[tuple[str, str, bool]]) -> str:
    return "{" + ", ".join(attribute(name, kind, required=required) for name, kind, required in members) + "}"
