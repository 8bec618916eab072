"""Bursts of bad credentials (D1): no failure is lost, few are recorded one by one, and waiting only grows."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.burst import (
    FIRST_DELAY_S,
    FREE,
    LAST_DELAY_S,
    LONGEST_S,
    MAX_SOURCES,
    QUIET_S,
    Bursts,
)


@pytest.fixture
def bursts():
    return Bursts()


def fail(bursts: Bursts, times: int, source: str = "a", now: float = 0.0) -> list[float | None]:
    return [bursts.failed(source, now) for _ in range(times)]


def test_the_first_failures_are_ordinary_and_then_each_waits_longer(bursts):
    assert fail(bursts, FREE) == [None] * FREE
    waits = fail(bursts, 8)
    assert waits[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert waits[5:] == [LAST_DELAY_S] * 3


def test_a_burst_is_over_once_its_source_is_quiet_and_told_once(bursts):
    fail(bursts, FREE, now=1.0)
    bursts.recorded("a", "the fifth")
    fail(bursts, 3, now=2.0)
    assert bursts.over(2.0 + QUIET_S - 0.5) == []
    (burst,) = bursts.over(2.0 + QUIET_S)
    assert (burst.source, burst.count, burst.decision_id) == ("a", 3, "the fifth")
    assert (burst.first, burst.began, burst.last) == (1.0, 2.0, 2.0)
    assert (bursts.over(1000.0), len(bursts)) == ([], 0)
    assert fail(bursts, FREE + 1, now=1000.0) == [None] * FREE + [FIRST_DELAY_S]


def test_a_burst_that_goes_on_is_told_every_now_and_then(bursts):
    told = []
    for second in range(200):
        fail(bursts, 1, now=float(second))
        told += bursts.over(float(second))
    told += bursts.over(200.0, all_of_them=True)
    assert all(burst.last - burst.began <= LONGEST_S for burst in told)
    assert len(told) == 3
    assert sum(burst.count for burst in told) == 200 - FREE * 4  # a fourth has just begun


def test_few_failures_are_no_burst(bursts):
    fail(bursts, FREE)
    assert bursts.over(1000.0, all_of_them=True) == []
    assert len(bursts) == 0


def test_sources_do_not_disturb_one_another(bursts):
    fail(bursts, 20)
    assert fail(bursts, 1, "b") == [None]


def test_answers_refer_to_the_last_record_of_their_source(bursts):
    assert bursts.record_of("a") == ""
    bursts.recorded("a", "nobody's")  # whose burst was over before its record was durable
    assert bursts.record_of("a") == ""
    fail(bursts, 1)
    bursts.recorded("a", "first")
    bursts.recorded("a", "second")
    assert (bursts.record_of("a"), bursts.record_of("b")) == ("second", "")


def test_there_is_room_for_so_many_sources_and_none_is_lost(bursts):
    for number in range(MAX_SOURCES + 10):
        fail(bursts, FREE + 2, str(number))
    assert len(bursts) == MAX_SOURCES
    told = bursts.over(1.0) + bursts.over(1.0, all_of_them=True)
    assert Counter(burst.source for burst in told) == Counter(map(str, range(MAX_SOURCES + 10)))
    assert {burst.count for burst in told} == {2}


steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([0, 0, 0, 1, 4, 9, 10, 30, 61]), st.booleans()),
    max_size=80,
)


@given(steps)
def test_no_failure_is_lost_and_none_counted_twice(steps):
    bursts, now = Bursts(), 0
    failures, recorded, told = Counter(), Counter(), []
    for source, pause, look in steps:
        now += pause
        failures[source] += 1
        wait = bursts.failed(source, now)
        if wait is None:
            recorded[source] += 1
        else:
            assert FIRST_DELAY_S <= wait <= LAST_DELAY_S
        if look:
            told += bursts.over(now)
    told += bursts.over(now, all_of_them=True)
    assert len(bursts) == 0
    counted = Counter()
    for burst in told:
        assert burst.count > 0
        assert burst.first <= burst.began <= burst.last <= now
        counted[burst.source] += burst.count
    assert recorded + counted == failures


@given(st.lists(st.integers(0, 9), max_size=60))
def test_without_a_pause_waiting_never_gets_shorter_within_a_burst(pauses):
    bursts, now, last, since = Bursts(), 0, 0.0, 0
    for pause in pauses:
        now += pause
        wait = bursts.failed("a", now)
        if wait is None or wait == FIRST_DELAY_S:
            since = now if wait else since
            last = 0.0
            continue
        assert wait >= last
        assert now - since < LONGEST_S
        last = wait
