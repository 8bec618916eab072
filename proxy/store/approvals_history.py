"""What happened to requests, in the order of its numbers; and up to where a log has told it.

Every function works inside a transaction of the caller's. A request that is over is forgotten, with what
happened to it, once every log that keeps a mark has told of it.
"""

import json
import sqlite3
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from proxy.policy.approval import Asked
from proxy.store.approvals_rows import read_asked

_TELL = "INSERT INTO events (request, kind, at, facts) VALUES (?, ?, ?, ?)"
_PAGE = """
SELECT seq, request, kind, at, facts, asked, expires_at FROM events JOIN requests ON id = request
WHERE seq > ? ORDER BY seq LIMIT ?
"""
_LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"
_RECORDED = "SELECT seq FROM recorded WHERE log = ?"
_RECORD = """
INSERT INTO recorded (log, seq) VALUES (?, ?) ON CONFLICT (log) DO UPDATE SET seq = max(seq, excluded.seq)
"""
_FORGET = """
DELETE FROM requests WHERE state IN ('used', 'denied', 'expired') AND NOT EXISTS (
    SELECT 1 FROM events WHERE request = requests.id AND (at > ? OR seq > (SELECT min(seq) FROM recorded))
)
"""


class Kind(StrEnum):
    """What can happen to a request."""

    REQUEST = "request"
    GRANT = "grant"
    DENY = "deny"
    USE = "use"
    EXPIRE = "expire"


class Event(NamedTuple):
    """One thing that happened: its number, to which request, when (POSIX seconds), and what belongs to it.

    ``facts`` are the event's own: who answered, for how long, which use. ``expires_at`` is when the
    request would have left the queue.
    """

    seq: int
    id: str
    kind: Kind
    at: int
    facts: Mapping[str, str | int]
    asked: Asked
    expires_at: int


def tell(
    connection: sqlite3.Connection, request_id: str, kind: Kind, at: int, facts: Mapping[str, str | int]
) -> None:
    """Keep that something happened."""
    connection.execute(_TELL, (request_id, kind.value, at, json.dumps(facts, sort_keys=True)))


def page(connection: sqlite3.Connection, after: int, limit: int) -> tuple[Event, ...]:
    """At most ``limit`` events behind the number ``after``, in order."""
    return tuple(
        Event(seq, identity, Kind(kind), at, json.loads(facts), read_asked(asked), expires_at)
        for seq, identity, kind, at, facts, asked, expires_at in connection.execute(_PAGE, (after, limit))
    )


def last(connection: sqlite3.Connection) -> int:
    """The number of the last event; 0 before the first."""
    seq: int = connection.execute(_LAST).fetchone()[0]
    return seq


def recorded(connection: sqlite3.Connection, log: str) -> int:
    """The number up to which this log has told everything; 0 for a log that never has."""
    row: tuple[int] | None = connection.execute(_RECORDED, (log,)).fetchone()
    return 0 if row is None else row[0]


def set_recorded(connection: sqlite3.Connection, log: str, seq: int) -> None:
    """Move a log's mark, never back."""
    connection.execute(_RECORD, (log, seq))


def forget(connection: sqlite3.Connection, before: int) -> None:
    """Forget requests that are over, and with which nothing happened since ``before``."""
    connection.execute(_FORGET, (before,))
