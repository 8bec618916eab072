"""Tasks begin only under what is open, and end with all that was delegated from them."""

import threading
from contextlib import closing
from dataclasses import replace

import pytest

from proxy.identity.principal import TaskState
from proxy.identity.revocation import Kind
from proxy.identity.task import make_task, manifest_bytes, manifest_of
from proxy.store import task_life
from proxy.store.task_file import open_file
from proxy.store.task_rows import StoredTask, TaskOverError, TaskStoreError
from proxy.store.task_table import TaskStore
from tests.store.making import NOW, begin, made, order


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def store(path):
    with TaskStore.open(path) as store:
        yield store


@pytest.fixture
def tree(store):
    """root > (left > leaf, right), and one that stands apart."""
    root = begin(store, 1)
    left, right = begin(store, 2, "helper", root), begin(store, 3, "tester", root)
    return {
        "root": root,
        "left": left,
        "right": right,
        "leaf": begin(store, 4, "coder", left),
        "apart": begin(store, 5, "helper"),
    }


def states(store, tree) -> dict[str, str]:
    return {name: store.get(task.id).task.state.value for name, task in tree.items()}


def test_a_task_takes_with_it_all_that_was_delegated_from_it(store, tree):
    ended = store.end(tree["root"].id, "done", NOW + 5, by="desk")
    assert ended == StoredTask(ended.task, NOW + 5, "done", "desk")
    assert states(store, tree) == dict.fromkeys(("root", "left", "right", "leaf"), "ended") | {
        "apart": "open"
    }
    leaf = store.get(tree["leaf"].id)
    assert leaf == StoredTask(leaf.task, NOW + 5, "the task it was delegated from was ended: done", "desk")


def test_what_lies_above_and_beside_goes_on(store, tree):
    store.end(tree["left"].id, "", NOW, TaskState.REVOKED)
    over = {"left": "revoked", "leaf": "revoked"}
    assert states(store, tree) == dict.fromkeys(tree, "open") | over
    assert store.get(tree["leaf"].id).reason == "the task it was delegated from was revoked"


def test_the_first_end_below_stays(store, tree):
    store.end(tree["leaf"].id, "done", NOW + 1)
    before = store.get(tree["leaf"].id)
    store.end(tree["root"].id, "stop", NOW + 2, TaskState.REVOKED)
    assert store.get(tree["leaf"].id) == before


def test_a_subtree_ends_in_one_change(store, tree):
    before = store.changes(0, NOW).seq
    store.end(tree["root"].id, "done", NOW)
    changes = store.changes(before, NOW)
    assert changes.seq == before + 1
    assert {task.id for task in changes.tasks} == {
        tree[name].id for name in ("root", "left", "right", "leaf")
    }


def test_expiry_takes_children_with_their_parent_without_harm(store):
    root = begin(store, 1)
    child, short = begin(store, 2, parent=root), begin(store, 3, parent=root, lifetime=100)
    assert [task.id for task in store.expire(NOW + 100)] == [short.id]
    assert {task.id for task in store.expire(NOW + 600)} == {root.id, child.id}
    assert store.end(root.id, "done", NOW + 601).task.state is TaskState.EXPIRED
    assert store.expire(NOW + 700) == ()


def test_below_a_parent_that_expired_unnoticed_a_revocation_reaches_what_is_open(store):
    root = begin(store, 1)
    middle = begin(store, 2, parent=root, lifetime=100)
    leaf = begin(store, 3, parent=middle, lifetime=100)
    store._connection.execute("UPDATE tasks SET state = 'expired' WHERE id = ?", (middle.id,))
    store.revoke(order(Kind.TASK, root.id))
    assert store.get(leaf.id).task.state is TaskState.REVOKED


def test_a_loop_in_an_altered_file_ends_and_does_not_hang(store):
    one = begin(store, 1)
    two = begin(store, 2, parent=one)
    store._connection.execute("UPDATE tasks SET parent = ? WHERE id = ?", (two.id, one.id))
    with pytest.raises(TaskStoreError, match="altered"):
        store.end(one.id, "done", NOW)


