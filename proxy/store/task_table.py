"""Tasks on disk: one SQLite file (WAL, synchronous=FULL) that commands and running sidecars share.

A row is the manifest's canonical bytes and what happened since. What is read is checked against the
id, which commits to the manifest. Placeholders are kept as digests, session tokens not at all.
``seq`` grows with every change, so a reader asks for what is newer than the last it has seen.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from proxy.credential.placeholder import Holding
from proxy.identity.principal import Task, TaskState
from proxy.identity.task import make_task, parse_manifest
from proxy.store.task_file import FormatError, open_file

_INSERT = """
INSERT INTO tasks (id, manifest, state, issued_at, expires_at, seq)
VALUES (?, ?, 'open', ?, ?, (SELECT coalesce(max(seq), 0) + 1 FROM tasks))
"""
_INSERT_HELD = "INSERT INTO holdings (digest, task, service) VALUES (?, ?, ?)"
_END = """
UPDATE tasks SET state = ?, ended_at = ?, reason = ?, seq = (SELECT coalesce(max(seq), 0) + 1 FROM tasks)
WHERE id = ? AND state = 'open'
"""
_ONE = "SELECT id, manifest, state, ended_at, reason, seq FROM tasks WHERE id = ?"
_DUE = """
SELECT id, manifest, state, ended_at, reason, seq FROM tasks WHERE state = 'open' AND expires_at <= ?
"""
_IN_STATE = """
SELECT id, manifest, state, ended_at, reason, seq FROM tasks WHERE ?1 IS NULL OR state = ?1
ORDER BY issued_at DESC, id
"""
_NEWER = """
SELECT id, manifest, state, ended_at, reason, seq FROM tasks
WHERE seq > ? AND (state = 'open' OR expires_at > ?) ORDER BY seq
"""
_NEWER_HELD = """
SELECT digest, task, service FROM holdings
WHERE task IN (SELECT id FROM tasks WHERE seq > ? AND (state = 'open' OR expires_at > ?))
"""
_HELD = "SELECT digest, task, service FROM holdings WHERE task = ? ORDER BY service"

Row = tuple[str, bytes, str, int | None, str, int]


class TaskStoreError(Exception):
    """The tasks cannot be read or written; the message says why."""


class TaskExistsError(TaskStoreError):
    """A task with this id, or one of its placeholders, is already there."""


class StoredTask(NamedTuple):
    """A task and its end; ``ended_at`` (POSIX seconds) is None and ``reason`` empty while it is open."""

    task: Task
    ended_at: int | None
    reason: str


class Changes(NamedTuple):
    """What is newer than a reader's last ``seq``."""

    seq: int
    tasks: tuple[Task, ...]
    holdings: tuple[Holding, ...]


class TaskStore:
    """The tasks and who holds which placeholder. One connection: use it from the thread that opened it.

    Every method raises ``TaskStoreError`` if the file cannot be read or written.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._inode = path.stat().st_ino
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, making it (0600) if it is not there.

        :raises TaskStoreError: if others can read it, it is not ours, or it cannot be opened.
        """
        try:
            return cls(path, open_file(path))
        except FormatError as error:
            raise TaskStoreError(str(error)) from error
        except (OSError, sqlite3.Error) as error:
            raise TaskStoreError(f"{path} cannot be opened: {error}") from error

    def create(self, task: Task, manifest: bytes, holdings: Iterable[Holding] = ()) -> None:
        """Keep a new task, the canonical bytes of its manifest, and what it holds.

        :raises TaskExistsError: if the task or a placeholder is already there.
        """
        with self._write() as connection:
            connection.execute(_INSERT, (task.id, manifest, task.issued_at, task.expires_at))
            rows = [(held.placeholder_sha256, held.task_id, held.service) for held in holdings]
            connection.executemany(_INSERT_HELD, rows)
            if self._get(task.id) != StoredTask(task, None, ""):
                raise TaskStoreError("the task is not the one that its manifest describes")

    def end(
        self, task_id: str, reason: str, now: int, state: TaskState = TaskState.ENDED
    ) -> StoredTask | None:
        """End an open task; one that is over stays as it is. None if there is no such task."""
        with self._write() as connection:
            connection.execute(_END, (state.value, now, reason, task_id))
            return self._get(task_id)

    def expire(self, now: int) -> tuple[Task, ...]:
        """End every open task whose time is up; they are returned."""
        due = self._select(_DUE, now)
        ended = (self.end(row.task.id, "its time was up", now, TaskState.EXPIRED) for row in due)
        return tuple(stored.task for stored in ended if stored and stored.task.state is TaskState.EXPIRED)

    def get(self, task_id: str) -> StoredTask | None:
        """The task with this id, or None."""
        with self._read():
            return self._get(task_id)

    def list(self, state: TaskState | None = None) -> tuple[StoredTask, ...]:
        """All tasks, or those in ``state``, newest first."""
        return self._select(_IN_STATE, state.value if state else None)

    def holdings(self, task: Task) -> tuple[Holding, ...]:
        """What the task holds."""
        with self._read():
            return _held(self._connection.execute(_HELD, (task.id,)), {task.id: task})

    def changes(self, after: int, now: int) -> Changes:
        """What changed after ``seq`` (0: everything), without tasks that were over before ``now``."""
        with self._read():
            self._connection.execute("BEGIN")  # both selects see one state
            try:
                rows = self._connection.execute(_NEWER, (after, now)).fetchall()
                held = self._connection.execute(_NEWER_HELD, (after, now)).fetchall()
            finally:
                self._connection.execute("ROLLBACK")
        seq = max((row[5] for row in rows), default=after)
        tasks = {row[0]: _stored(row).task for row in rows}
        return Changes(seq, tuple(tasks.values()), _held(held, tasks))

    def version(self) -> int:
        """A number that differs whenever another connection has changed something since.

        :raises TaskStoreError: also if the file has been replaced: its tasks are not ours any more.
        """
        with self._read():
            if self._path.stat().st_ino != self._inode:
                raise TaskStoreError(f"{self._path} has been replaced; restart gatepass")
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return version

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _get(self, task_id: str) -> StoredTask | None:
        row: Row | None = self._connection.execute(_ONE, (task_id,)).fetchone()
        return _stored(row) if row else None

    def _select(self, query: str, value: int | str | None) -> tuple[StoredTask, ...]:
        with self._read():
            return tuple(_stored(row) for row in self._connection.execute(query, (value,)))

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise TaskStoreError(f"{self._path} cannot be read: {error}") from error

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:  # commits, or rolls back on any exception
                yield self._connection
        except sqlite3.IntegrityError as error:
            raise TaskExistsError(f"the task is already there: {error}") from error
        except sqlite3.Error as error:
            raise TaskStoreError(f"{self._path} cannot be written: {error}") from error


def _stored(row: Row) -> StoredTask:
    task_id, data, state, ended_at, reason, _ = row
    manifest = parse_manifest(data)
    task = make_task(manifest, TaskState(state)) if manifest else None
    if task is None or task.id != task_id:
        raise TaskStoreError(f"task {task_id} does not match its manifest: the file has been altered")
    return StoredTask(task, ended_at, reason)


def _held(rows: Iterable[tuple[str, str, str]], tasks: Mapping[str, Task]) -> tuple[Holding, ...]:
    return tuple(Holding(digest, task_id, service, tasks[task_id].agent) for digest, task_id, service in rows)
