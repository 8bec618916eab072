"""Opening a log that may have been cut off at any octet (c2sp.org/tlog-tiles, tlog-checkpoint).

(1) read the checkpoint, (2) find the full bundles, (3) cut the torn tail off ``pending``, (4) rebuild
the right edge from hash tiles, making those again that are missing, (5) compare the root at the
checkpoint's size. What was signed is there and unchanged, or the log is not opened: ``LogCorrupt``.
Bundles older than the edge are not hashed again here; ``proxy.audit.verify`` does that.
"""

import os
from dataclasses import dataclass

from proxy.audit import Malformed
from proxy.audit.checkpoint import Checkpoint, opened
from proxy.audit.merkle import HASH_SIZE, leaf_hash, root_of, subtree
from proxy.audit.note import Vkey
from proxy.audit.tile import HEIGHT, TILE_SIZE, WIDTH, Edge, Tile, bundle_path, frames, nodes, written
from proxy.store.tiles import CHECKPOINT, PENDING, VKEY, Tiles


class LogCorrupt(Exception):
    """What lies in the directory is not what was signed. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What opening found: entries, octets of a torn tail cut off, and whether the last run ended uncleanly.

    Unclean means that the last run was not closed, or that there are entries, or a torn tail, which the
    last checkpoint does not cover: decisions may lack their outcome.
    """

    size: int
    dropped_bytes: int
    unclean: bool


@dataclass(frozen=True, slots=True)
class Recovered:
    """A log ready to be continued: its edge, the octets of the bundle in progress, the last checkpoint."""

    edge: Edge
    pending: bytes
    checkpoint: Checkpoint | None
    recovery: Recovery


def recover(tiles: Tiles, key: Vkey, *, interrupted: bool) -> Recovered:
    """Bring the directory to a state that can be appended to; ``interrupted``: the last run was not closed.

    :raises LogCorrupt: if it contradicts its checkpoint, or belongs to another key.
    """
    checkpoint = _checkpoint(tiles, key)
    signed = checkpoint.size if checkpoint else 0
    bundles = _full_bundles(tiles, signed)
    raw = tiles.read(PENDING) or b""
    found = _complete(raw)
    end = found[-1][0] if found else 0
    if bundles * WIDTH + len(found) < signed:
        raise LogCorrupt(
            f"the checkpoint is of {signed} entries, but only {bundles * WIDTH + len(found)} are here"
        )
    tree = _Tree(tiles, bundles, [leaf_hash(entry) for _, entry in found])
    edge = tree.edge()
    if checkpoint and subtree(nodes(tree.tile), 0, signed) != checkpoint.root:
        raise LogCorrupt(f"the {signed} entries here are not those that the checkpoint signed")
    # only now, with everything proved, is anything changed
    tree.restore_tiles()
    if end < len(raw):
        _truncate(tiles, end)
    if len(found) == WIDTH:
        tiles.rename_durably(PENDING, bundle_path(bundles))
        bundles, end = bundles + 1, 0
    if bundles:
        tiles.drop_partials(bundles - 1)
    dropped = len(raw[found[-1][0] if found else 0 :].rstrip(b"\0"))  # room is not a torn tail
    recovery = Recovery(edge.size, dropped, unclean=interrupted or edge.size != signed or dropped > 0)
    return Recovered(edge, raw[:end], checkpoint, recovery)


def _checkpoint(tiles: Tiles, key: Vkey) -> Checkpoint | None:
    vkey = tiles.read(VKEY)
    if vkey is not None and vkey.decode(errors="replace").strip() != str(key):
        raise LogCorrupt("the log belongs to another key or origin (see its file log.vkey)")
    data = tiles.read(CHECKPOINT)
    if data is None:
        return None
    try:
        return opened(data, key)
    except Malformed as error:
        raise LogCorrupt(f"the checkpoint cannot be trusted: {error}") from None


def _full_bundles(tiles: Tiles, signed: int) -> int:
    count = signed // WIDTH
    if count and not tiles.exists(bundle_path(count - 1)):
        raise LogCorrupt(f"the checkpoint is of {signed} entries, but {bundle_path(count - 1)} is missing")
    while tiles.exists(bundle_path(count)):
        count += 1
    return count


def _complete(raw: bytes) -> list[tuple[int, bytes]]:
    """The complete entries in ``pending``: up to the room behind them, or to one that is torn."""
    found = list(written(raw))
    if len(found) > WIDTH:
        raise LogCorrupt(f"{len(found)} entries in {PENDING}, where at most {WIDTH} can be")
    return found


def _truncate(tiles: Tiles, size: int) -> None:
    descriptor = os.open(tiles.directory / PENDING, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Tree:
    """The hash tiles of a log: read where they are, computed where they are missing or not full."""

    def __init__(self, tiles: Tiles, bundles: int, pending: list[bytes]) -> None:
        self._tiles = tiles
        self._bundles = bundles
        self._pending = pending
        self._known: dict[Tile, bytes] = {}
        self._missing: list[tuple[Tile, bytes]] = []

    def edge(self) -> Edge:
        edge = Edge.restore(self._bundles * WIDTH, nodes(self.tile))
        for leaf in self._pending:
            self._missing.extend(edge.append(leaf))
        return edge

    def restore_tiles(self) -> None:
        for tile, data in self._missing:
            self._tiles.publish(tile.path, data)

    def tile(self, level: int, index: int) -> bytes:
        if level == 0 and index == self._bundles:
            return b"".join(self._pending)
        width = min(WIDTH, (self._bundles * WIDTH >> HEIGHT * level) - index * WIDTH)
        tile = Tile(level, index, width)
        if tile not in self._known:
            self._known[tile] = self._load(tile)
        return self._known[tile]

    def _load(self, tile: Tile) -> bytes:
        if tile.width == WIDTH:
            data = self._tiles.read(tile.path)
            if data is not None and len(data) == TILE_SIZE:
                return data
        data = b"".join(self._leaves(tile) if tile.level == 0 else self._roots(tile))
        if tile.width == WIDTH:
            self._missing.append((tile, data))
        return data

    def _leaves(self, tile: Tile) -> list[bytes]:
        bundle = self._tiles.read(bundle_path(tile.index)) or b""
        hashes = [leaf_hash(entry) for _, entry in frames(bundle)]
        if len(hashes) != WIDTH:
            raise LogCorrupt(f"{bundle_path(tile.index)} does not hold {WIDTH} entries")
        return hashes

    def _roots(self, tile: Tile) -> list[bytes]:
        children = (self.tile(tile.level - 1, tile.index * WIDTH + n) for n in range(tile.width))
        return [root_of([c[i : i + HASH_SIZE] for i in range(0, len(c), HASH_SIZE)]) for c in children]
