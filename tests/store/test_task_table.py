"""Tasks on disk: durable, private, and what their ids say they are."""

import multiprocessing
import sqlite3
import stat
from pathlib import Path

import pytest

from proxy.credential.placeholder import Holding
from proxy.identity.principal import Task, TaskState
from proxy.identity.task import Manifest, make_task, manifest_bytes
from proxy.store.task_rows import StoredTask, TaskExistsError, TaskStoreError
from proxy.store.task_table import TaskStore

NOW = 1_800_000_000


def manifest(number: int = 0, start: int = NOW, lifetime: int = 600) -> Manifest:
    return Manifest("coder", "p", ("a",), "development", start, start + lifetime, None, f"{number:032x}")


def holding(task: Task, number: int = 0, service: str = "forge") -> Holding:
    return Holding(f"{number:064x}", task.id, service, task.agent)


def create(store: TaskStore, number: int = 0, **times: int) -> Task:
    task = make_task(manifest(number, **times))
    store.create(task, manifest_bytes(manifest(number, **times)), [holding(task, number)])
    return task


def ids(stored) -> list[str]:
    return [each.task.id for each in stored]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def store(path):
    with TaskStore.open(path) as store:
        yield store


def test_a_task_is_there_for_the_next_process(store, path):
    task = create(store)
    with TaskStore.open(path) as other:
        assert other.get(task.id) == StoredTask(task, None, "")
        assert other.holdings(task) == (holding(task),)
    assert store.get("t-none") is None


def test_ending_is_once_and_for_all(store):
    task = create(store)
    ended = store.end(task.id, "done", NOW + 5)
    assert ended.task.state is TaskState.ENDED
    assert (ended.ended_at, ended.reason) == (NOW + 5, "done")
    assert store.end(task.id, "again", NOW + 9, TaskState.REVOKED) == ended == store.get(task.id)
    assert store.end("t-none", "done", NOW) is None


def test_expiry_takes_what_is_due_and_open(store):
    due, ended, later = create(store, 1), create(store, 2), create(store, 3, lifetime=601)
    store.end(ended.id, "done", NOW)
    assert store.expire(NOW + 599) == ()
    assert [task.id for task in store.expire(NOW + 600)] == [due.id]
    assert store.get(due.id).task.state is TaskState.EXPIRED
    assert store.get(ended.id).task.state is TaskState.ENDED
    assert ids(store.list(TaskState.OPEN)) == [later.id]


def test_a_list_is_newest_first(store):
    tasks = [create(store, number, start=NOW + number) for number in range(3)]
    assert ids(store.list()) == [task.id for task in reversed(tasks)]


def test_a_task_or_placeholder_that_is_there_is_not_taken_over(store):
    task = create(store, 1)
    store.end(task.id, "done", NOW)
    with pytest.raises(TaskExistsError):
        create(store, 1)
    other = make_task(manifest(2))
    with pytest.raises(TaskExistsError):
        store.create(other, manifest_bytes(manifest(2)), [holding(other, 1)])
    assert store.get(other.id) is None
    assert store.get(task.id).task.state is TaskState.ENDED


def test_a_task_is_kept_only_with_its_own_manifest(store):
    task = make_task(manifest(1))
    with pytest.raises(TaskStoreError):
        store.create(task, manifest_bytes(manifest(2)))
    assert store.list() == ()


def test_a_reader_gets_what_is_newer(store):
    first = create(store, 1)
    changes = store.changes(0, NOW)
    assert changes.tasks == (first,)
    assert changes.holdings == (holding(first, 1),)
    assert store.changes(changes.seq, NOW).tasks == ()
    assert store.changes(changes.seq, NOW).seq == changes.seq
    second = create(store, 2)
    store.end(first.id, "done", NOW)
    later = store.changes(changes.seq, NOW)
    assert [task.id for task in later.tasks] == [second.id, first.id]
    assert later.tasks[1].state is TaskState.ENDED


