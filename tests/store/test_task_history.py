"""The history of tasks and orders: every event once, in order, however it is paged; and marks that only go on."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.principal import TaskState
from proxy.identity.revocation import EVERYTHING, Kind
from proxy.store.task_history import KEEP_LIFTED_NS, Ended, Event, Lifted, Opened, Ordered, Place
from proxy.store.task_rows import StoredTask, TaskOverError, TaskStoreError
from proxy.store.task_table import TaskStore
from tests.store.making import NOW, NS, begin, made, order

ALL = 10**9


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def store(path):
    with TaskStore.open(path) as store:
        yield store


def last(store: TaskStore) -> int:
    return store.changes(0, NOW).seq


def words(event: Event) -> tuple[str, ...]:
    """An event as a test writes it down."""
    match event:
        case Opened(_, stored):
            return ("opened", stored.task.id)
        case Ended(_, stored):
            return (stored.task.state.value, stored.task.id)
        case Ordered(_, given, _):
            return ("ordered", given.kind, given.id, given.reason)
        case Lifted(_, kind, identity, by, _):
            return ("lifted", kind, identity, by)


def told(store: TaskStore, after: int = 0, until: int = ALL) -> list[tuple[str, ...]]:
    return [words(event) for event in store.history(Place(after), until, ALL)]


def test_each_event_says_what_happened_then(store):
    task, data = made(1)
    store.create(task, data, by="ada")
    store.end(task.id, "done", NOW + 5, by="grace")
    given = order(Kind.KEY, "k", at_ns=NOW * NS)
    store.revoke(given)
    store.lift(Kind.KEY, "k", "grace", at_ns=NOW * NS + 1)
    over = replace(task, state=TaskState.ENDED)
    assert store.history(Place(0), ALL, ALL) == (
        Opened(Place(1, task.id), StoredTask(task, None, "", opened_by="ada")),
        Ended(Place(2, task.id), StoredTask(over, NOW + 5, "done", "grace", "ada")),
        Ordered(Place(3, ""), given, ()),
        Lifted(Place(4, ""), Kind.KEY, "k", "grace", NOW * NS + 1),
    )


def test_an_order_comes_before_the_ends_that_it_brought(store):
    tasks = sorted(begin(store, number).id for number in range(5))
    store.revoke(order(Kind.ALL))
    (ordered, *ends) = store.history(Place(5), ALL, ALL)
    assert (words(ordered), ordered.tasks) == (("ordered", Kind.ALL, EVERYTHING, "leaked"), tuple(tasks))
    assert [words(end) for end in ends] == [("revoked", task) for task in tasks]


def test_an_order_that_is_lifted_and_given_again_is_told_each_time(store):
    for reason in ("first", "second"):
        store.revoke(order(Kind.AGENT, "coder", reason))
        store.lift(Kind.AGENT, "coder", reason)
    store.revoke(order(Kind.AGENT, "coder", "third"))
    ordered, lifted = ("ordered", Kind.AGENT, "coder"), ("lifted", Kind.AGENT, "coder")
    first = [(*ordered, "first"), (*lifted, "first")]
    assert told(store) == [*first, (*ordered, "second"), (*lifted, "second"), (*ordered, "third")]


def test_only_what_lies_between_is_told(store):
    tasks = [begin(store, number).id for number in range(4)]
    assert told(store, 1, 3) == [("opened", tasks[1]), ("opened", tasks[2])]
    assert told(store, 4) == told(store, 2, 2) == told(store, 3, 1) == []


def test_what_expired_is_told_as_expired(store):
    task = begin(store, lifetime=10)
    store.expire(NOW + 11)
    assert told(store, 1) == [("expired", task.id)]


def test_a_row_that_was_altered_is_an_error_here_too(store):
    task = begin(store)
    store.end(task.id, "", NOW)
    store._connection.execute("UPDATE tasks SET agent = 'other'")
    with pytest.raises(TaskStoreError, match="altered"):
        store.history(Place(0), ALL, ALL)


def test_a_place_inside_a_change_is_not_behind_it():
    assert Place(7).complete == 7
    assert Place(7, "").complete == Place(7, "t-x").complete == 6
    assert Place(6) < Place(7, "") < Place(7, "t-x") < Place(7)


agents = st.sampled_from(("coder", "helper"))
subjects = st.one_of(st.tuples(st.just(Kind.AGENT), agents), st.just((Kind.ALL, EVERYTHING)))
acts = st.one_of(
    st.tuples(st.just("begin"), agents),
    st.tuples(st.just("begin"), agents),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("revoke"), subjects),
    st.tuples(st.just("lift"), subjects),
    st.tuples(st.just("revoke task"), st.integers(0, 9)),
)


def act(store: TaskStore, tasks: list[str], number: int, what: str, word) -> list[tuple[str, ...]]:
    """Do one thing; what is to be told of it."""
    if what == "begin":
        try:
            tasks.append(begin(store, number, word).id)
        except TaskOverError:
            return []
        return [("opened", tasks[-1])]
    if what == "lift":
        return [("lifted", *word, str(number))] if store.lift(*word, str(number)) else []
    if what == "revoke":
        subject = word
    elif tasks:
        subject = (Kind.TASK, tasks[word % len(tasks)])
    else:
        return []
    if what == "end":
        return [("ended", task.id) for task in store.end_all(subject[1], "", NOW)]
    revoked = store.revoke(order(*subject, str(number)))
    ends = [("revoked", each) for each in sorted(task.id for task in revoked.tasks)]
    return [("ordered", *subject, str(number)), *ends] if revoked.new else []


@given(history=st.lists(acts, max_size=20), limit=st.integers(1, 4), broken_off=st.integers(0, 30))
def test_pages_of_any_size_tell_everything_once_and_in_order(history, limit, broken_off):
    with tempfile.TemporaryDirectory() as directory, TaskStore.open(Path(directory) / "tasks") as store:
        tasks: list[str] = []
        expected = [
            one
            for number, (what, word) in enumerate(history)
            for one in act(store, tasks, number, what, word)
        ]
        assert told(store) == expected
        place, paged = Place(0), []
        while page := store.history(place, ALL, limit):
            assert len(page) <= limit
            paged += page
            place = page[-1].place
        assert [words(event) for event in paged] == expected
        # Whoever breaks off anywhere and goes on behind what is complete leaves nothing out.
        done = paged[:broken_off]
        behind = done[-1].place.complete if done else 0
        assert all(event.place.seq > behind for event in paged[broken_off:])
        assert told(store, behind)[-len(paged[broken_off:]) or ALL :] == expected[broken_off:]


def test_a_mark_is_kept_for_each_log_and_only_goes_on(path, store):
    assert store.recorded("log") == 0
    store.set_recorded("log", 5)
    store.set_recorded("other", 3)
    store.set_recorded("log", 4)
    with TaskStore.open(path) as again:
        assert (again.recorded("log"), again.recorded("other"), again.recorded("none")) == (5, 3, 0)


def test_a_mark_is_no_change(store):
    begin(store)
    before = last(store)
    store.set_recorded("log", before)
    assert last(store) == before


def kept(store: TaskStore) -> list[str]:
    return [identity for (identity,) in store._connection.execute("SELECT id FROM lifted ORDER BY seq")]


def test_a_lifted_order_is_forgotten_once_every_mark_is_past_it_and_an_hour_is(store):
    for name in ("old", "older", "recent"):
        store.revoke(order(Kind.KEY, name))
    store.lift(Kind.KEY, "older", at_ns=1)
    store.lift(Kind.KEY, "old", at_ns=2)
    assert store.lift(Kind.KEY, "recent")  # now
    seq = last(store)
    store.set_recorded("one", seq - 2)
    assert kept(store) == ["old", "recent"]
    store.set_recorded("two", 1)
    store.set_recorded("one", seq)
    assert kept(store) == ["old", "recent"]
    store.set_recorded("two", seq)
    assert kept(store) == ["recent"]
    assert told(store, seq - 1) == [("lifted", Kind.KEY, "recent", "")]
    assert KEEP_LIFTED_NS == 3600 * NS
