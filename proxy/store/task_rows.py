"""Rows of the table ``tasks`` and the tasks they are, each checked against its id.

The id commits to the manifest, and the columns that queries go by are compared with it: who alters a row
makes it a fault, not another task. What a reader knows already is not parsed again.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from sys import intern
from typing import NamedTuple

from proxy.credential.placeholder import Holding
from proxy.identity.principal import Task, TaskState
from proxy.identity.task import read_task

Row = tuple[str, bytes, str | None, str, str, int, str, int | None, str, str, int]
_ALL = """
SELECT id, manifest, parent, agent, state, expires_at, opened_by, ended_at, ended_by, reason, seq
FROM tasks
"""
_ONE = _ALL + "WHERE id = ?"
_ENDED_AT = _ALL + "WHERE seq = ? AND state <> 'open'"
_IN_STATE = _ALL + "WHERE ?1 IS NULL OR state = ?1 ORDER BY issued_at DESC, id"
_OPENED = """
SELECT id, manifest, parent, agent, 'open', expires_at, opened_by, NULL, '', '', opened_seq FROM tasks
WHERE (opened_seq, id) > (?, ?) AND opened_seq <= ? ORDER BY opened_seq, id
"""
_ENDED = _ALL + "WHERE state <> 'open' AND (seq, id) > (?, ?) AND seq <= ? ORDER BY seq, id"
_NEWER = _ALL + "WHERE seq > ? AND (state = 'open' OR expires_at > ?) ORDER BY seq"
_HELD = "SELECT digest, task, service FROM holdings WHERE task = ? ORDER BY service"
_NEWER_HELD = """
SELECT digest, task, service FROM holdings
WHERE task IN (SELECT id FROM tasks WHERE seq > ? AND (state = 'open' OR expires_at > ?))
"""


class TaskStoreError(Exception):
    """The tasks cannot be read or written; the message says why."""


class TaskExistsError(TaskStoreError):
    """A task with this id, or one of its placeholders, is already there."""


class TaskOverError(TaskStoreError):
    """A task cannot begin: the one above is over, too many are below it, or an order holds against it."""


class StoredTask(NamedTuple):
    """A task and its end. ``ended_at`` (POSIX seconds) is None while it is open.

    ``ended_by`` and ``opened_by`` say who did it; empty where nobody said.
    """

    task: Task
    ended_at: int | None
    reason: str
    ended_by: str = ""
    opened_by: str = ""


class TaskRows:
    """Reads tasks through a connection. ``known`` are tasks checked before; it may grow meanwhile.

    A row that is not what its id commits to raises ``TaskStoreError``.
    """

    def __init__(self, connection: sqlite3.Connection, known: Mapping[str, Task]) -> None:
        self._connection = connection
        self._known = known

    def one(self, task_id: str) -> tuple[StoredTask, int] | None:
        """The task with this id and the number of its last change, or None."""
        row: Row | None = self._connection.execute(_ONE, (task_id,)).fetchone()
        return None if row is None else (self._stored(row), row[-1])

    def in_state(self, state: TaskState | None) -> Iterator[StoredTask]:
        """All tasks, or those in this state, newest first."""
        return map(self._stored, self._connection.execute(_IN_STATE, (state,)))

    def ended_at(self, seq: int) -> Iterator[Task]:
        """The tasks that this change ended."""
        return map(self._task, self._connection.execute(_ENDED_AT, (seq,)))

    def opened(self, after: tuple[int, str], until: int) -> Iterator[tuple[int, StoredTask]]:
        """Tasks behind the numbers that they began with, as they were then, in this order and of their ids.

        Those past ``after`` (a number and an id), up to the number ``until``.
        """
        return self._numbered(self._connection.execute(_OPENED, (*after, until)))

    def ended(self, after: tuple[int, str], until: int) -> Iterator[tuple[int, StoredTask]]:
        """Tasks behind the numbers that they ended with; as ``opened``."""
        return self._numbered(self._connection.execute(_ENDED, (*after, until)))

    def newer(self, after: int, since: int) -> Iterator[tuple[int, Task]]:
        """Tasks changed after ``after``, each behind its number, without those due before ``since``."""
        rows: Iterator[Row] = self._connection.execute(_NEWER, (after, since))
        return ((row[-1], self._task(row)) for row in rows)

    def held(self, task: Task) -> tuple[Holding, ...]:
        """What a task holds."""
        return _held(self._connection.execute(_HELD, (task.id,)), {task.id: task})

    def newer_held(self, after: int, since: int, tasks: Mapping[str, Task]) -> tuple[Holding, ...]:
        """What the tasks hold that ``newer`` gave, all of them ``tasks``; nothing if all were known."""
        if tasks.keys() <= self._known.keys():
            return ()  # a task holds from its start what it ever will
        return _held(self._connection.execute(_NEWER_HELD, (after, since)), tasks)

    def _numbered(self, rows: Iterable[Row]) -> Iterator[tuple[int, StoredTask]]:
        return ((row[-1], self._stored(row)) for row in rows)

    def _stored(self, row: Row) -> StoredTask:
        opened_by, ended_at, ended_by, reason, _ = row[6:]
        return StoredTask(self._task(row), ended_at, reason, ended_by, opened_by)

    def _task(self, row: Row) -> Task:
        task_id, manifest, parent, agent, word, expires_at, *_ = row
        state = TaskState(word)
        task = self._remembered(task_id, manifest, state) or read_task(manifest, state)
        columns = task_id, parent, agent, expires_at
        if task is None or (task.id, task.parent, task.agent, task.expires_at) != columns:
            raise TaskStoreError(f"task {task_id} does not match its manifest: the file has been altered")
        return task

    def _remembered(self, task_id: str, manifest: bytes, state: TaskState) -> Task | None:
        task = self._known.get(task_id)
        if task is None or hashlib.sha256(manifest).hexdigest() != task.manifest_sha256:
            return None
        return task if task.state is state else replace(task, state=state)


def _held(rows: Iterable[tuple[str, str, str]], tasks: Mapping[str, Task]) -> tuple[Holding, ...]:
    """Holdings share the words of their tasks in memory."""
    found = ((digest, tasks[task_id], service) for digest, task_id, service in rows)
    return tuple(Holding(digest, task.id, intern(service), task.agent) for digest, task, service in found)
