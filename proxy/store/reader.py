"""Reading the entries of a log while another process writes it (c2sp.org/tlog-tiles bundles).

Entries that no checkpoint covers yet are read from ``pending``; a torn tail there is not an entry.
Whether any of it is authentic is the business of ``proxy.audit.verify``.
"""

from collections.abc import Iterator
from pathlib import Path

from proxy.audit.tile import WIDTH, bundle_path, written
from proxy.store.tiles import PENDING, Tiles


def entries(directory: Path) -> Iterator[bytes]:
    """Every entry, in order, up to the last one that is complete."""
    return read_entries(directory, 0, None)


def read_entries(directory: Path, start: int, stop: int | None) -> Iterator[bytes]:
    """The entries start..stop, fewer if the log ends before ``stop``; None means to its end."""
    tiles, index = Tiles(directory), start
    while stop is None or index < stop:
        number, skip = divmod(index, WIDTH)
        bundle = _bundle(tiles, number)
        found = [entry for _, entry in written(bundle)][:WIDTH][
            skip : None if stop is None else skip + stop - index
        ]
        yield from found
        index += len(found)
        if index < (number + 1) * WIDTH:
            return


def since_boot(directory: Path) -> Iterator[bytes]:
    """The entries from the last ``boot`` record on (from the first entry if there is none)."""
    tiles, number = Tiles(directory), 0
    while tiles.exists(bundle_path(number)):
        number += 1
    while number >= 0:
        found = [entry for _, entry in written(_bundle(tiles, number))]
        boots = [place for place, entry in enumerate(found) if b'"type":"boot"' in entry]
        if boots:
            return read_entries(directory, number * WIDTH + boots[-1], None)
        number -= 1
    return entries(directory)


def _bundle(tiles: Tiles, number: int) -> bytes:
    """The octets of a bundle, or of the pending one if it is its turn; the writer may rename it meanwhile."""
    name = bundle_path(number)
    full = tiles.read(name)
    if full is not None:
        return full
    if number and not tiles.exists(bundle_path(number - 1)):
        return b""
    pending = tiles.read(PENDING)
    return tiles.read(name) or pending or b""
