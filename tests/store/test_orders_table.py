"""Orders: kept once, seen by every reader, and lifted only where that undoes nothing."""

import pytest

from proxy.identity.principal import Evidence, Method, TaskState
from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.identity.revocation_file import difference, source
from proxy.store.task_history import Place
from proxy.store.task_rows import TaskOverError, TaskStoreError
from proxy.store.task_table import Revoked, TaskStore
from tests.store.making import NOW, NS, begin, made, order

STANDING = [Kind.AGENT, Kind.TOKEN, Kind.KEY, Kind.ISSUER, Kind.ALL]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def store(path):
    with TaskStore.open(path) as store:
        yield store


@pytest.mark.parametrize("kind", STANDING)
def test_an_operator_s_order_is_not_lifted_with_a_line_of_a_file(store, kind):
    """The operator was told that it holds; the fleet tool knows nothing of it."""
    identity = EVERYTHING if kind is Kind.ALL else "x"
    fleet = Order(kind, identity, "fleet", source("/etc/r.yaml"), NOW * NS)
    mine = order(kind, identity, "mine", at_ns=NOW * NS + 1)
    assert store.revoke(fleet).new
    after = last = store.changes(0, NOW).seq
    given = store.revoke(mine)
    assert (given.new, given.order) == (True, mine)
    assert store.orders() == (mine,)
    changes = store.changes(after, NOW)
    assert changes.standing == (mine,)  # at no time did none hold
    assert [one.order for one in changes.revoked] == [mine]
    told = [type(event).__name__ for event in store.history(Place(last), changes.seq, 10)]
    assert told == ["Lifted", "Ordered"]
    assert not store.revoke(fleet).new
    held = [one for one in store.orders() if one.ordered_by == fleet.ordered_by]
    assert difference(held, ()).lift == ()


def ids(tasks) -> set[str]:
    return {task.id for task in tasks}


def test_an_order_about_a_task_ends_it_and_holds_nothing(store):
    root = begin(store, 1)
    child, apart = begin(store, 2, "helper", root), begin(store, 3)
    revoked = store.revoke(order(Kind.TASK, root.id, at_ns=(NOW + 7) * NS))
    assert (revoked.new, ids(revoked.tasks)) == (True, {root.id, child.id})
    assert all(task.state is TaskState.REVOKED for task in revoked.tasks)
    stored = store.get(root.id)
    assert (stored.ended_at, stored.reason, stored.ended_by) == (NOW + 7, "leaked", "cli")
    assert store.get(child.id).reason == "the task it was delegated from was revoked: leaked"
    assert store.get(apart.id).task.state is TaskState.OPEN
    assert store.orders() == ()
    assert store.lift(Kind.TASK, root.id) is False


def test_an_unknown_task_is_told_from_one_that_is_over(store):
    assert store.revoke(order(Kind.TASK, "t-none")) is None
    task = begin(store, 1)
    store.end(task.id, "done", NOW)
    over = store.revoke(order(Kind.TASK, task.id))
    assert (over.new, over.tasks) == (False, ())
    assert store.get(task.id).task.state is TaskState.ENDED


def test_an_order_about_an_agent_reaches_its_tasks_and_what_lies_below(store):
    mine, other = begin(store, 1), begin(store, 2, "helper")
    below, delegated = begin(store, 3, "helper", mine), begin(store, 4, "coder", other)
    revoked = store.revoke(order(Kind.AGENT, "coder"))
    assert ids(revoked.tasks) == {mine.id, below.id, delegated.id}
    assert store.get(mine.id).reason == store.get(delegated.id).reason == "the agent coder is revoked: leaked"
    assert store.get(below.id).reason.startswith("the task it was delegated from was revoked: the agent")
    assert ids(stored.task for stored in store.list(TaskState.OPEN)) == {other.id}
    assert store.orders() == (order(Kind.AGENT, "coder"),)


def test_an_order_about_everything_reaches_every_task(store):
    tasks = [begin(store, number, agent) for number, agent in enumerate(("coder", "helper", "coder"))]
    assert ids(store.revoke(order(Kind.ALL)).tasks) == ids(tasks)
    assert store.list(TaskState.OPEN) == ()


@pytest.mark.parametrize("kind", [Kind.TOKEN, Kind.KEY, Kind.ISSUER])
def test_an_order_about_evidence_is_kept_and_ends_no_task(store, kind):
    task = begin(store, 1)
    revoked = store.revoke(order(kind, "coder"))
    assert revoked == Revoked(order(kind, "coder"), revoked.seq, new=True, tasks=())
    assert store.orders() == (order(kind, "coder"),)
    assert store.get(task.id).task.state is TaskState.OPEN


