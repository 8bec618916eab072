"""Which operations of a service a request may be: tables made once, at load.

REST: the operation with the most specific template wins, among those of one template the one with the
most conditions. An operation whose conditions do not hold makes way for the next, down to less specific
templates; so a request has a list of candidates, and the first whose conditions hold is the operation.

Decided: operations of one template may be told apart by different query parameters (``?acl``, ``?policy``),
because that is how S3 and others name what they do. A request with the parameters of two such rivals is
refused when it comes, because no order of ours could be the upstream's.

Elsewhere a key (``tool:search``, ``query.viewer``) names the operation: exact beats prefix, and a longer
prefix a shorter one.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from proxy.policy.fact import Place, Protocol
from proxy.policy.operation import Operation
from proxy.policy.path_tree import PathTree
from proxy.policy.template import REST, Template, common, more_specific, parse_template

T = TypeVar("T")


class Candidate(NamedTuple):
    """An operation whose method and template fit. ``path`` are the parameters: ``facts.path``."""

    operation: Operation
    path: dict[str, str]


class Matched(NamedTuple):
    """The operations a REST request may be, in order of precedence; never empty.

    The first whose ``when`` holds is the one, unless that of a rival holds too. Only the last may be without
    conditions; if it has some and none holds, no operation matches.
    """

    candidates: tuple[Candidate, ...]

    @property
    def needs_body(self) -> bool:
        """Whether a condition is about the content, so that it may have to be read."""
        return any(
            condition.place is Place.BODY
            for candidate in self.candidates
            for condition in candidate.operation.when
        )


def expand(methods: Sequence[str]) -> frozenset[str]:
    """The methods an operation is about: GET includes HEAD."""
    return frozenset({*methods, "HEAD"} if "GET" in methods else methods)


def exclusive(one: Operation, other: Operation) -> bool:
    """Whether no request can hold the conditions of both: they want different values of one field."""
    wanted = {(condition.place, condition.path): set(condition.values) for condition in one.when}
    for condition in other.when:
        values = wanted.get((condition.place, condition.path))
        if values and condition.values and values.isdisjoint(condition.values):
            return True
    return False


def rivals(one: Candidate, other: Candidate) -> bool:
    """Whether neither candidate for one request takes precedence, so that only one of them may hold."""
    left, right = one.operation, other.operation
    assert left.template is not None, "candidates have one"
    assert right.template is not None, "candidates have one"
    return left.template.shape == right.template.shape and len(left.when) == len(right.when)


def _clash(one: Operation, other: Operation, left: Template, right: Template) -> bool:
    if not common(left, right) or more_specific(left, right) or more_specific(right, left):
        return False
    if left.shape == right.shape and (len(one.when) != len(other.when) or _asked_apart(one, other)):
        return False
    return not exclusive(one, other)


def _asked_apart(one: Operation, other: Operation) -> bool:
    """Whether each wants a query parameter that the other does not look at."""
    left, right = _parameters(one), _parameters(other)
    return bool(left - right) and bool(right - left)


def _parameters(operation: Operation) -> set[tuple[str, ...]]:
    return {condition.path for condition in operation.when if condition.place is Place.QUERY}


def ambiguous(operations: Sequence[Operation]) -> tuple[Operation, Operation] | None:
    """Two operations that match the same request while neither takes precedence, if any."""
    ready = [(op, op.template, expand(op.methods)) for op in operations if op.template is not None]
    for index, (one, left, methods) in enumerate(ready):
        for other, right, others in ready[:index]:
            if not methods.isdisjoint(others) and _clash(one, other, left, right):
                return other, one
    return None


class Ambiguous(ValueError):
    """Two operations match the same requests, and neither takes precedence."""

    def __init__(self, one: Operation, other: Operation) -> None:
        super().__init__(f"{one.id} and {other.id} match the same requests")
        self.operations = (one, other)


class RestTable:
    """The REST operations of one service, ready to be matched: one tree a method.

    :raises Ambiguous: if two of them are.
    """

    __slots__ = ("_trees",)

    def __init__(self, operations: Sequence[Operation]) -> None:
        pair = ambiguous(operations)
        if pair is not None:
            raise Ambiguous(*pair)
        self._trees: dict[str, PathTree[tuple[Template, Operation]]] = {}
        for operation in sorted(operations, key=lambda operation: -len(operation.when)):
            if operation.template is not None:
                for method in expand(operation.methods):
                    tree = self._trees.setdefault(method, PathTree())
                    tree.add(operation.template, (operation.template, operation))

    def match(self, method: str, path: str) -> Matched | None:
        """The candidates for this method on this canonical path, or None if there are none."""
        tree = self._trees.get(method)
        if tree is None:
            return None
        candidates = []
        for template, operation in tree.find(path):
            candidates.append(Candidate(operation, template.values(path)))
            if not operation.when:
                break
        return Matched(tuple(candidates)) if candidates else None


class Patterns(Generic[T]):
    """Values by names, some of them prefixes that end with ``*``: exact beats prefix, longer beats shorter.

    :raises ValueError: if a pattern stands twice.
    """

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, T] = {}
        prefixes: dict[str, T] = {}
        for pattern, value in entries:
            table = prefixes if pattern.endswith("*") else self._exact
            key = pattern.removesuffix("*")
            if key in table:
                raise ValueError(f"{pattern} stands twice")
            table[key] = value
        self._prefixes = sorted(prefixes.items(), key=lambda pair: -len(pair[0]))

    def find(self, name: str) -> T | None:
        """The value of the pattern that fits ``name`` best, or None."""
        found = self._exact.get(name)
        if found is not None:
            return found
        return next((value for prefix, value in self._prefixes if name.startswith(prefix)), None)


class Selectors:
    """The operations of one service that are named by a key.

    :raises Ambiguous: if two have the same selector.
    """

    __slots__ = ("_tables",)

    def __init__(self, operations: Iterable[Operation]) -> None:
        entries: dict[Protocol, list[tuple[str, Operation]]] = {}
        seen: dict[tuple[Protocol, str], Operation] = {}
        for operation in operations:
            if operation.selector is None:
                continue
            key = operation.selector.protocol, operation.selector.pattern
            other = seen.setdefault(key, operation)
            if other is not operation:
                raise Ambiguous(other, operation)
            entries.setdefault(key[0], []).append((key[1], operation))
        self._tables = {protocol: Patterns(pairs) for protocol, pairs in entries.items()}

    def find(self, protocol: Protocol, key: str) -> Operation | None:
        """The operation that ``key`` names, or None."""
        table = self._tables.get(protocol)
        return None if table is None else table.find(key)


class Endpoints:
    """What is spoken where: the most specific template that fits a path decides, else ``default``.

    With or without a slash at its end a path is the same to many servers. What is spoken at the one is
    therefore spoken at the other, unless that is declared; else it could be called there as if it were REST.

    :raises ValueError: if two templates match the same paths while neither is more specific.
    """

    __slots__ = ("_alone", "_default", "_tree")

    def __init__(self, endpoints: Sequence[tuple[Template, Protocol]], default: Protocol) -> None:
        self._tree: PathTree[Protocol] = PathTree()
        self._alone = not endpoints
        self._default = default
        for index, (one, spoken) in enumerate(endpoints):
            for other, _ in endpoints[:index]:
                if common(one, other) and not more_specific(one, other) and not more_specific(other, one):
                    raise ValueError(f"endpoints {other.text} and {one.text} match the same paths")
            self._tree.add(one, spoken)
        declared = {template.text for template, _ in endpoints}
        for one, spoken in endpoints:
            twin = one.text[:-1] if one.text.endswith("/") else f"{one.text}/"
            if twin and twin not in declared and spoken is not Protocol.REST and REST not in one.shape:
                self._tree.add(parse_template(twin), spoken)

    def at(self, path: str) -> Protocol:
        """What is spoken at a canonical path."""
        return self._default if self._alone else next(self._tree.find(path), self._default)
