"""The file behind the approvals: its mode, its journal (sqlite.org/wal.html), its tables, a connection to it.

``requests`` hold what is so now, ``events`` what happened, in order: whatever changes a request writes its
event in the same transaction, so that a log can tell all of it, whoever did it and when.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.store.approvals_rows import ApprovalStoreError
from proxy.store.task_file import FormatError, make_private, run_script, use_wal

APPROVALS = "approvals.sqlite3"
"""The file's name in the state directory."""
_VERSION = 1
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE requests (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL CHECK (length(digest) = 64),
    agent TEXT NOT NULL,
    task TEXT NOT NULL,
    method TEXT NOT NULL,
    url TEXT NOT NULL,
    asked BLOB NOT NULL,
    asked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    separate_owner INTEGER NOT NULL CHECK (separate_owner IN (0, 1)),
    state TEXT NOT NULL CHECK (state IN ('waiting', 'approved', 'used', 'denied', 'expired')),
    answered_by TEXT NOT NULL DEFAULT '',
    answered_at INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    uses INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
    granted_until INTEGER
) WITHOUT ROWID;
CREATE INDEX requests_digest ON requests (digest);
CREATE INDEX requests_task ON requests (task);
CREATE INDEX requests_place ON requests (agent, url, method);
CREATE INDEX requests_state ON requests (state);
CREATE UNIQUE INDEX requests_waiting ON requests (digest) WHERE state = 'waiting';
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    request TEXT NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('request', 'grant', 'deny', 'use', 'expire')),
    at INTEGER NOT NULL,
    facts TEXT NOT NULL
);
CREATE INDEX events_request ON events (request);
CREATE TABLE recorded (
    log TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) WITHOUT ROWID
"""


class ApprovalConnection:
    """An open file of approvals, and in which words it fails. Use it from the thread that opened it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._inode = path.stat().st_ino
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, making it (0600) if it is not there.

        :raises ApprovalStoreError: if others can read it, it is not ours, or it cannot be opened.
        """
        try:
            return cls(path, _connect(path))
        except FormatError as error:
            raise ApprovalStoreError(str(error)) from error
        except (OSError, sqlite3.Error) as error:
            raise ApprovalStoreError(f"{path} cannot be opened: {error}") from error

    def version(self) -> int:
        """A number that differs whenever another connection has changed something since.

        :raises ApprovalStoreError: also if the file has been replaced.
        """
        with self._read():
            if self._path.stat().st_ino != self._inode:
                raise ApprovalStoreError(f"{self._path} has been replaced; restart gatepass")
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

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as error:
            raise ApprovalStoreError(f"{self._path} cannot be read: {error}") from error

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:  # commits, or rolls back on any exception
                yield self._connection
        except (sqlite3.Error, ValueError) as error:
            raise ApprovalStoreError(f"{self._path} cannot be written: {error}") from error


def _connect(path: Path) -> sqlite3.Connection:
    make_private(path)
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        _prepare(connection, path)
    except (FormatError, sqlite3.Error):
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or check that they are of our format."""
    use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, _VERSION}:
            raise FormatError(f"{path} was written by another version of gatepass (format {version})")
        if version == 0:
            run_script(connection, _SCHEMA)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
