from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from proxy.control import render
from tests.control.worlds import NOW


@given(st.integers(0, 253_402_300_799))
def test_an_instant_reads_back(seconds):
    text = render.instant(seconds)
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(seconds, UTC)


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_precise_instant_reads_back_to_the_microsecond(nanoseconds):
    read = datetime.fromisoformat(render.precise_instant(nanoseconds))
    assert read.microsecond == nanoseconds // 1_000 % 1_000_000
    assert read.replace(microsecond=0) == datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)


def test_instants_look_like_this():
    assert render.instant(NOW) == "2027-01-15T08:00:00Z"
    assert render.precise_instant(NOW * 1_000_000_000 + 1_999) == "2027-01-15T08:00:00.000001Z"


def test_no_limit_and_nothing_are_told_apart():
    assert render.names(None) is None
    assert render.names(()) == []
    assert render.names({"b", "a"}) == ["a", "b"]
