"""What was used of services: absolute figures for each boot, summed over all the others, gone with their window."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.service_budget import Per, Unit
from proxy.policy.tally import Account, Kept, Tally
from proxy.store.task_table import TaskStore
from proxy.store.tasks import TaskStoreError
from tests.store.making import NOW, Clock, begin, following

HOUR = 3_600


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def store(path):
    with TaskStore.open(path) as store:
        yield store


def tally(used, subject="coder", at=NOW, length=HOUR, unit=Unit.REQUESTS, per=Per.AGENT, budget="hourly"):
    return Tally(Account("api", budget, unit, per, subject), length, at - at % length, used)


def kept(*tallies, seen=NOW):
    return Kept(seen, tallies)


def test_boots_add_up_and_the_own_one_is_left_out(store):
    store.keep_service_usage("a", kept(tally(1), tally(2, "helper")))
    store.keep_service_usage("b", kept(tally(100), seen=NOW + 5))
    assert store.service_usage("c") == kept(tally(101), tally(2, "helper"), seen=NOW + 5)
    assert store.service_usage("b") == kept(tally(1), tally(2, "helper"), seen=NOW + 5)


def test_a_boot_writes_what_it_has_used_in_all(store):
    for used in (5, 7, 7, 6):  # less, where a call was given back
        store.keep_service_usage("a", kept(tally(used)))
    assert store.service_usage("b") == kept(tally(6))


def test_whatever_differs_is_another_row(store):
    tallies = [
        tally(1),
        tally(2, length=60),
        tally(3, budget="other"),
        tally(4, unit=Unit.OCTETS),
        tally(5, at=NOW + HOUR),
        tally(6, "helper"),
    ]
    store.keep_service_usage("a", kept(*tallies))
    assert set(store.service_usage("b").tallies) == set(tallies)


def test_a_recount_never_makes_a_figure_smaller(store):
    store.keep_service_usage("a", kept(tally(5), tally(5, "helper")))
    store.raise_service_usage("a", kept(tally(3), tally(9, "helper"), tally(1, "new"), seen=NOW - 9))
    assert store.service_usage("b") == kept(tally(5), tally(9, "helper"), tally(1, "new"))


def test_what_belongs_to_windows_that_are_over_goes_with_the_next_write(store):
    store.keep_service_usage("a", kept(tally(1, length=60), tally(2)))
    store.raise_service_usage("b", kept(tally(1), seen=NOW + 60))
    assert tally(1, length=60) in store.service_usage("x").tallies
    store.keep_service_usage("b", kept(tally(1), seen=NOW + 60))
    assert store.service_usage("x") == kept(tally(3), seen=NOW + 60)
    store.keep_service_usage("b", kept(tally(1, at=NOW + HOUR), seen=NOW + HOUR))
    assert store.service_usage("x") == kept(tally(1, at=NOW + HOUR), seen=NOW + HOUR)


def test_tasks_that_are_over_are_left_out(store):
    task, over = begin(store, 1), begin(store, 2)
    store.keep_service_usage("a", kept(*(tally(1, one.id, per=Per.TASK) for one in (task, over))))
    store.end(over.id, "done", NOW)
    assert store.service_usage("b") == kept(tally(1, task.id, per=Per.TASK))


def test_nothing_was_ever_kept(store):
    assert store.service_usage("a") == Kept(0, ())


def test_a_file_from_before_gets_the_table(path):
    with TaskStore.open(path) as store:
        task = begin(store, 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE service_usage")
    with TaskStore.open(path) as store:
        assert store.get(task.id) is not None
        store.keep_service_usage("a", kept(tally(1)))
        assert store.service_usage("b") == kept(tally(1))


def test_a_figure_that_cannot_be_kept_leaves_the_others_as_they_were(store):
    store.keep_service_usage("a", kept(tally(1)))
    with pytest.raises(TaskStoreError):
        store.keep_service_usage("a", kept(tally(2), tally(2, "\ud800")))
    assert store.service_usage("b") == kept(tally(1))


async def test_a_book_keeps_it_in_its_thread(path):
    async with following(path, Clock(), boot="one") as book:
        assert book.boot == "one"
        await book.ask(lambda store: store.keep_service_usage(book.boot, kept(tally(3))))
        assert await book.ask(lambda store: store.service_usage(book.boot)) == kept()
    async with following(path, Clock(), boot="two") as book:
        assert await book.ask(lambda store: store.service_usage(book.boot)) == kept(tally(3))


writes = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["coder", "helper"]),
        st.sampled_from([7, 60]),
        st.integers(0, 9),
        st.booleans(),
        st.integers(0, 100),
    ),
    max_size=12,
)


@given(writes)
@settings(max_examples=30, deadline=None)
def test_any_writes_add_up(tmp_path_factory, written):
    """Of every account and boot the last figure, or the highest of a recount, unless its window is over."""
    rows: dict[tuple[str, str, int, int], int] = {}
    latest = 0
    with TaskStore.open(tmp_path_factory.mktemp("usage") / "tasks.sqlite3") as store:
        for boot, subject, length, used, recounts, at in written:
            one = tally(used, subject, at, length)
            place = (boot, subject, length, one.begin)
            if recounts:
                store.raise_service_usage(boot, kept(one, seen=at))
                rows[place] = max(used, rows.get(place, 0))
            else:
                store.keep_service_usage(boot, kept(one, seen=at))
                rows[place] = used
                latest = at
                rows = {key: value for key, value in rows.items() if key[2] + key[3] > latest}
        expected: dict[tuple[str, int, int], int] = {}
        for (_, *rest), used in rows.items():
            expected[tuple(rest)] = expected.get(tuple(rest), 0) + used
        found = store.service_usage("c").tallies
    assert {(one.account.subject, one.length, one.begin): one.used for one in found} == expected
