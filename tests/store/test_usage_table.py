"""Usage: absolute numbers for each boot, summed over all the others."""

import pytest

from proxy.store.task_table import TaskStore
from proxy.store.tasks import Spent
from tests.store.making import NOW, Clock, begin, following


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def store(path):
    with TaskStore.open(path) as store:
        yield store


def test_boots_add_up_and_the_own_one_is_left_out(store):
    one, two = begin(store, 1), begin(store, 2)
    store.keep_usage("a", {one.id: (1, 10), two.id: (2, 20)})
    store.keep_usage("b", {one.id: (100, 1000)})
    assert store.spent("c") == {one.id: Spent(101, 1010), two.id: Spent(2, 20)}
    assert store.spent("b") == {one.id: Spent(1, 10), two.id: Spent(2, 20)}


def test_a_boot_writes_what_it_has_used_in_all(store):
    task = begin(store, 1)
    for used in ((1, 10), (5, 50), (5, 50)):
        store.keep_usage("a", {task.id: used})
    assert store.spent("b") == {task.id: Spent(5, 50)}


def test_a_recount_never_makes_a_number_smaller(store):
    task = begin(store, 1)
    store.keep_usage("a", {task.id: (5, 50)})
    store.set_usage("a", {task.id: (3, 90)})
    assert store.spent("b") == {task.id: Spent(5, 90)}
    store.set_usage("z", {task.id: (1, 1)})
    assert store.spent("b") == {task.id: Spent(6, 91)}


def test_what_is_not_in_the_file_is_passed_over_and_what_is_over_left_out(store):
    known, over = begin(store, 1), begin(store, 2)
    store.set_usage("a", {"t-none": (1, 1), known.id: (2, 2), over.id: (3, 3)})
    store.keep_usage("a", {"t-none": (1, 1)})
    store.end(over.id, "done", NOW)
    assert store.spent("b") == {known.id: Spent(2, 2)}


def test_what_one_task_has_used_is_known_also_when_it_is_over(store):
    task, idle = begin(store, 1), begin(store, 2)
    store.keep_usage("a", {task.id: (1, 10)})
    store.keep_usage("b", {task.id: (2, 20)})
    store.end(task.id, "done", NOW)
    assert store.used(task.id) == Spent(3, 30)
    assert store.used(idle.id) is None


async def test_a_restart_knows_what_was_spent_before_it(path, store):
    task = begin(store, 1)
    async with following(path, Clock(), boot="one") as book:
        assert book.spent() == {}
        await book.keep_usage({task.id: (3, 30)})
        assert book.spent() == {}
    async with following(path, Clock(), boot="two") as book:
        assert book.spent() == {task.id: Spent(3, 30)}
        await book.keep_usage({task.id: (1, 1)})
    assert store.spent("three") == {task.id: Spent(4, 31)}
