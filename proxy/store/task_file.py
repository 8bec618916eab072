"""The file behind the tasks: its mode, its journal (sqlite.org/wal.html), its tables and its counter.

Format 2. A file of format 1 is upgraded in place; its tasks are dropped, so what spoke for them is unknown
from then on. Every change takes the next number of one counter, so a reader asks for what is newer.
"""

import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

_VERSION = 2
_BUSY_S = 5.0
_SCHEMA = """
CREATE TABLE counter (
    row INTEGER PRIMARY KEY CHECK (row = 1),
    seq INTEGER NOT NULL,
    orders INTEGER NOT NULL
);
INSERT INTO counter VALUES (1, 0, 0);
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    manifest BLOB NOT NULL,
    parent TEXT REFERENCES tasks (id),
    agent TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'ended', 'expired', 'revoked')),
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    opened_by TEXT NOT NULL,
    ended_at INTEGER,
    ended_by TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    opened_seq INTEGER NOT NULL,
    seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tasks_open ON tasks (expires_at) WHERE state = 'open';
CREATE INDEX tasks_agent ON tasks (agent) WHERE state = 'open';
CREATE INDEX tasks_parent ON tasks (parent) WHERE parent IS NOT NULL;
CREATE INDEX tasks_seq ON tasks (seq);
CREATE INDEX tasks_opened_seq ON tasks (opened_seq, id);
CREATE INDEX tasks_ended_seq ON tasks (seq, id) WHERE state <> 'open';
CREATE TABLE holdings (
    digest TEXT PRIMARY KEY CHECK (length(digest) = 64),
    task TEXT NOT NULL REFERENCES tasks (id),
    service TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX holdings_task ON holdings (task);
CREATE TABLE vouchers (
    kind TEXT NOT NULL CHECK (kind IN ('token', 'key', 'issuer')),
    id TEXT NOT NULL,
    task TEXT NOT NULL REFERENCES tasks (id),
    PRIMARY KEY (kind, id, task)
) WITHOUT ROWID;
CREATE TABLE orders (
    kind TEXT NOT NULL CHECK (kind IN ('agent', 'task', 'token', 'key', 'issuer', 'all')),
    id TEXT NOT NULL,
    reason TEXT NOT NULL,
    ordered_by TEXT NOT NULL,
    ordered_at_ns INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX orders_seq ON orders (seq);
CREATE TABLE lifted (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    reason TEXT NOT NULL,
    ordered_by TEXT NOT NULL,
    ordered_at_ns INTEGER NOT NULL,
    ordered_seq INTEGER NOT NULL,
    lifted_by TEXT NOT NULL,
    lifted_at_ns INTEGER NOT NULL
);
CREATE INDEX lifted_ordered_seq ON lifted (ordered_seq);
CREATE TABLE recorded (
    log TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE usage (
    task TEXT NOT NULL REFERENCES tasks (id),
    boot TEXT NOT NULL,
    requests INTEGER NOT NULL,
    octets INTEGER NOT NULL,
    PRIMARY KEY (task, boot)
) WITHOUT ROWID;
CREATE TABLE followers (
    boot TEXT PRIMARY KEY,
    pid INTEGER NOT NULL,
    started INTEGER,
    seq INTEGER NOT NULL,
    connections INTEGER NOT NULL DEFAULT 0,
    effective_at_ns INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE carried_out (
    boot TEXT NOT NULL,
    seq INTEGER NOT NULL,
    connections INTEGER NOT NULL,
    effective_at_ns INTEGER NOT NULL,
    PRIMARY KEY (boot, seq)
) WITHOUT ROWID;
"""
_SERVICE_USAGE = """
CREATE TABLE IF NOT EXISTS service_usage (
    ends INTEGER NOT NULL,
    length INTEGER NOT NULL,
    service TEXT NOT NULL,
    budget TEXT NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('requests', 'octets', 'tokens', 'cost')),
    per TEXT NOT NULL CHECK (per IN ('task', 'agent')),
    subject TEXT NOT NULL,
    boot TEXT NOT NULL,
    used INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (ends, length, service, budget, unit, per, subject, boot)
) WITHOUT ROWID
"""
_DROP_1 = "DROP TABLE holdings; DROP TABLE tasks"


class FormatError(Exception):
    """The file is not one this version may use; the message says why."""


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file in autocommit mode, making it (0600) if it is not there.

    :raises FormatError: if others can read it, or another version wrote it.
    :raises OSError: if it cannot be opened.
    :raises sqlite3.Error: if it is not a database or cannot be used as one.
    """
    make_private(path)
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        _prepare(connection, path)
    except (FormatError, sqlite3.Error):
        connection.close()
        raise
    return connection


def last_seq(connection: sqlite3.Connection) -> int:
    """The number of the last change."""
    seq: int = connection.execute("SELECT seq FROM counter").fetchone()[0]
    return seq


def next_seq(connection: sqlite3.Connection) -> int:
    """Take the number for a change: one for all that a transaction does."""
    connection.execute("UPDATE counter SET seq = seq + 1")
    return last_seq(connection)


def make_private(path: Path) -> None:
    """Make the file, or check that it is private; the journals next to it take over its mode.

    :raises FormatError: if others can read it. :raises OSError: if it cannot be made.
    """
    try:
        # Only a new file is opened here: closing one that this process has open elsewhere would drop
        # SQLite's locks on it (fcntl(2), "advisory record locking").
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise FormatError(f"{path} can be read by others: `chmod 600 {path}`") from None


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or check that they are of our format."""
    use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, 1, _VERSION}:
            raise FormatError(f"{path} was written by another version of gatepass (format {version})")
        if version == 1:
            run_script(connection, _DROP_1)
        if version != _VERSION:
            run_script(connection, _SCHEMA)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute(_SERVICE_USAGE)  # it came later, within the same format


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Run statements inside the transaction, which ``executescript`` would commit first."""
    for statement in script.split(";"):
        connection.execute(statement)


def use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. Of several processes at first start one does; SQLite does not make the others wait.

    :raises sqlite3.Error: if that cannot be done.
    """
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            with closing(connection.execute("PRAGMA journal_mode = WAL")) as answer:
                mode = answer.fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # it says that it is busy, and not when it no longer is
            continue
        if mode != "wal":
            raise sqlite3.OperationalError(f"the file system does not support WAL (journal mode {mode})")
        return