def test_what_was_over_long_ago_is_not_read_again(store):
    old, still_open = create(store, 1), create(store, 2)
    store.end(old.id, "done", NOW)
    assert [task.id for task in store.changes(0, NOW + 600).tasks] == [still_open.id]
    assert len(store.changes(0, NOW + 599).tasks) == 2


def test_the_version_tells_what_others_wrote(store, path):
    before = store.version()
    assert store.version() == before
    with TaskStore.open(path) as other:
        create(other)
    assert store.version() != before


def test_the_files_are_for_their_owner_alone(store, path):
    create(store)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == dict.fromkeys(("tasks.sqlite3", "tasks.sqlite3-wal", "tasks.sqlite3-shm"), 0o600)


def test_a_file_that_others_can_read_is_not_used(path):
    TaskStore.open(path).close()
    path.chmod(0o640)
    with pytest.raises(TaskStoreError, match="chmod 600"):
        TaskStore.open(path)


def test_what_is_not_our_database_is_not_used(path):
    path.write_bytes(b"x" * 4096)
    path.chmod(0o600)
    with pytest.raises(TaskStoreError, match="cannot be opened"):
        TaskStore.open(path)
    with pytest.raises(TaskStoreError, match="cannot be opened"):
        TaskStore.open(path.parent / "no" / "tasks.sqlite3")


def test_a_newer_format_is_not_used(store, path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(TaskStoreError, match="another version"):
        TaskStore.open(path)


@pytest.mark.parametrize(
    "change",
    [
        "manifest = replace(manifest, 'coder', 'admin')",
        "manifest = x'00'",
        "id = 't-x'",
        "agent = 'other'",  # and would not be revoked with its agent
        "parent = id",
        "expires_at = expires_at + 1",
    ],
)
def test_a_row_that_was_altered_is_found_out(store, path, change):
    task = make_task(manifest())
    store.create(task, manifest_bytes(manifest()))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE tasks SET {change}")
    connection.close()
    for read in (store.list, lambda: store.changes(0, NOW)):
        with pytest.raises(TaskStoreError, match="altered"):
            read()


def test_a_file_that_was_replaced_is_noticed(store, path):
    path.rename(path.with_name("old"))
    with pytest.raises(TaskStoreError):
        store.version()
    TaskStore.open(path).close()
    with pytest.raises(TaskStoreError, match="replaced"):
        store.version()


def test_the_store_holds_no_secret(store, path):
    """Every column is listed, so that a new one is thought about."""
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    columns = {
        name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for (name,) in tables
    }
    mode = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    life = ["state", "issued_at", "expires_at", "opened_by", "ended_at", "ended_by", "reason"]
    order = ["kind", "id", "reason", "ordered_by", "ordered_at_ns"]
    window = ["ends", "length", "service", "budget", "unit", "per", "subject"]
    assert columns == {
        "counter": ["row", "seq", "orders"],
        "service_usage": [*window, "boot", "used", "seen"],
        "tasks": ["id", "manifest", "parent", "agent", *life, "opened_seq", "seq"],
        "holdings": ["digest", "task", "service"],
        "vouchers": ["kind", "id", "task"],
        "orders": [*order, "seq"],
        "lifted": ["seq", *order, "ordered_seq", "lifted_by", "lifted_at_ns"],
        "recorded": ["log", "seq"],
        "usage": ["task", "boot", "requests", "octets"],
        "followers": ["boot", "pid", "started", "seq", "connections", "effective_at_ns"],
        "carried_out": ["boot", "seq", "connections", "effective_at_ns"],
    }
    assert mode == ("wal",)


def _create_many(path: Path, start, first: int) -> None:
    start.wait()
    with TaskStore.open(path) as store:
        for number in range(first, first + 10):
            create(store, number)


def test_processes_that_start_together_share_the_file(path):
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(4)
    processes = [spawn.Process(target=_create_many, args=(path, start, 10 * each)) for each in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
        process.close()
    with TaskStore.open(path) as store:
        changes = store.changes(0, NOW)
        assert len(changes.tasks) == changes.seq == 40
