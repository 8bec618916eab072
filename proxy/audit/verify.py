"""Verification of a whole log that somebody hands you: c2sp.org/tlog-tiles, tlog-checkpoint, RFC 6962.

(1) the checkpoint is signed by the log's key, (2) every entry hashes to its place in the level-0 tiles,
(3) every tile hashes to its place in the tile above, (4) the root over the entries at the checkpoint's
size is the signed one, (5) the records agree with each other (``ledger``).

What this cannot show without a witness or a checkpoint kept elsewhere: that a *shorter, older* state of
the log, with its own valid checkpoint, was put back, or that the key's owner signed two histories.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from proxy.audit import Malformed
from proxy.audit.checkpoint import Checkpoint, opened
from proxy.audit.ledger import Ledger
from proxy.audit.merkle import HASH_SIZE, leaf_hash
from proxy.audit.note import Vkey
from proxy.audit.tile import HEIGHT, WIDTH, Edge, Tile, bundle_path, frames, written

Visit = Callable[[int, bytes], None]


class Source(Protocol):
    """Where a log is read from: a directory, a mirror, a bucket."""

    def read(self, path: str) -> bytes | None:
        """The octets under this path, or None if there is nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Verified:
    """All of it holds. ``unsigned`` entries come after the checkpoint: readable, but not signed yet."""

    origin: str
    key: str
    size: int
    root: bytes
    unsigned: int


@dataclass(frozen=True, slots=True)
class Broken:
    """It does not hold. ``index`` is the first entry in question; None if the checkpoint itself fails."""

    index: int | None
    what: str


def verify(source: Source, key: Vkey) -> Verified | Broken:
    """Check a log of records against the key it should be signed with."""
    ledger = Ledger(key.name)
    odd: list[Broken] = []

    def visit(index: int, entry: bytes) -> None:
        wrong = ledger.add(entry)
        if wrong is not None and not odd:
            odd.append(Broken(index, wrong))

    result = verify_tree(source, key, visit)
    return odd[0] if odd and isinstance(result, Verified) else result


def verify_tree(source: Source, key: Vkey, visit: Visit) -> Verified | Broken:
    """Check (1) to (4) only, whatever the entries say; ``visit`` sees each one, in order."""
    data = source.read("checkpoint")
    if data is None:
        return Broken(None, "there is no checkpoint")
    try:
        checkpoint = opened(data, key)
    except Malformed as error:
        return Broken(None, f"the checkpoint does not hold: {error}")
    walk = _Walk(source, checkpoint, visit)
    broken = walk.run()
    if broken is not None:
        return broken
    return Verified(checkpoint.origin, str(key), checkpoint.size, checkpoint.root, walk.count_unsigned())


