"""Unix sockets in the file system (unix(7)): bound with exactly the permissions asked for, never by force.

A socket that a crash left behind is replaced; one that somebody answers at, and a file that is no socket,
never. Two processes that want the same path are kept apart by a lock on its directory (flock(2)).
"""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Bound:
    """A socket at its path. ``inode`` says whether a file there is still ours."""

    path: Path
    socket: socket.socket
    inode: tuple[int, int]


def bind(path: Path, mode: int) -> Bound:
    """Bind a stream socket to ``path``, with the permissions ``mode`` (0o600: ours alone).

    It listens already, or the next process would take it for one that a crash left behind; who accepts may
    set another backlog.

    :raises OSError: the path is too long, is taken, or cannot be written; its words are for the operator.
    """
    with _locked(path.parent):
        _clear(path)
        unbound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The file gets the mode that the socket has, less the umask: never more than was asked for.
            os.fchmod(unbound.fileno(), mode)
            unbound.bind(str(path))
            path.chmod(mode)  # what the umask has taken
            unbound.listen(_BACKLOG)
            return Bound(path, unbound, _inode(path.lstat()))
        except BaseException:
            unbound.close()
            raise


def remove(bound: Bound) -> None:
    """Close the socket, and remove its file unless another one has taken its place.

    :raises OSError: it cannot be removed.
    """
    bound.socket.close()
    with _locked(bound.path.parent):
        try:
            if _inode(bound.path.lstat()) == bound.inode:
                bound.path.unlink()
        except FileNotFoundError:
            return  # event loops tidy up, too


def _clear(path: Path) -> None:
    """Remove what a crash left at ``path``."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise FileExistsError(
            errno.EEXIST, "is not a socket, so gatepass does not replace it; choose another path", str(path)
        )
    if _answered(path):
        raise OSError(errno.EADDRINUSE, "another process listens at this socket", str(path))
    path.unlink()


def _answered(path: Path) -> bool:
    """Whether somebody listens.

    :raises OSError: that cannot be told, as for another user's socket.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # noqa: FBT003 - the standard library's
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # its backlog is full
        except OSError as error:
            if error.errno == errno.EPROTOTYPE:
                return True  # somebody's, for datagrams
            raise OSError(
                error.errno, f"it cannot be told whether somebody listens: {error.strerror}", str(path)
            ) from error
        return True


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
