import pytest

from proxy.store.tiles import Tiles


@pytest.mark.parametrize(
    ("bundle", "gone"),
    [
        (7, {"tile/entries/007.p/3", "tile/0/007.p/3"}),
        (255, {"tile/entries/255.p/3", "tile/0/255.p/3", "tile/1/000.p/255"}),
    ],
)
def test_partial_tiles_go_when_the_full_one_is_there(tmp_path, bundle, gone):
    tiles = Tiles(tmp_path)
    names = {f"tile/{level}/{n:03}.p/3" for level in ("entries", "0") for n in (7, 8, 255)} | {
        "tile/1/000.p/255",
        "tile/2/000.p/1",
    }
    for name in names:
        tiles.publish(name, b"x")
    tiles.drop_partials(bundle)
    assert {name for name in names if tiles.read(name) is None} == gone


def test_what_is_published_is_there(tmp_path):
    tiles = Tiles(tmp_path)
    tiles.publish("a/b", b"1")
    tiles.publish("a/b", b"2")
    tiles.publish_durably("c", b"3")
    assert [tiles.read(name) for name in ("a/b", "c", "d", "c/d")] == [b"2", b"3", None, None]
    tiles.rename_durably("c", "x/y/c")
    assert tiles.read("x/y/c") == b"3"
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"b", "c"}
