"""The peer of a Unix socket, by the kernel's word: SO_PEERCRED (unix(7)) and /proc/PID/exe (proc(5)).

The user id is sound: the kernel kept it when the peer connected. The executable is a hint of less worth,
because whoever runs as that user can make a process look like another one (ptrace(2), LD_PRELOAD).
"""

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from proxy.identity.arrival import Process

_UCRED = struct.Struct("iII")  # pid, uid, gid
_SO_PEERPIDFD = 77  # Linux 6.5; the socket module does not name it yet


def supported() -> bool:
    """Whether this system tells who is at the other end."""
    return hasattr(socket, "SO_PEERCRED")


def process(connected: socket.socket) -> Process:
    """Who connected.

    :raises OSError: the kernel does not say.
    """
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(credentials)
    return Process(uid, pid, _executable(connected, pid))


def _executable(connected: socket.socket, pid: int) -> str:
    """What the peer runs, if it is certain that ``pid`` still is the peer while we look; else "".

    A process id is used again once its process has gone. A pidfd is not, so if its process lives after
    we have looked, what we saw was its own. 0 is a process that our PID namespace does not show.
    """
    if pid <= 0:
        return ""
    try:
        with _pidfd(connected, pid) as descriptor:
            path = _look(pid)
            return path if _lives(descriptor) else ""
    except OSError:
        return ""  # gone, or not ours to look at


@contextlib.contextmanager
def _pidfd(connected: socket.socket, pid: int) -> Iterator[int]:
    try:
        (descriptor,) = struct.unpack(
            "i", connected.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, struct.calcsize("i"))
        )
    except OSError:
        # An older kernel. This one is of the process that has the id now: that it changed hands between
        # connect and accept cannot be excluded.
        descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _look(pid: int) -> str:
    """The executable's path, if it names the same file here.

    In a mount namespace of its own, which needs no privilege, a process can give its file any name; a file
    that was replaced or deleted has no name at all.
    """
    link = Path(f"/proc/{pid}/exe")
    path = link.readlink()
    return str(path) if path.samefile(link) else ""


def _lives(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)  # readable once the process has ended (pidfd_open(2))
    return not poll.poll(0)