class _Walk:
    """One pass over the entries under a checkpoint."""

    def __init__(self, source: Source, checkpoint: Checkpoint, visit: Visit) -> None:
        self._source = source
        self._checkpoint = checkpoint
        self._visit = visit
        self._edge = Edge()
        self._faults: list[tuple[int, int, str]] = []  # first entry, number of entries, what

    def run(self) -> Broken | None:
        size = self._checkpoint.size
        complete = all(
            self._bundle(n, min(WIDTH, size - n * WIDTH)) for n in range((size + WIDTH - 1) // WIDTH)
        )
        for tile, hashes in self._edge.partials():
            self._compare(tile, hashes)
        if not complete:
            return self._first()
        authentic = self._edge.root() == self._checkpoint.root
        if not self._faults:
            return None if authentic else Broken(None, "the entries do not lead to the signed root")
        first = self._first()
        return (
            Broken(first.index, f"{first.what}; the entries do lead to the signed root")
            if authentic
            else first
        )

    def count_unsigned(self) -> int:
        """Visit and count what comes after the checkpoint; a torn tail is no entry."""
        size = index = self._checkpoint.size
        while True:
            entries = _entries(_bundle(self._source, index // WIDTH))
            for entry in entries[index % WIDTH :]:
                self._visit(index, entry)
                index += 1
            if len(entries) < WIDTH:
                return index - size

    def _bundle(self, number: int, width: int) -> bool:
        """Check the entries of one bundle; False if one is missing, for then there is no going on."""
        start = number * WIDTH
        for index, entry in enumerate(self._copies(number, width), start):
            if entry is None:
                self._fault(index, f"entry {index} is missing: {bundle_path(number)} ends before it")
                return False
            self._visit(index, entry)
            for tile, hashes in self._edge.append(leaf_hash(entry)):
                self._compare(tile, hashes)
        return True

    def _copies(self, number: int, width: int) -> Iterator[bytes | None]:
        """The entries as a reader gets them; the partial bundle, if there is one, must say the same."""
        bundle = _bundle(self._source, number)
        entries = _entries(bundle)
        if width == WIDTH <= len(entries) and sum(len(entry) + 2 for entry in entries[:WIDTH]) != len(bundle):
            self._fault((number + 1) * WIDTH, f"{bundle_path(number)} holds more than its {WIDTH} entries")
        partial = None if width == WIDTH else self._source.read(bundle_path(number, width))
        if partial is not None:
            published = _entries(partial)
            entries = entries or published
            for place in range(width):
                if entries[place : place + 1] != published[place : place + 1]:
                    what = f"{bundle_path(number, width)} and the bundle it became differ in it"
                    self._fault(number * WIDTH + place, what)
                    break
        yield from entries[:width]
        if len(entries) < width:
            yield None

    def _compare(self, tile: Tile, hashes: bytes) -> None:
        """Compare hashes, as far as they go, with the tile that a log of the checkpoint's size has there."""
        span = 1 << HEIGHT * tile.level
        width = min(WIDTH, self._checkpoint.size // span - tile.index * WIDTH)
        full = Tile(tile.level, tile.index)
        stored = self._source.read(Tile(tile.level, tile.index, width).path)
        if stored is None and width < WIDTH:
            stored = self._source.read(full.path)
        first = tile.index * WIDTH * span
        if stored is None:
            return self._fault(first, f"the hash tile {full.path} is missing", span * WIDTH)
        if len(stored) % HASH_SIZE or not width * HASH_SIZE <= len(stored) <= WIDTH * HASH_SIZE:
            self._fault(first, f"the hash tile {full.path} has {len(stored)} octets", span * WIDTH)
        for place in range(tile.width):
            here = slice(place * HASH_SIZE, (place + 1) * HASH_SIZE)
            if stored[here] != hashes[here]:
                index = first + place * span
                which = f"entry {index}" if span == 1 else f"one of the entries {index} to {index + span - 1}"
                return self._fault(index, f"{which} is not what the hash tile {full.path} holds", span)
        return None

    def _fault(self, index: int, what: str, span: int = 1) -> None:
        self._faults.append((index, span, what))

    def _first(self) -> Broken:
        """The first fault. One over many entries says nothing if a narrower one lies among them."""
        narrow: list[tuple[int, int, str]] = []
        for index, span, what in sorted(self._faults, key=lambda fault: fault[1]):
            if not any(index <= other < index + span for other, _, _ in narrow):
                narrow.append((index, span, what))
        index, _, what = min(narrow, key=lambda fault: fault[0])
        return Broken(index, what)


def _entries(bundle: bytes) -> list[bytes]:
    return [entry for _, entry in frames(bundle)]


def _bundle(source: Source, number: int) -> bytes:
    """A bundle as readers of the log get it: the full one, or what is still pending."""
    name = bundle_path(number)
    full = source.read(name)
    if full is not None:
        return full
    if number and source.read(bundle_path(number - 1)) is None:
        return b""
    pending = source.read("pending")
    end = max((end for end, _ in written(pending or b"")), default=0)
    return source.read(name) or (pending or b"")[:end]  # the writer may have renamed it meanwhile
