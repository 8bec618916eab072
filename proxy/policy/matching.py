"""Which operations of a service a request may be: tables made once, at load.

REST: the operation with the most specific template wins, among those of one template the one with the
most conditions. An operation whose conditions do not hold makes way for the next, down to less specific
templates; so a request has a list of candidates, and the first whose conditions hold is the operation.
Elsewhere a key (``tool:search``, ``query.viewer``) names the operation: exact beats prefix, and a longer
prefix a shorter one.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from proxy.policy.fact import Place, Protocol
from proxy.policy.operation import Operation
from proxy.policy.template import Template, common, more_specific

T = TypeVar("T")


class Candidate(NamedTuple):
    """An operation whose method and template fit. ``path`` are the parameters: ``facts.path``."""

    operation: Operation
    path: dict[str, str]


class Matched(NamedTuple):
    """The operations a REST request may be, in order of precedence; never empty.

    The first whose ``when`` holds is the one. Only the last may be without conditions; if it has some
    and none holds, no operation matches.
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


def _clash(one: Operation, other: Operation, left: Template, right: Template) -> bool:
    if not common(left, right) or more_specific(left, right) or more_specific(right, left):
        return False
    if left.shape == right.shape and len(one.when) != len(other.when):
        return False
    return not exclusive(one, other)


def ambiguous(operations: Sequence[Operation]) -> tuple[Operation, Operation] | None:
    """Two operations that match the same request while neither takes precedence, if any."""
    ready = [(op, op.template, expand(op.methods)) for op in operations if op.template is not None]
    for index, (one, left, methods) in enumerate(ready):
        for other, right, others in ready[:index]:
            if not methods.isdisjoint(others) and _clash(one, other, left, right):
                return other, one
    return None


class _Step(NamedTuple):
    """``pattern`` is None where it is known already that the path matches."""

    pattern: re.Pattern[str] | None
    operation: Operation
    template: Template


class Ambiguous(ValueError):
    """Two operations match the same requests, and neither takes precedence."""

    def __init__(self, one: Operation, other: Operation) -> None:
        super().__init__(f"{one.id} and {other.id} match the same requests")
        self.operations = (one, other)


class RestTable:
    """The REST operations of one service, ready to be matched: one regular expression a method.

    :raises Ambiguous: if two of them are.
    """

    __slots__ = ("_tables",)

    def __init__(self, operations: Sequence[Operation]) -> None:
        pair = ambiguous(operations)
        if pair is not None:
            raise Ambiguous(*pair)
        self._tables: dict[str, tuple[re.Pattern[str], list[tuple[_Step, ...]]]] = {}
        for method in sorted({method for operation in operations for method in expand(operation.methods)}):
            self._tables[method] = _table([op for op in operations if method in expand(op.methods)])

    def match(self, method: str, path: str) -> Matched | None:
        """The candidates for this method on this canonical path, or None if there are none."""
        table = self._tables.get(method)
        found = None if table is None else table[0].fullmatch(path)
        if table is None or found is None or found.lastindex is None:
            return None
        candidates = []
        for step in table[1][found.lastindex - 1]:
            if step.pattern is None or step.pattern.fullmatch(path) is not None:
                candidates.append(Candidate(step.operation, step.template.values(path)))
                if not step.operation.when:
                    break
        return Matched(tuple(candidates))


def _table(operations: Iterable[Operation]) -> tuple[re.Pattern[str], list[tuple[_Step, ...]]]:
    """One alternative for each distinct template, and the steps to take where it fits."""
    chosen = [(op.template, op) for op in operations if op.template is not None]
    chosen.sort(key=lambda pair: (pair[0].shape, -len(pair[1].when)))
    rungs: dict[str, list[tuple[Template, Operation]]] = {}
    for template, operation in chosen:
        rungs.setdefault(template.pattern, []).append((template, operation))
    whole = re.compile("|".join(f"({pattern})" for pattern in rungs), re.DOTALL)
    return whole, [_steps(index, list(rungs.items())) for index in range(len(rungs))]


def _steps(first: int, rungs: Sequence[tuple[str, list[tuple[Template, Operation]]]]) -> tuple[_Step, ...]:
    """The steps for paths whose most specific template is that of ``first``."""
    template = rungs[first][1][0][0]
    steps = [_Step(None, operation, own) for own, operation in rungs[first][1]]
    if not steps[-1].operation.when:
        return tuple(steps)
    for pattern, pairs in rungs[first + 1 :]:
        if common(template, pairs[0][0]):
            compiled = re.compile(pattern, re.DOTALL)
            steps += [_Step(compiled, operation, own) for own, operation in pairs]
    return tuple(steps)


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

    :raises ValueError: if two templates match the same paths while neither is more specific.
    """

    __slots__ = ("_default", "_patterns")

    def __init__(self, endpoints: Sequence[tuple[Template, Protocol]], default: Protocol) -> None:
        for index, (one, _) in enumerate(endpoints):
            for other, _ in endpoints[:index]:
                if common(one, other) and not more_specific(one, other) and not more_specific(other, one):
                    raise ValueError(f"endpoints {other.text} and {one.text} match the same paths")
        ordered = sorted(endpoints, key=lambda pair: pair[0].shape)
        self._patterns = [(re.compile(template.pattern, re.DOTALL), spoken) for template, spoken in ordered]
        self._default = default

    def at(self, path: str) -> Protocol:
        """What is spoken at a canonical path."""
        for pattern, spoken in self._patterns:
            if pattern.fullmatch(path) is not None:
                return spoken
        return self._default
