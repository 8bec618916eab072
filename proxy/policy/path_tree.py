"""Path templates put together, so that a path finds those it matches in one walk along its segments.

A walk visits each node once at most: its cost is bounded by the number of templates, whatever the path.
"""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from proxy.policy.template import LITERAL, ONE, Template

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("here", "literals", "one", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.one: _Node[T] | None = None
        self.here: list[T] = []  # templates that end with this segment
        self.rest: list[T] = []  # templates that go on with {name*}


class PathTree(Generic[T]):
    """Values by path templates. Those of one template come in the order in which they were added."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, template: Template, value: T) -> None:
        """Put a value where ``template`` says."""
        node = self._root
        for segment, kind in zip(template.segments, template.shape, strict=True):
            if kind == LITERAL:
                node = node.literals.setdefault(segment, _Node())
            elif kind == ONE:
                node.one = node.one or _Node()
                node = node.one
            else:
                node.rest.append(value)
                return
        node.here.append(value)

    def find(self, path: str) -> Iterator[T]:
        """The values of all templates that match a canonical path, the most specific first."""
        return _walk(self._root, path.split("/"), 1)


def _walk(node: _Node[T], parts: Sequence[str], index: int) -> Iterator[T]:
    if index == len(parts):
        yield from node.here
        return
    part = parts[index]
    literal = node.literals.get(part)
    if literal is not None:
        yield from _walk(literal, parts, index + 1)
    if node.one is not None and part:
        yield from _walk(node.one, parts, index + 1)
    yield from node.rest
