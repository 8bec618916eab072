import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.merkle import leaf_hash, root_of
from proxy.audit.tile import Edge, Tile, bundle_path, frame, frames, nodes


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(1, 999, 1), "tile/1/999.p/1"),
        (Tile(2, 1000), "tile/2/x001/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
    ],
)
def test_paths(tile, path):
    assert tile.path == path


def test_bundle_paths():
    assert bundle_path(1_234_067, 7) == "tile/entries/x001/x234/067.p/7"


@given(st.lists(st.binary(max_size=300)), st.binary(max_size=3))
def test_frames_read_back(entries, tail):
    bundle = b"".join(map(frame, entries))
    assert [entry for _, entry in frames(bundle)] == entries
    torn = bundle[: len(bundle) - len(tail)]
    found = [entry for _, entry in frames(torn)]
    assert found == entries[: len(found)]


def test_a_frame_holds_a_uint16_of_octets():
    assert frame(b"x" * 65_535)[:3] == b"\xff\xffx"
    with pytest.raises(ValueError, match="65536"):
        frame(b"x" * 65_536)


def grown(size):
    edge, tiles = Edge(), {}
    for n in range(size):
        for tile, data in edge.append(leaf_hash(b"%d" % n)):
            assert tile not in tiles
            tiles[tile] = data
    return edge, tiles


def test_tiles_of_seventy_thousand():
    edge, full = grown(70_000)
    assert {tile.path for tile, _ in edge.partials()} == {
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    }
    assert sum(tile.level == 0 for tile in full) == 273
    assert [tile for tile in full if tile.level] == [Tile(1, 0)]
    assert full[Tile(1, 0)][:32] == root_of([leaf_hash(b"%d" % n) for n in range(256)])

    known = {(tile.level, tile.index): data for tile, data in [*full.items(), *edge.partials()]}
    again = Edge.restore(70_000, nodes(lambda level, index: known[level, index]))
    assert again.root() == edge.root()
    assert again.partials() == edge.partials()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 700])
def test_an_edge_restored_is_the_edge(size):
    edge, full = grown(size)
    known = {(tile.level, tile.index): data for tile, data in [*full.items(), *edge.partials()]}
    again = Edge.restore(size, nodes(lambda level, index: known[level, index]))
    assert (again.size, again.root(), again.partials()) == (edge.size, edge.root(), edge.partials())
    leaf = leaf_hash(b"next")
    assert again.append(leaf) == edge.append(leaf)
    assert again.root() == edge.root()
