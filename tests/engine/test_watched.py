"""Files that change under us: read again, and kept where the new ones are of no use."""

import os
from pathlib import Path

import pytest

from proxy.engine.watched import Watched


def parse(contents: tuple[bytes, ...]) -> tuple[int, ...]:
    return tuple(int(content) for content in contents)


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "a", tmp_path / "b"
    for path in paths:
        path.write_bytes(b"1")
    return paths


def test_the_same_object_until_a_file_changes(files):
    told = []
    watched = Watched(files, parse, told.append)
    first = watched.current()
    assert first == (1, 1)
    assert watched.current() is first
    files[1].write_bytes(b"22")
    assert watched.current() == (1, 22)
    assert told == []


def test_what_cannot_be_used_is_told_once_and_the_old_stays(files):
    told = []
    watched = Watched(files, parse, told.append)
    files[0].write_bytes(b"junk")
    assert [watched.current() for _ in range(3)] == [(1, 1)] * 3
    assert len(told) == 1
    assert str(files[0]) in told[0]
    files[0].unlink()
    assert [watched.current() for _ in range(3)] == [(1, 1)] * 3
    assert len(told) == 2
    files[0].write_bytes(b"333")
    assert watched.current() == (333, 1)
    assert len(told) == 2


def test_a_link_that_leads_elsewhere_is_a_change(files, tmp_path):
    link = tmp_path / "now"
    link.symlink_to(files[0])
    other = tmp_path / "other"
    other.write_bytes(b"2")
    os.utime(other, ns=(files[0].stat().st_mtime_ns,) * 2)
    watched = Watched((link,), parse, print)
    assert watched.current() == (1,)
    link.unlink()
    link.symlink_to(other)
    assert watched.current() == (2,)


def test_it_does_not_begin_without_something_to_use(files):
    with pytest.raises(FileNotFoundError):
        Watched((Path("/nowhere/at/all"),), parse, print)
    files[0].write_bytes(b"junk")
    with pytest.raises(ValueError, match="invalid literal"):
        Watched(files, parse, print)