@pytest.mark.parametrize("state", [TaskState.ENDED, TaskState.REVOKED])
def test_nothing_is_delegated_from_what_is_over(store, state):
    root = begin(store, 1)
    store.end(root.id, "done", NOW, state)
    with pytest.raises(TaskOverError, match=state.value):
        begin(store, 2, parent=root)
    assert store.get(made(2, parent=root)[0].id) is None


def test_nothing_is_delegated_from_an_expired_or_unknown_task(store):
    root = begin(store, 1, lifetime=100)
    with pytest.raises(TaskOverError, match="ends before"):
        begin(store, 2, parent=root, lifetime=101)
    store.expire(NOW + 100)
    with pytest.raises(TaskOverError, match="expired"):
        begin(store, 3, parent=root, lifetime=100)
    with pytest.raises(TaskOverError, match="no task"):
        begin(store, 4, parent=made(99)[0])


def test_nothing_begins_against_an_order(store):
    store.revoke(order(Kind.AGENT, "coder"))
    with pytest.raises(TaskOverError, match="the agent coder is revoked: leaked"):
        begin(store, 1)
    helper = begin(store, 2, "helper")
    with pytest.raises(TaskOverError):
        begin(store, 3, "coder", helper)
    store.revoke(order(Kind.ALL))
    with pytest.raises(TaskOverError):
        begin(store, 4, "helper")
    store.lift(Kind.ALL)
    store.lift(Kind.AGENT, "coder")
    begin(store, 5)


def test_orders_about_evidence_keep_no_task_from_beginning(store):
    for kind in (Kind.TOKEN, Kind.KEY, Kind.ISSUER):
        store.revoke(order(kind, "coder"))
    assert begin(store, 1).state is TaskState.OPEN


@pytest.mark.parametrize("kind", [Kind.TASK, Kind.AGENT, Kind.ALL])
def test_no_delegation_slips_past_a_revocation(path, store, kind):
    """Two threads delegate down a chain of their own while a third revokes."""
    root = begin(store, 0)
    start = threading.Barrier(3)
    refused: list[str] = []

    def delegate(first: int) -> None:
        with TaskStore.open(path) as own:
            start.wait()
            parent = root
            for number in range(first, first + 5000):  # far more than fit before the revocation has its turn
                try:
                    parent = begin(own, number, "coder", parent)
                except TaskOverError as error:
                    refused.append(str(error))
                    return

    threads = [threading.Thread(target=delegate, args=(first,)) for first in (10_000, 20_000)]
    for thread in threads:
        thread.start()
    start.wait()
    identity = {Kind.TASK: root.id, Kind.AGENT: "coder", Kind.ALL: "*"}[kind]
    ended = store.revoke(order(kind, identity)).tasks
    for thread in threads:
        thread.join()
    assert len(refused) == 2
    assert store.list(TaskState.OPEN) == ()
    assert {task.id for task in ended} == {stored.task.id for stored in store.list()}


def test_nobody_fills_the_memory_of_a_sidecar_by_delegating(path, store):
    """Not by handing on what was handed on, either, and not by ending what has a long time to go."""
    root, other = begin(store, 1), begin(store, 2)
    left = begin(store, 3, "helper", root, lifetime=500)
    brief = begin(store, 4, "helper", root, lifetime=10)
    with closing(open_file(path)) as connection, connection:
        connection.execute("BEGIN")
        for number in range(5, task_life.MAX_BELOW + 3):
            task, data = made(number, "tester", left, 100)
            task_life.begin(connection, task, data, (), "", (), 9)
    store.end(task.id, "done", NOW)
    for parent in (root, left):
        with pytest.raises(TaskOverError, match="1024 tasks"):
            begin(store, 9_000, "writer", parent, lifetime=50)
    assert begin(store, 9_001, "writer", other)
    late = replace(manifest_of(made(9_002, "writer", left, 400)[0]), issued_at=brief.expires_at)
    store.create(make_task(late), manifest_bytes(late))
    assert store.get(make_task(late).id) is not None