EVIDENCE = Evidence(Method.OIDC, "https://id", "k1", "jti-1", "ab" * 32)


@pytest.mark.parametrize(
    ("kind", "identity"),
    [(Kind.TOKEN, "jti-1"), (Kind.TOKEN, "ab" * 32), (Kind.KEY, "k1"), (Kind.ISSUER, "https://id")],
)
def test_what_was_delegated_on_some_evidence_ends_with_it(store, kind, identity):
    """Or whoever stole a token could delegate, and have one that outlives it."""
    root, (child, data) = begin(store, 1), made(2, "helper", made(1)[0])
    store.create(child, data, by="agent:coder", evidence=[EVIDENCE])
    below, apart = begin(store, 3, "tester", child), begin(store, 4, "tester", root)
    assert store.revoke(order(kind, "another")).tasks == ()
    assert ids(store.revoke(order(kind, identity)).tasks) == {child.id, below.id}
    assert {one.id for one in (root, apart)} == ids(stored.task for stored in store.list(TaskState.OPEN))
    late, data = made(5, "helper", root)
    with pytest.raises(TaskOverError, match="leaked"):
        store.create(late, data, by="agent:coder", evidence=[EVIDENCE])
    assert store.get(late.id) is None
    assert store.lift(kind, identity)
    store.create(late, data, by="agent:coder", evidence=[EVIDENCE])
    assert store.get(child.id).task.state is TaskState.REVOKED


@pytest.mark.parametrize("kind", STANDING)
def test_the_first_order_stays_and_survives(path, store, kind):
    first, again = order(kind, "x", "first"), order(kind, "x", "second", at_ns=1)
    seq = store.revoke(first).seq
    with TaskStore.open(path) as other:
        assert other.revoke(again) == Revoked(first, seq, new=False, tasks=())
        assert other.orders() == (first,)
    assert store.changes(seq, NOW).seq == seq


@pytest.mark.parametrize("kind", STANDING)
def test_a_lifted_order_holds_no_longer_and_may_come_again(store, kind):
    identity = EVERYTHING if kind is Kind.ALL else "coder"
    task = begin(store, 1)
    before = store.revoke(order(kind, identity))
    assert store.lift(kind, identity) is True
    assert store.lift(kind, identity) is False
    assert store.orders() == ()
    assert (store.get(task.id).task.state is TaskState.OPEN) == (before.tasks == ())
    assert store.revoke(order(kind, identity)).new


def test_orders_of_one_id_and_different_kinds_are_different(store):
    for kind in STANDING:
        assert store.revoke(order(kind, "x")).new
    store.lift(Kind.KEY, "x")
    assert [each.kind for each in store.orders()] == [kind for kind in STANDING if kind is not Kind.KEY]


def test_a_reader_sees_orders_come_and_go(store):
    start = store.changes(0, NOW)
    assert (start.standing, start.revoked) == ((), ())
    task = begin(store, 1)
    store.revoke(order(Kind.AGENT, "coder"))
    came = store.changes(start.seq, NOW)
    assert came.standing == (order(Kind.AGENT, "coder"),)
    assert [(each.order, ids(each.tasks)) for each in came.revoked] == [
        (order(Kind.AGENT, "coder"), {task.id})
    ]
    store.lift(Kind.AGENT, "coder")
    went = store.changes(came.seq, NOW)
    assert (went.standing, went.revoked) == ((), ())
    begin(store, 2)
    assert store.changes(went.seq, NOW).standing is None


def test_a_reader_sees_an_order_about_a_task_with_what_it_ended(store):
    root, apart = begin(store, 1), begin(store, 2)
    child = begin(store, 3, parent=root)
    after = store.changes(0, NOW).seq
    store.end(apart.id, "done", NOW)
    told = store.revoke(order(Kind.TASK, root.id))
    changes = store.changes(after, NOW)
    assert ids(changes.tasks) == {root.id, child.id, apart.id}
    (seen,) = changes.revoked
    assert (seen.order, seen.seq, ids(seen.tasks)) == (told.order, told.seq, {root.id, child.id})
    assert changes.standing == ()


def test_an_order_that_cannot_be_written_is_an_error(store):
    with pytest.raises(TaskStoreError, match="cannot be written"):
        store.revoke(order(Kind.KEY, "\udc80"))
    assert store.orders() == ()
