"""Who is at the other end of a Unix socket: real processes, some of which have gone."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.engine import peer
from proxy.identity.arrival import Process

CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
WAIT = CONNECT + "s.recv(1)"
LEAVE = CONNECT + "s.sendall(b'.')"


@pytest.fixture
def listening(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "x.sock"))
        server.listen()
        server.settimeout(30)
        yield server


def start(
    listening: socket.socket, program: str, executable: str = sys.executable
) -> subprocess.Popen[bytes]:
    home = {**os.environ, "PYTHONHOME": sys.base_prefix}
    return subprocess.Popen([executable, "-S", "-c", program, listening.getsockname()], env=home)


def test_the_peer_is_known_by_user_process_and_executable(listening):
    with start(listening, WAIT) as child:
        connected, _ = listening.accept()
        with connected:
            found = peer.process(connected)
        assert found == Process(os.getuid(), child.pid, os.path.realpath(sys.executable))


def test_a_peer_that_has_gone_has_no_executable(listening):
    """Its process id may be another's by now."""
    with start(listening, LEAVE) as child:
        pass  # waits for its end, so that the id is free
    connected, _ = listening.accept()
    with connected:
        assert peer.process(connected) == Process(os.getuid(), child.pid, "")


def test_an_executable_that_was_replaced_has_no_name(listening, tmp_path):
    program = tmp_path / "agent"
    shutil.copy(os.path.realpath(sys.executable), program)
    with start(listening, WAIT, str(program)) as child:
        connected, _ = listening.accept()
        with connected:
            assert peer.process(connected).executable == str(program)
            program.unlink()
            assert peer.process(connected) == Process(os.getuid(), child.pid, "")
            shutil.copy("/bin/true", program)
            assert peer.process(connected).executable == ""


def test_a_socket_without_a_peer_is_an_error():
    with socket.socket(socket.AF_UNIX) as closed:
        closed.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            peer.process(closed)


def test_this_system_tells():
    assert peer.supported()
    assert Path("/proc/self/exe").exists()


def test_a_kernel_that_gives_no_pidfd_of_the_peer_is_asked_by_process_id():
    with socket.socket(socket.AF_INET) as other:  # it has no peer, so there is none to give
        assert peer._executable(other, os.getpid()) == os.path.realpath(sys.executable)
        assert peer._executable(other, 0) == ""
        assert peer._executable(other, 1 << 30) == ""
