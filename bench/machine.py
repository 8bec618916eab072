"""Cores, processes, ports and memory of the machine the run is on (Linux)."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_S = 10.0
START_S = 30.0
LOOPBACK = "127.0.0.1"


class Failed(Exception):
    """A system did not start, or did not do what every system has to do."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores the proxy has, and which the rest has."""

    proxy: frozenset[int]
    rest: frozenset[int]

    @classmethod
    def of_this_machine(cls) -> "Cores":
        available = sorted(os.sched_getaffinity(0))
        return cls(frozenset(available[:1]), frozenset(available[1:] or available))


@dataclass(frozen=True, slots=True)
class Started:
    """A running process and the milliseconds from its spawn to its first accepted connection."""

    process: subprocess.Popen[bytes]
    start_ms: float


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Sequence[str | os.PathLike[str]],
    port: int,
    cores: frozenset[int],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Started]:
    """Run a server on these cores until the block ends; enter once it accepts TCP connections on ``port``.

    :raises Failed: with the end of its output, if it exits or takes longer than ``START_S``.
    """
    with log.open("wb") as output:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # a child inherits it; nothing of ours runs in between
        try:
            spawned = time.perf_counter()
            process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, before)
        try:
            _await_accept(process, port, spawned + START_S, log)
            yield Started(process, (time.perf_counter() - spawned) * 1000)
        finally:
            _stop(process)


def _await_accept(process: subprocess.Popen[bytes], port: int, deadline: float, log: Path) -> None:
    while True:
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection((LOOPBACK, port), timeout=5),
        ):
            return
        if process.poll() is not None:
            raise Failed(f"exited with {process.returncode}: {tail(log)}")
        if time.perf_counter() > deadline:
            raise Failed(f"does not listen after {START_S:.0f} s: {tail(log)}")
        time.sleep(0.002)  # a program that begins to listen tells nobody


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL, to the process and everything it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with contextlib.suppress(ProcessLookupError):  # the group is empty: the usual case
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_S)


def tail(log: Path) -> str:
    """The last line or so of a log, for a message."""
    return log.read_text(errors="replace").strip()[-400:] or "(no output)"


def rss_mb(pid: int) -> float:
    """Resident memory in MB (1024 x 1024) of a process and its descendants, each counted whole."""
    return sum(_rss_kib(each) for each in (pid, *_descendants(pid))) / 1024


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def _rss_kib(pid: int) -> int:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0
