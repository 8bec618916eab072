"""Tasks in memory: a state never goes back, and what is due is found without looking at the rest."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxy.credential.placeholder import Holding
from proxy.identity.principal import TaskState
from proxy.store.known_tasks import KEEP_S, KnownTasks
from tests.store.making import NOW, made

ENDED = TaskState.ENDED


def test_a_task_begins_and_ends_once():
    known, (task, _) = KnownTasks(), made()
    assert known.move(task) is False
    assert known.move(task) is False
    assert known.move(replace(task, state=ENDED)) is True
    assert known.move(replace(task, state=TaskState.REVOKED)) is False
    assert known.move(task) is False
    assert known.tasks[task.id].state is ENDED


def test_a_task_that_was_over_when_first_seen_neither_begins_nor_ends():
    known, (task, _) = KnownTasks(), made()
    assert known.move(replace(task, state=ENDED)) is False
    assert known.tasks[task.id].state is ENDED


def test_nothing_is_due_where_there_is_nothing():
    known = KnownTasks()
    assert known.next_due() is None
    assert known.expire(NOW) == []


def test_what_is_forgotten_takes_its_holdings_with_it():
    known, (task, _), (other, _) = KnownTasks(), made(1), made(2, lifetime=10**6)
    held = [
        Holding(f"{number:064x}", each.id, "s", "coder") for number, each in enumerate((task, task, other))
    ]
    for _ in range(2):  # a row may be read twice
        known.hold(held)
        known.move(task)
        known.move(other)
    known.expire(NOW + 600 + KEEP_S)
    assert list(known.tasks) == [other.id]
    assert list(known.held.values()) == held[2:]


@given(
    lifetimes=st.lists(st.integers(1, 2000), min_size=1, max_size=8),
    over=st.sets(st.integers(0, 7)),
    times=st.lists(st.integers(0, 2000 + KEEP_S + 1), min_size=1, max_size=6),
)
def test_at_any_time_the_right_tasks_are_open_expired_and_forgotten(lifetimes, over, times):
    known = KnownTasks()
    tasks = [made(number, lifetime=lifetime)[0] for number, lifetime in enumerate(lifetimes)]
    for number, task in enumerate(tasks):
        known.move(task)
        if number in over:
            known.move(replace(task, state=ENDED))
    expired: list[str] = []
    for now in sorted(times):
        expired += [task.id for task in known.expire(NOW + now)]
        for number, (task, lifetime) in enumerate(zip(tasks, lifetimes, strict=True)):
            found = known.tasks.get(task.id)
            if now >= lifetime + KEEP_S:
                assert found is None
            elif number in over:
                assert found.state is ENDED
            else:
                assert found.state is (TaskState.EXPIRED if now >= lifetime else TaskState.OPEN)
        ahead = [at for life in lifetimes for at in (NOW + life, NOW + life + KEEP_S) if at > NOW + now]
        assert known.next_due() == min(ahead, default=None)
    due = {
        task.id for number, task in enumerate(tasks) if number not in over and lifetimes[number] <= max(times)
    }
    assert sorted(expired) == sorted(due)
