"""One GraphQL document, read for what rules ask (GraphQL, October 2021): the root fields of one operation.

Aliases and fragments are resolved, ``@skip`` and ``@include`` count as included, type conditions as met: what
*could* be executed is what is judged. Nothing is validated against a schema; a document that every server
would refuse may pass, one that two servers could read differently may not.

Importing this file imports graphql-core, which costs 16 MB and 150 ms; only a call that speaks GraphQL may.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from graphql.error import GraphQLError
from graphql.language import (
    DefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    Lexer,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Source,
    TokenKind,
    parse,
)

from proxy.errors import Code, Refusal
from proxy.policy.graphql_value import ABSENT, Absent, ambiguous, members, plain
from proxy.policy.strict_json import Json

MAX_TOKENS = 4_096  # of one call; parsing costs about 7 us a token
MAX_NESTING = 64  # of fields and fragments

_OPENING = (TokenKind.BRACE_L, TokenKind.BRACKET_L, TokenKind.PAREN_L)
_CLOSING = (TokenKind.BRACE_R, TokenKind.BRACKET_R, TokenKind.PAREN_R)

# Line ends that only some lexers know would end a comment for one reader and not for another.
_STRANGE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]|\r(?!\n)")


@dataclass(frozen=True, slots=True)
class Executable:
    """The operation that will run. ``type`` is query, mutation or subscription; ``name`` "" if it has none.

    ``fields`` are its root fields in the order of the document, never empty; ``depth`` counts levels of
    fields: 1 for ``{a}``. ``defaults`` are its variables that have a default value.
    """

    type: str
    name: str
    fields: tuple[FieldNode, ...]
    depth: int
    declared: frozenset[str]
    defaults: Mapping[str, Json]

    def names(self) -> list[str]:
        """The names of the root fields, each once, sorted."""
        return sorted({field.name.value for field in self.fields})

    def arguments(self, field: FieldNode, variables: Mapping[str, Json]) -> dict[str, Json] | Refusal:
        """The arguments of a root field with ``variables`` put in; enum values are strings.

        An argument whose variable is absent is absent (GraphQL, 6.4.1).
        """
        given = {name: value for name, value in variables.items() if name in self.declared}
        return members(field.arguments or (), {**self.defaults, **given})


def read(text: str, operation_name: str | None, max_tokens: int = MAX_TOKENS) -> Executable | Refusal:
    """Read a document and choose the operation that ``operation_name`` names. Never raises.

    Refused are: what does not parse, definitions of types, names that are defined twice, cycles and gaps
    among fragments, no or several operations to choose from, and what exceeds a limit.
    """
    # (1): one way only to tell where lines end.
    if _STRANGE.search(text):
        return ambiguous("the query has a control character or a lone CR; end lines with LF")
    # (2): a document of operations and fragments, each name once.
    try:
        document = parse(text, no_location=True, max_tokens=max_tokens)
    except RecursionError:  # before 3.3 the parser lets it out
        return _too_deep()
    except GraphQLError as error:
        return _unparsed(text, error, max_tokens)
    sorted_out = _sort_out(document.definitions)
    if isinstance(sorted_out, Refusal):
        return sorted_out
    operations, fragments = sorted_out
    # (3): the operation that will run.
    operation = _choose(operations, operation_name)
    if isinstance(operation, Refusal):
        return operation
    # (4): what it selects.
    walk = _Walk(fragments)
    extent = walk.extent(operation.selection_set, 0)
    if isinstance(extent, Refusal):
        return extent
    # (5): the variables that it takes.
    defaults = _defaults(operation)
    if isinstance(defaults, Refusal):
        return defaults
    return Executable(
        operation.operation.value,
        _name(operation),
        tuple(walk.roots(operation.selection_set)),
        extent.depth,
        frozenset(defaults),
        {name: value for name, value in defaults.items() if not isinstance(value, Absent)},
    )


def _too_deep() -> Refusal:
    return Refusal(Code.BODY_TOO_LARGE, f"the query nests deeper than {MAX_NESTING} levels; flatten it")


def _unparsed(text: str, error: GraphQLError, max_tokens: int) -> Refusal:
    return _excess(text, max_tokens) or ambiguous(f"the query does not parse: {error.message[:200]}")


def _excess(text: str, max_tokens: int) -> Refusal | None:
    """Which limit a text exceeds that did not parse, if any; the parser does not tell why it stopped."""
    lexer, nesting = Lexer(Source(text)), 0
    try:
        for _ in range(max_tokens):
            kind = lexer.advance().kind
            if kind is TokenKind.EOF:
                return None
            nesting += (kind in _OPENING) - (kind in _CLOSING)
            if nesting > 2 * MAX_NESTING:  # a level of fields may have braces and parentheses
                return _too_deep()
    except GraphQLError:
        return None
    why = f"the query has more than {max_tokens} tokens; send less in one request, or values as variables"
    return Refusal(Code.BODY_TOO_LARGE, why)


Sorted = tuple[list[OperationDefinitionNode], dict[str, FragmentDefinitionNode]]


def _sort_out(definitions: Iterable[DefinitionNode]) -> Sorted | Refusal:
    operations: list[OperationDefinitionNode] = []
    fragments: dict[str, FragmentDefinitionNode] = {}
    for definition in definitions:
        if isinstance(definition, OperationDefinitionNode):
            operations.append(definition)
        elif isinstance(definition, FragmentDefinitionNode):
            if definition.name.value in fragments:
                return ambiguous(f"the fragment {definition.name.value} is defined twice; define it once")
            fragments[definition.name.value] = definition
        else:
            return ambiguous("the query defines types; send operations and fragments only")
    names = [_name(operation) for operation in operations]
    if len(set(names)) < len(names):
        return ambiguous("two operations have the same name or none; name each one differently")
    if len(names) > 1 and "" in names:
        return ambiguous("an operation without a name must be the only one; name it")
    return operations, fragments


def _name(operation: OperationDefinitionNode) -> str:
    return operation.name.value if operation.name else ""


def _choose(
    operations: list[OperationDefinitionNode], operation_name: str | None
) -> OperationDefinitionNode | Refusal:
    if not operations:
        return ambiguous("the query has no operation; send one")
    if not operation_name:  # clients send "" for a single operation without a name
        if len(operations) > 1:
            return ambiguous(f"{len(operations)} operations and no operationName; name the one to run")
        return operations[0]
    for operation in operations:
        if _name(operation) == operation_name:
            return operation
    return ambiguous(f"operationName is {operation_name[:80]!r}, which no operation of the query is called")


class Extent(NamedTuple):
    """How deep a selection goes: in fields, and in fields and fragments."""

    depth: int
    nesting: int


class _Walk:
    """A walk over selections. Each fragment is measured once, so that a bomb of spreads costs little."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._measured: dict[str, Extent] = {}
        self._open: set[str] = set()

    def extent(self, selections: SelectionSetNode, level: int) -> Extent | Refusal:
        """Measure, or refuse what is empty, cyclic, undefined or too deep. ``level`` is where we are."""
        if not selections.selections:
            return ambiguous("a selection { } is empty; select a field")
        depth = nesting = 0
        for selection in selections.selections:
            inner = self._selection(selection, level + 1) if level < MAX_NESTING else _too_deep()
            if isinstance(inner, Refusal):
                return inner
            depth, nesting = max(depth, inner.depth), max(nesting, inner.nesting + 1)
        return Extent(depth, nesting) if level + nesting <= MAX_NESTING else _too_deep()

    def _selection(self, node: SelectionNode, level: int) -> Extent | Refusal:
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value, level)
        if isinstance(node, InlineFragmentNode):
            return self.extent(node.selection_set, level)
        assert isinstance(node, FieldNode)
        if node.selection_set is None:
            return Extent(1, 0)
        inner = self.extent(node.selection_set, level)
        return inner if isinstance(inner, Refusal) else Extent(inner.depth + 1, inner.nesting)

    def _fragment(self, name: str, level: int) -> Extent | Refusal:
        if name in self._measured:
            return self._measured[name]
        if name in self._open:
            return ambiguous(f"the fragment {name} contains itself; remove the cycle")
        fragment = self._fragments.get(name)
        if fragment is None:
            return ambiguous(f"the fragment {name} is not defined; define it in the same query")
        self._open.add(name)
        extent = self.extent(fragment.selection_set, level)
        self._open.remove(name)
        if not isinstance(extent, Refusal):
            self._measured[name] = extent
        return extent

    def roots(self, selections: SelectionSetNode) -> Iterable[FieldNode]:
        """The fields of a measured selection itself, through fragments, each fragment once (6.3.2)."""
        waiting, seen = [*reversed(selections.selections)], set[str]()
        while waiting:
            node = waiting.pop()
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                waiting += reversed(node.selection_set.selections)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                waiting += reversed(self._fragments[node.name.value].selection_set.selections)


def _defaults(operation: OperationDefinitionNode) -> dict[str, Json | Absent] | Refusal:
    found: dict[str, Json | Absent] = {}
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        if name in found:
            return ambiguous(f"the variable ${name} is declared twice; declare it once")
        value = ABSENT if definition.default_value is None else plain(definition.default_value, {})
        if isinstance(value, Refusal):
            return value
        found[name] = value
    return found
