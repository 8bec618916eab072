"""What became of tasks and orders, in the order of the changes' numbers; and up to where a log has told it.

A task's row keeps the number that it began with and that of its end. An order that was lifted is kept apart,
with the number that it was given under, until every log that keeps a mark has told of it and at least for
``KEEP_LIFTED_NS``, in which a log that keeps none finds it. A log's mark is the number up to which it has
told everything. Every function works inside a transaction of the caller's.
"""

import sqlite3
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import NamedTuple

from proxy.identity.revocation import Kind, Order
from proxy.store.task_rows import StoredTask, TaskRows

KEEP_LIFTED_NS = 3600 * 1_000_000_000
_LAST_ID = "\U0010ffff"  # after every id

_ORDERED = """
SELECT kind, id, reason, ordered_by, ordered_at_ns, seq FROM orders WHERE seq > ? AND seq <= ? ORDER BY seq
"""
_ORDERED_ONCE = """
SELECT kind, id, reason, ordered_by, ordered_at_ns, ordered_seq FROM lifted
WHERE ordered_seq > ? AND ordered_seq <= ? ORDER BY ordered_seq
"""
_ENDED_BY = "SELECT id FROM tasks WHERE seq = ? AND state <> 'open' ORDER BY id"
_LIFTED = "SELECT seq, kind, id, lifted_by, lifted_at_ns FROM lifted WHERE seq > ? AND seq <= ? ORDER BY seq"
_RECORDED = "SELECT seq FROM recorded WHERE log = ?"
_RECORD = """
INSERT INTO recorded (log, seq) VALUES (?, ?) ON CONFLICT (log) DO UPDATE SET seq = max(seq, excluded.seq)
"""
_FORGET = "DELETE FROM lifted WHERE seq <= (SELECT min(seq) FROM recorded) AND lifted_at_ns <= ?"


class Place(NamedTuple):
    """A place in the history: behind one event of a change, or, without an id, behind all of a change's."""

    seq: int
    id: str = _LAST_ID

    @property
    def complete(self) -> int:
        """The last change whose events are all before this place."""
        return self.seq if self.id == _LAST_ID else self.seq - 1


class Opened(NamedTuple):
    """A task began; ``stored`` is the task as it was then."""

    place: Place
    stored: StoredTask


class Ended(NamedTuple):
    """A task ended, expired or was revoked; ``stored`` says by whom and why."""

    place: Place
    stored: StoredTask


class Ordered(NamedTuple):
    """An order was given; ``tasks`` are those that it ended."""

    place: Place
    order: Order
    tasks: tuple[str, ...]


class Lifted(NamedTuple):
    """An order was lifted: ``by`` whom (empty where nobody said), and when (POSIX time)."""

    place: Place
    kind: Kind
    id: str
    by: str
    at_ns: int


Event = Opened | Ended | Ordered | Lifted


def page(
    connection: sqlite3.Connection, rows: TaskRows, after: Place, until: int, limit: int
) -> tuple[Event, ...]:
    """At most ``limit`` events behind ``after``, up to the change ``until``.

    An order comes before the ends that it brought.
    """
    between = after.seq, until
    sources: tuple[Iterator[Event], ...] = (
        (Opened(Place(seq, stored.task.id), stored) for seq, stored in rows.opened(after, until)),
        (Ended(Place(seq, stored.task.id), stored) for seq, stored in rows.ended(after, until)),
        (_ordered(connection, *row) for row in connection.execute(_ORDERED, between)),
        (_ordered(connection, *row) for row in connection.execute(_ORDERED_ONCE, between)),
        (
            Lifted(Place(seq, ""), Kind(kind), identity, by, at_ns)
            for seq, kind, identity, by, at_ns in connection.execute(_LIFTED, between)
        ),
    )
    return tuple(islice(merge(*sources, key=lambda event: event.place), limit))


def recorded(connection: sqlite3.Connection, log: str) -> int:
    """The number up to which this log has told everything; 0 for a log that never has."""
    row: tuple[int] | None = connection.execute(_RECORDED, (log,)).fetchone()
    return 0 if row is None else row[0]


def set_recorded(connection: sqlite3.Connection, log: str, seq: int, now_ns: int) -> None:
    """Move a log's mark, never back, and forget what is not needed any more."""
    connection.execute(_RECORD, (log, seq))
    connection.execute(_FORGET, (now_ns - KEEP_LIFTED_NS,))


def _ordered(
    connection: sqlite3.Connection, kind: str, identity: str, reason: str, by: str, at_ns: int, seq: int
) -> Ordered:
    tasks = tuple(task for (task,) in connection.execute(_ENDED_BY, (seq,)))
    return Ordered(Place(seq, ""), Order(Kind(kind), identity, reason, by, at_ns), tasks)
