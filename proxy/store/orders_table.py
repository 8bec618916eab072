"""The orders in the task file.

An order about a task is kept as the account of the task's end and never lifted. The others hold until they
are; one that was lifted is kept apart until that has been recorded (``task_history``). Every function works
inside a transaction of the caller's.
"""

import sqlite3
from typing import NamedTuple

from proxy.identity.revocation import Kind, Order
from proxy.identity.revocation_file import source

_KEEP = "INSERT INTO orders (kind, id, reason, ordered_by, ordered_at_ns, seq) VALUES (?, ?, ?, ?, ?, ?)"
_FIND = """
SELECT kind, id, reason, ordered_by, ordered_at_ns, seq FROM orders WHERE kind = ? AND id = ?
"""
_LIFT = """
INSERT INTO lifted (seq, kind, id, reason, ordered_by, ordered_at_ns, ordered_seq, lifted_by, lifted_at_ns)
SELECT ?3, kind, id, reason, ordered_by, ordered_at_ns, seq, ?4, ?5 FROM orders WHERE kind = ?1 AND id = ?2
"""
_AGAINST = """
SELECT kind, id, reason, ordered_by, ordered_at_ns, seq FROM orders
WHERE kind = 'all' OR (kind = 'agent' AND id = ?) ORDER BY seq LIMIT 1
"""
_STANDING = """
SELECT kind, id, reason, ordered_by, ordered_at_ns, seq FROM orders WHERE kind <> 'task' ORDER BY seq
"""
_NEWER = """
SELECT kind, id, reason, ordered_by, ordered_at_ns, seq FROM orders WHERE seq > ? ORDER BY seq
"""

_Row = tuple[str, str, str, str, int, int]


class KeptOrder(NamedTuple):
    """An order and the number of the change that kept it."""

    order: Order
    seq: int


class Lift(NamedTuple):
    """That an order was lifted: ``by`` whom (empty where nobody said), when (POSIX time), and its number."""

    by: str
    at_ns: int
    seq: int


def keep(connection: sqlite3.Connection, order: Order, seq: int) -> None:
    """Keep an order that is not there yet."""
    row = (order.kind.value, order.id, order.reason, order.ordered_by, order.ordered_at_ns, seq)
    connection.execute(_KEEP, row)
    connection.execute("UPDATE counter SET orders = ?", (seq,))


def find(connection: sqlite3.Connection, kind: Kind, identity: str) -> KeptOrder | None:
    """The order of this kind about this id, or None."""
    row: _Row | None = connection.execute(_FIND, (kind.value, identity)).fetchone()
    return None if row is None else _kept(row)


def gives_way(before: Order, order: Order) -> bool:
    """Whether ``order`` takes the place of ``before``, which is about the same and holds by a file alone."""
    of_file = source("")
    return (
        order.kind is not Kind.TASK
        and before.ordered_by.startswith(of_file)
        and not order.ordered_by.startswith(of_file)
    )


def against(connection: sqlite3.Connection, agent: str) -> Order | None:
    """An order that keeps the agent from starting anything, or None."""
    row: _Row | None = connection.execute(_AGAINST, (agent,)).fetchone()
    return None if row is None else _kept(row).order


def lift(connection: sqlite3.Connection, kind: Kind, identity: str, given: Lift) -> None:
    """Let the order of this kind about this id hold no longer."""
    connection.execute(_LIFT, (kind.value, identity, given.seq, given.by, given.at_ns))
    connection.execute("DELETE FROM orders WHERE kind = ? AND id = ?", (kind.value, identity))
    connection.execute("UPDATE counter SET orders = ?", (given.seq,))


def standing(connection: sqlite3.Connection) -> tuple[Order, ...]:
    """Every order that holds, the oldest first."""
    return tuple(_kept(row).order for row in connection.execute(_STANDING))


def newer(connection: sqlite3.Connection, after: int) -> tuple[KeptOrder, ...]:
    """Every order kept after ``after``, those about tasks too, the oldest first."""
    return tuple(_kept(row) for row in connection.execute(_NEWER, (after,)))


def changed_after(connection: sqlite3.Connection, after: int) -> bool:
    """Whether an order was kept or removed after ``after``."""
    changed: int = connection.execute("SELECT orders FROM counter").fetchone()[0]
    return changed > after


def _kept(row: _Row) -> KeptOrder:
    kind, identity, reason, ordered_by, ordered_at_ns, seq = row
    return KeptOrder(Order(Kind(kind), identity, reason, ordered_by, ordered_at_ns), seq)
