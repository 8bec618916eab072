"""How tasks begin and end in the task file, each inside a transaction of the caller's.

A task begins only under an open one, or under none, and against no order. It ends with everything that was
delegated from it, in one statement. What was delegated on some evidence ends with that evidence, or whoever
stole a token could delegate, to have another one that outlives it. Nobody can fill the memory of a sidecar
by delegating (``MAX_BELOW``).
"""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from proxy.credential.placeholder import Holding
from proxy.identity.principal import Evidence, Task, TaskState
from proxy.identity.revocation import Kind, revoked, vouchers
from proxy.store import orders_table
from proxy.store.task_rows import TaskOverError

_PARENT = "SELECT state, expires_at FROM tasks WHERE id = ?"
# Ended or not: a sidecar knows a task until its time is up. What has not expired is below what has not.
_BELOW = """
WITH RECURSIVE above (id, parent) AS (
    SELECT id, parent FROM tasks WHERE id = ?1
    UNION
    SELECT tasks.id, tasks.parent FROM above JOIN tasks ON tasks.id = above.parent
), below (id) AS (
    SELECT id FROM above WHERE parent IS NULL
    UNION
    SELECT tasks.id FROM below JOIN tasks ON tasks.parent = below.id WHERE tasks.expires_at > ?2
)
SELECT count(*) - 1 FROM (SELECT id FROM below LIMIT ?3 + 1)
"""
_INSERT = """
INSERT INTO tasks (id, manifest, parent, agent, state, issued_at, expires_at, opened_by, opened_seq, seq)
VALUES (?1, ?2, ?3, ?4, 'open', ?5, ?6, ?7, ?8, ?8)
"""
_INSERT_HELD = "INSERT INTO holdings (digest, task, service) VALUES (?, ?, ?)"
# Below a task that is over nothing is open, save what has expired by the clock alone; UNION ends at a loop.
_END = """
WITH RECURSIVE below (id) AS (
    SELECT id FROM tasks WHERE state = 'open' AND ROOTS
    UNION
    SELECT tasks.id FROM below JOIN tasks ON tasks.parent = below.id
)
UPDATE tasks SET state = :state, ended_at = :now, ended_by = :by, seq = :seq,
    reason = CASE WHEN ROOTS THEN :reason ELSE :inherited END
WHERE state = 'open' AND id IN (SELECT id FROM below)
"""
_INSERT_VOUCHER = "INSERT OR IGNORE INTO vouchers (kind, id, task) VALUES (?, ?, ?)"
_VOUCHED = "id IN (SELECT task FROM vouchers WHERE kind = '{kind}' AND id = :id)"
_ROOTS = {
    Kind.TASK: "id = :id",
    Kind.AGENT: "agent = :id",
    Kind.ALL: "TRUE",
    **{kind: _VOUCHED.format(kind=kind.value) for kind in (Kind.TOKEN, Kind.KEY, Kind.ISSUER)},
}
_ENDS = {kind: _END.replace("ROOTS", roots) for kind, roots in _ROOTS.items()}
_EXPIRE = """
UPDATE tasks SET state = 'expired', ended_at = ?1, reason = 'its time was up', seq = ?2
WHERE state = 'open' AND expires_at <= ?1
"""


MAX_BELOW = 1024  # tasks delegated from one root, at any depth, whose time is not up


class Ending(NamedTuple):
    """What the rows get: ``now`` is POSIX seconds, ``seq`` the number of the change."""

    state: TaskState
    reason: str
    by: str
    now: int
    seq: int


def begin(
    connection: sqlite3.Connection,
    task: Task,
    manifest: bytes,
    holdings: Iterable[Holding],
    by: str,
    evidence: Iterable[Evidence],
    seq: int,
) -> None:
    """Insert an open task and what it holds; ``by`` is who opened it, and proved to be on ``evidence``.

    :raises TaskOverError: if its parent is not open or ends before it, or an order holds against it.
    """
    named = [voucher for one in evidence for voucher in vouchers(one)]
    _may_begin(connection, task, named)
    times = task.issued_at, task.expires_at
    connection.execute(_INSERT, (task.id, manifest, task.parent, task.agent, *times, by, seq))
    rows = [(holding.placeholder_sha256, holding.task_id, holding.service) for holding in holdings]
    connection.executemany(_INSERT_HELD, rows)
    connection.executemany(_INSERT_VOUCHER, [(kind.value, name, task.id) for kind, name in named])


def end(connection: sqlite3.Connection, kind: Kind, identity: str, ending: Ending) -> None:
    """End the open tasks that an order of this kind about this id reaches, and all below them.

    One about evidence ends what was delegated on it. Whoever delegated may go on, if proved otherwise.
    """
    inherited = f"the task it was delegated from was {ending.state.value}"
    words = {
        "id": identity,
        "state": ending.state.value,
        "reason": ending.reason,
        "inherited": f"{inherited}: {ending.reason}" if ending.reason else inherited,
        "by": ending.by,
        "now": ending.now,
        "seq": ending.seq,
    }
    connection.execute(_ENDS[kind], words)


def expire(connection: sqlite3.Connection, now: int, seq: int) -> None:
    """End every open task whose time is up. What is below one is up as well."""
    connection.execute(_EXPIRE, (now, seq))


def _may_begin(connection: sqlite3.Connection, task: Task, named: Iterable[tuple[Kind, str]]) -> None:
    order = orders_table.against(connection, task.agent)
    if order is not None:
        raise TaskOverError(revoked(order).detail)
    for kind, name in named:
        kept = orders_table.find(connection, kind, name)
        if kept is not None:
            raise TaskOverError(revoked(kept.order).detail)
    if task.parent is None:
        return
    parent: tuple[str, int] | None = connection.execute(_PARENT, (task.parent,)).fetchone()
    if parent is None:
        raise TaskOverError(f"there is no task {task.parent} to delegate from")
    state, expires_at = parent
    if TaskState(state) is not TaskState.OPEN:
        raise TaskOverError(f"the task {task.parent}, which delegates, is {state}")
    if expires_at < task.expires_at:
        raise TaskOverError(f"the task {task.parent}, which delegates, ends before this one would")
    (below,) = connection.execute(_BELOW, (task.parent, task.issued_at, MAX_BELOW)).fetchone()
    if below >= MAX_BELOW:
        raise TaskOverError(
            f"{MAX_BELOW} tasks have been delegated already; wait until the time of one is up"
        )
