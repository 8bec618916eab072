"""Alarms in bursts: the first at once, the rest as a count."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.counted_alarm import QUIET, CountedAlarm
from tests.engine.wires import Clock


def test_one_is_told_at_once_and_the_next_after_a_pause():
    told, clock = [], Clock()
    alarm = CountedAlarm(told.append, clock)
    alarm.tell("a")
    clock.time += QUIET
    alarm.tell("b")
    assert told == ["a", "b"]


def test_a_flood_is_told_once_and_then_counted():
    told, clock = [], Clock()
    alarm = CountedAlarm(told.append, clock)
    for number in range(1000):
        alarm.tell(f"n{number}")
    assert told == ["n0"]
    clock.time += QUIET - 1
    alarm.sweep()
    assert told == ["n0"]
    clock.time += 1
    alarm.sweep()
    assert told == ["n0", f"n999 (and 998 more within {QUIET:g} s)"]
    clock.time += QUIET
    alarm.sweep()
    alarm.tell("later")
    assert told[2:] == ["later"]


@given(st.lists(st.integers(0, 120).map(lambda quarters: quarters / 4), max_size=60))
def test_none_is_lost_and_few_are_told(pauses):
    told, clock = [], Clock()
    alarm = CountedAlarm(told.append, clock)
    for pause in pauses:
        clock.time += pause
        alarm.tell("x")
    clock.time += QUIET
    alarm.sweep()
    more = [int(message.split()[2]) for message in told if "more" in message]
    assert len(told) + sum(more) == len(pauses)
    assert len(told) <= sum(pauses) / QUIET + 2
