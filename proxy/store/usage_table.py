"""What tasks have used of their budgets: a row for each task and boot, so that a boot can be recounted.

A boot writes its own totals, never a difference: to write twice changes nothing. Tasks that are not in the
file are passed over.
"""

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

_KEEP = """
INSERT INTO usage (task, boot, requests, octets)
SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM tasks WHERE id = ?1)
ON CONFLICT (task, boot) DO UPDATE SET requests = excluded.requests, octets = excluded.octets
"""
_RAISE = """
INSERT INTO usage (task, boot, requests, octets)
SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM tasks WHERE id = ?1)
ON CONFLICT (task, boot) DO UPDATE SET requests = max(requests, excluded.requests),
    octets = max(octets, excluded.octets)
"""
_SPENT = """
SELECT task, sum(requests), sum(octets) FROM usage
WHERE boot <> ? AND task IN (SELECT id FROM tasks WHERE state = 'open') GROUP BY task
"""
_USED = "SELECT sum(requests), sum(octets) FROM usage WHERE task = ? GROUP BY task"


class Spent(NamedTuple):
    """What a task has used: requests, and octets of both directions."""

    requests: int
    octets: int


def keep(connection: sqlite3.Connection, boot: str, rows: Mapping[str, tuple[int, int]]) -> None:
    """Set what each of these tasks has used in this boot."""
    connection.executemany(_KEEP, [(task, boot, *used) for task, used in rows.items()])


def raise_to(connection: sqlite3.Connection, boot: str, rows: Mapping[str, tuple[int, int]]) -> None:
    """As ``keep``, but no number becomes smaller."""
    connection.executemany(_RAISE, [(task, boot, *used) for task, used in rows.items()])


def spent(connection: sqlite3.Connection, boot: str) -> dict[str, Spent]:
    """What each open task has used in all boots but this one; tasks that have used nothing are left out."""
    return {task: Spent(requests, octets) for task, requests, octets in connection.execute(_SPENT, (boot,))}


def used(connection: sqlite3.Connection, task_id: str) -> Spent | None:
    """What a task, open or over, has used in all boots; None if there is nothing about it."""
    row: tuple[int, int] | None = connection.execute(_USED, (task_id,)).fetchone()
    return None if row is None else Spent(*row)
