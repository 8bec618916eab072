"""One connection to the task file: its transactions, and in which words they fail."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.store.task_rows import TaskExistsError, TaskStoreError


class TaskConnection:
    """An open task file. Use it from the thread that opened it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._inode = path.stat().st_ino
        self._connection = connection

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

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise TaskStoreError(f"{self._path} cannot be read: {error}") from error

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Every select sees one state."""
        self._connection.execute("BEGIN")
        try:
            yield self._connection
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            with self._connection:  # commits, or rolls back on any exception
                yield self._connection
        except sqlite3.IntegrityError as error:
            raise TaskExistsError(f"the task is already there: {error}") from error
        except (sqlite3.Error, UnicodeEncodeError) as error:
            raise TaskStoreError(f"{self._path} cannot be written: {error}") from error
