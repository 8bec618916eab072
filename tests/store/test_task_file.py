"""The task file's format, and how a file of an earlier one becomes ours."""

import sqlite3

import pytest

from proxy.identity.revocation import Kind
from proxy.store.task_file import FormatError, open_file
from proxy.store.task_rows import TaskStoreError
from proxy.store.task_table import TaskStore
from tests.store.making import begin, made, order

FORMAT_1 = """
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    manifest BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'ended', 'expired', 'revoked')),
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    seq INTEGER NOT NULL UNIQUE
) WITHOUT ROWID;
CREATE INDEX tasks_open ON tasks (expires_at) WHERE state = 'open';
CREATE TABLE holdings (
    digest TEXT PRIMARY KEY CHECK (length(digest) = 64),
    task TEXT NOT NULL REFERENCES tasks (id),
    service TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX holdings_task ON holdings (task);
PRAGMA user_version = 1;
"""


@pytest.fixture
def old(tmp_path):
    """A file of format 1 with one open task and its placeholder."""
    path = tmp_path / "tasks.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(FORMAT_1)
    connection.execute("INSERT INTO tasks VALUES ('t-old', x'7b7d', 'open', 1, 9999999999, NULL, '', 1)")
    connection.execute("INSERT INTO holdings VALUES (?, 't-old', 'forge')", ("0" * 64,))
    connection.close()
    path.chmod(0o600)
    return path


def test_a_file_of_format_1_becomes_ours_without_its_tasks(old):
    with TaskStore.open(old) as store:
        assert store.get("t-old") is None
        assert store.changes(0, 0)[1:] == ((), (), (), ())
        task = begin(store)  # its placeholder's digest is free again
        assert store.revoke(order(Kind.AGENT, "coder")).new
    with TaskStore.open(old) as store:
        assert [stored.task.id for stored in store.list()] == [task.id]
        assert len(store.orders()) == 1


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(old):
    connection = sqlite3.connect(old, isolation_level=None)
    connection.execute("CREATE TABLE orders (in_the_way)")
    with pytest.raises(sqlite3.OperationalError, match="orders"):
        open_file(old)
    assert connection.execute("SELECT id FROM tasks").fetchall() == [("t-old",)]
    assert connection.execute("SELECT count(*) FROM holdings").fetchone() == (1,)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    with pytest.raises(TaskStoreError, match="cannot be opened"):
        TaskStore.open(old)


def test_a_file_of_ours_keeps_everything(tmp_path):
    path = tmp_path / "tasks.sqlite3"
    with TaskStore.open(path) as store:
        begin(store)
        store.revoke(order(Kind.KEY, "k"))
    with TaskStore.open(path) as store:
        assert store.get(made()[0].id) is not None
        assert store.orders() == (order(Kind.KEY, "k"),)


@pytest.mark.parametrize("version", [-1, 3, 99])
def test_a_format_that_is_not_known_is_refused(tmp_path, version):
    path = tmp_path / "tasks.sqlite3"
    open_file(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(FormatError, match="another version"):
        open_file(path)
