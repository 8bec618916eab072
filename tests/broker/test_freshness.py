import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.broker.freshness import MAX_S, MIN_S, UNSAID_S, lifetime


@pytest.mark.parametrize(
    ("cache_control", "age", "seconds"),
    [
        ("", "", UNSAID_S),
        ("public", "", UNSAID_S),
        ("max-age=1000", "", 1000),
        ("public, max-age=1000, must-revalidate", "", 1000),
        ("MAX-AGE=1000", "", 1000),
        ('max-age="1000"', "", 1000),
        ("max-age=1000", "400", 600),
        ("max-age=1000", "900", MIN_S),
        ("max-age=0", "", MIN_S),
        ("max-age=299", "", MIN_S),
        ("max-age=86401", "", MAX_S),
        ("max-age=999999999999", "", MAX_S),
        ("max-age=5000, max-age=1000", "", 1000),
        ("no-cache", "", MIN_S),
        ("no-store, max-age=1000", "", MIN_S),
        ('no-cache="set-cookie", max-age=1000', "", MIN_S),
        ("s-maxage=9, max-age=1000", "", 1000),
        # what cannot be read
        ("max-age", "", MIN_S),
        ("max-age=", "", MIN_S),
        ("max-age=-1", "", MIN_S),
        ("max-age=1e9", "", MIN_S),
        ("max-age=٩٩٩٩", "", MIN_S),
        ("max-age=9999999999999", "", MIN_S),
        ("max-age=1000 public", "", MIN_S),
        ("max-age=1000", "young", MIN_S),
    ],
)
def test_what_an_answer_says_within_bounds(cache_control, age, seconds):
    assert lifetime(cache_control, age) == seconds


@given(st.text(), st.text())
def test_nothing_an_answer_says_leaves_the_bounds(cache_control, age):
    assert MIN_S <= lifetime(cache_control, age) <= MAX_S


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_age_is_taken_off(limit, age):
    assert lifetime(f"max-age={limit}", str(age)) == min(max(limit - age, MIN_S), MAX_S)
