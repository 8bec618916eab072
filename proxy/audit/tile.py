"""Where hashes and entries of a log lie, and how they are framed: c2sp.org/tlog-tiles.

``tile/<level>/<N>`` holds 256 hashes, ``tile/entries/<N>`` the 256 entries under level-0 tile N, each
as a uint16 length (big-endian) and its octets; a tile at the right edge is ``.../<N>.p/<width>``.
``<N>`` is printed in groups of three digits, all but the last marked: 1234067 is ``x001/x234/067``.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from proxy.audit.merkle import HASH_SIZE, Frontier, Node, perfect, root_of

WIDTH: Final = 256
HEIGHT: Final = 8
TILE_SIZE: Final = WIDTH * HASH_SIZE
_LENGTH = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of one tile: ``width`` hashes, 256 for a full one."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Its path under the log's prefix."""
        return _path(str(self.level), self.index, self.width)


def bundle_path(index: int, width: int = WIDTH) -> str:
    """The path of an entry bundle under the log's prefix."""
    return _path("entries", index, width)


def _path(level: str, index: int, width: int) -> str:
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"


def frame(entry: bytes) -> bytes:
    """One entry as it stands in a bundle.

    :raises ValueError: if it is longer than 65,535 octets.
    """
    if len(entry) > 0xFFFF:  # noqa: PLR2004 - the greatest uint16
        raise ValueError(f"an entry of {len(entry)} octets")
    return _LENGTH.pack(len(entry)) + entry


def frames(bundle: bytes) -> Iterator[tuple[int, bytes]]:
    """The complete entries of a bundle, each with the offset at which it ends; a torn tail is not one."""
    end, size = 0, len(bundle)
    while end + 2 <= size:
        start = end + 2
        end = start + _LENGTH.unpack_from(bundle, end)[0]
        if end > size:
            return
        yield end, bundle[start:end]


def written(pending: bytes) -> Iterator[tuple[int, bytes]]:
    """The complete entries of a bundle in progress, as ``frames`` gives them.

    The room made ready behind them holds zeros, and an entry with a zero is torn (no JSON text has one):
    either is the end.
    """
    for end, entry in frames(pending):
        if not entry or b"\0" in entry:
            return
        yield end, entry


class Edge:
    """The tiles of a growing tree that are not full yet, one per level, and its root.

    ``append`` returns the tiles that a leaf fills. Nothing is hashed twice.
    """

    __slots__ = ("_frontier", "_levels")

    def __init__(self) -> None:
        self._frontier = Frontier()
        self._levels: list[bytearray] = []

    @classmethod
    def restore(cls, size: int, node: Node) -> "Edge":
        """The edge of the tree of ``size`` leaves whose perfect subtrees ``node`` knows."""
        edge = cls()
        edge._frontier = Frontier(size, [node(height, index) for height, index in perfect(0, size)])
        level = 0
        while size >> HEIGHT * level:
            count = size >> HEIGHT * level
            first = count - count % WIDTH
            edge._levels.append(bytearray(b"".join(node(HEIGHT * level, n) for n in range(first, count))))
            level += 1
        return edge

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._frontier.size

    def root(self) -> bytes:
        """The root of the tree."""
        return self._frontier.root()

    def append(self, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """Add a leaf hash; returns the tiles it fills, lowest level first, with their content."""
        index = self._frontier.size
        full = []
        for level, value in enumerate(self._frontier.append(leaf)[::HEIGHT]):
            if level == len(self._levels):
                self._levels.append(bytearray())
            hashes = self._levels[level]
            hashes += value
            if len(hashes) == TILE_SIZE:
                full.append((Tile(level, index >> HEIGHT * (level + 1)), bytes(hashes)))
                hashes.clear()
        return full

    def partials(self) -> list[tuple[Tile, bytes]]:
        """The tiles at the edge that are neither empty nor full, with their content."""
        return [
            (Tile(level, self.size >> HEIGHT * (level + 1), len(hashes) // HASH_SIZE), bytes(hashes))
            for level, hashes in enumerate(self._levels)
            if hashes
        ]


def nodes(read: Callable[[int, int], bytes]) -> Node:
    """A ``Node`` function over tiles: ``read(level, index)`` gives a tile's hashes as far as it goes."""

    def node(height: int, index: int) -> bytes:
        level, inner = divmod(height, HEIGHT)
        first = index << inner
        hashes = read(level, first // WIDTH)
        start = first % WIDTH
        parts = [hashes[n * HASH_SIZE : (n + 1) * HASH_SIZE] for n in range(start, start + (1 << inner))]
        return root_of(parts)

    return node
