"""Durations: read as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("2h30m", 9000),
        ("1d", 86_400),
        ("1d1h1m1s", 90_061),
        (" 1H ", 3600),
        ("0h5m", 300),
    ],
)
def test_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0s",
        "0h0m",
        "90",
        "h",
        "1.5h",
        "-1h",
        "30m2h",
        "1h 30m",
        "1w",
        "1hh",
        "\uff11h",
        "1h\n2m",
        "9" * 30 + "s",
    ],
)
def test_refused(text):
    with pytest.raises(ValueError, match="90s, 15m"):
        parse_duration(text)


@given(st.integers(1, 10**9))
def test_printed_and_read_undo_each_other(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


def test_nothing_is_printed_as_zero():
    assert format_duration(0) == "0s"
