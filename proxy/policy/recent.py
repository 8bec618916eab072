"""A bounded memory: what was kept first goes first. For what can always be worked out again."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most ``size`` entries. Use it from one thread."""

    __slots__ = ("_entries", "_size", "get")

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()
        self.get = self._entries.get  # the way of every decision, without a call in between

    def keep(self, key: K, value: V) -> None:
        """Remember ``value``; the oldest entry makes room."""
        if len(self._entries) >= self._size and key not in self._entries:
            self._entries.popitem(last=False)
        self._entries[key] = value

    def drain(self) -> Iterator[tuple[K, V]]:
        """Forget everything, entry by entry."""
        while self._entries:
            yield self._entries.popitem()
