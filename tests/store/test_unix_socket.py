"""Unix sockets at a path: exact permissions, a stale one replaced, somebody else's never."""

import errno
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from proxy.store.unix_socket import Bound, bind, remove


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def stale(path: Path) -> None:
    """What a crash leaves behind."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


def says_hello(bound: Bound) -> bool:
    """Whether ``bound`` is what answers at its path."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(bound.path))
        accepted, _ = bound.socket.accept()
        with accepted:
            accepted.sendall(b"hello")
            return client.recv(5) == b"hello"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("wanted", [0o600, 0o660, 0o666, 0o777])
def test_the_mode_is_exact_whatever_the_umask(tmp_path, wanted, umask):
    before = os.umask(umask)
    try:
        bound = bind(tmp_path / "x.sock", wanted)
    finally:
        os.umask(before)
    assert mode(bound.path) == wanted
    assert says_hello(bound)
    remove(bound)


def test_the_mode_is_never_wider_than_asked_for(tmp_path):
    """Looked at from outside, all the time."""
    path, seen, over = tmp_path / "x.sock", set(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            try:
                seen.add(mode(path))
            except FileNotFoundError:
                continue

    before = os.umask(0)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(200):
            remove(bind(path, 0o600))
    finally:
        os.umask(before)
        over.set()
        watcher.join()
    assert seen <= {0o600}


def test_a_stale_socket_is_replaced(tmp_path):
    path = tmp_path / "x.sock"
    stale(path)
    bound = bind(path, 0o600)
    assert says_hello(bound)
    remove(bound)


def test_a_live_socket_is_not(tmp_path):
    bound = bind(tmp_path / "x.sock", 0o600)
    with pytest.raises(OSError, match="another process listens") as error:
        bind(bound.path, 0o600)
    assert error.value.errno == errno.EADDRINUSE
    assert str(bound.path) in str(error.value)
    bound.socket.accept()[0].close()  # the question whether it answers
    assert says_hello(bound)
    remove(bound)


def test_a_live_socket_whose_backlog_is_full_is_not(tmp_path):
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)  # noqa: FBT003 - the standard library's
            waiting.append(client)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
        with pytest.raises(OSError, match="another process listens"):
            bind(path, 0o600)
        for client in waiting:
            client.close()


def test_a_socket_of_another_kind_is_not(tmp_path):
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(OSError, match="another process listens"):
            bind(path, 0o600)


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling"])
def test_what_is_no_socket_is_not(tmp_path, kind):
    path = tmp_path / "x.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        stale(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))
    with pytest.raises(FileExistsError, match="not a socket") as error:
        bind(path, 0o600)
    assert str(path) in str(error.value)
    assert path.is_symlink() or path.exists()


def test_only_one_of_many_gets_the_path(tmp_path):
    path, results = tmp_path / "x.sock", []
    stale(path)
    gate = threading.Barrier(8)

    def contend() -> None:
        gate.wait()
        try:
            results.append(bind(path, 0o600))
        except OSError as error:
            results.append(error)

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [result for result in results if isinstance(result, Bound)]
    assert len(winners) == 1
    assert {result.errno for result in results if result not in winners} == {errno.EADDRINUSE}
    assert (path.lstat().st_dev, path.lstat().st_ino) == winners[0].inode
    remove(winners[0])


def test_what_is_removed_is_ours(tmp_path):
    bound = bind(tmp_path / "x.sock", 0o600)
    remove(bound)
    assert not bound.path.exists()
    assert bound.socket.fileno() == -1
    remove(bound)  # twice does no harm


def test_what_took_our_place_stays(tmp_path):
    first = bind(tmp_path / "x.sock", 0o600)
    first.path.rename(tmp_path / "old.sock")
    second = bind(first.path, 0o600)
    remove(first)
    assert says_hello(second)
    remove(second)
    assert (tmp_path / "old.sock").exists()


def test_where_nothing_can_be_bound(tmp_path):
    with pytest.raises(FileNotFoundError):
        bind(tmp_path / "none" / "x.sock", 0o600)
    with pytest.raises(OSError, match="too long"):
        bind(tmp_path / ("x" * 200), 0o600)
    assert list(tmp_path.iterdir()) == []
