"""Who follows the task file: a row for each running sidecar, and how far it has come (proc(5), kill(2)).

A row is a process by its id and the time it was started at, because a container gives the same id to every
process that it starts. Whoever looks from another pid namespace may take a sidecar for gone and drop its row;
the sidecar's next acknowledgement puts it back.
"""

import os
import sqlite3
from pathlib import Path
from typing import NamedTuple

_FOLLOW = "INSERT OR REPLACE INTO followers (boot, pid, started, seq) VALUES (?, ?, ?, 0)"
_ACKNOWLEDGE = """
INSERT INTO followers (boot, pid, started, seq, connections, effective_at_ns) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (boot) DO UPDATE SET seq = max(seq, excluded.seq), connections = excluded.connections,
    effective_at_ns = excluded.effective_at_ns
"""
_ALL = "SELECT boot, pid, seq, connections, effective_at_ns, started FROM followers ORDER BY boot"
_CARRY_OUT = """
INSERT OR REPLACE INTO carried_out (boot, seq, connections, effective_at_ns) VALUES (?, ?, ?, ?)
"""
_CARRIED_OUT = "SELECT boot, connections, effective_at_ns FROM carried_out WHERE seq = ? ORDER BY boot"
_STATE, _STARTED = 0, 19  # fields 3 and 22 of /proc/PID/stat, counted after the name


class Follower(NamedTuple):
    """A running sidecar. Every order up to ``seq`` has taken effect in it, and what it reached is cut.

    ``connections`` (how many were cut) and ``effective_at_ns`` (POSIX time of the last) are of the order
    that it acknowledged last; 0 before the first.
    """

    boot: str
    pid: int
    seq: int
    connections: int
    effective_at_ns: int


class CarriedOut(NamedTuple):
    """What one order came to in one follower: connections cut, and when it was in force (POSIX time)."""

    boot: str
    connections: int
    effective_at_ns: int


def follow(connection: sqlite3.Connection, boot: str, pid: int) -> None:
    """Enter a follower that has read nothing yet."""
    connection.execute(_FOLLOW, (boot, pid, _started(pid)))


def acknowledge(connection: sqlite3.Connection, follower: Follower) -> None:
    """Note how far a follower has come; ``seq`` never goes back."""
    boot, pid, seq, connections, effective_at_ns = follower
    connection.execute(_ACKNOWLEDGE, (boot, pid, _started(pid), seq, connections, effective_at_ns))


def carry_out(connection: sqlite3.Connection, seq: int, done: CarriedOut) -> None:
    """Note what the order with this number came to in one follower."""
    connection.execute(_CARRY_OUT, (done.boot, seq, done.connections, done.effective_at_ns))


def carried_out(connection: sqlite3.Connection, seq: int) -> tuple[CarriedOut, ...]:
    """What the order with this number came to in every follower that has told."""
    return tuple(CarriedOut(*row) for row in connection.execute(_CARRIED_OUT, (seq,)))


def leave(connection: sqlite3.Connection, boot: str) -> None:
    """Strike out a follower, with what it told of orders."""
    connection.execute("DELETE FROM followers WHERE boot = ?", (boot,))
    connection.execute("DELETE FROM carried_out WHERE boot = ?", (boot,))


def followers(connection: sqlite3.Connection) -> tuple[tuple[Follower, ...], tuple[str, ...]]:
    """Those that run, and the boots of those whose process is gone."""
    rows = [(Follower(*row[:5]), row[5]) for row in connection.execute(_ALL)]
    running = {follower.boot: _runs(follower.pid, started) for follower, started in rows}
    return (
        tuple(follower for follower, _ in rows if running[follower.boot]),
        tuple(boot for boot, runs in running.items() if not runs),
    )


def _runs(pid: int, started: int | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, but there
    now = _started(pid)
    return started is None or now is None or now == started


def _started(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was; -1 for a dead one, None if untold."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return -1 if fields[_STATE] == b"Z" else int(fields[_STARTED])
