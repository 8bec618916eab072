"""SPIFFE IDs: the reject list of the specification."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.spiffe import flaw


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://example.org/a",
        "spiffe://192.0.2.1/a/b",
        "spiffe://a_b-c.d/A.b_C-9/...",
        "spiffe://td/" + "a" * 2036,
        "spiffe://" + "a" * 255 + "/x",
    ],
)
def test_accepted(text):
    assert flaw(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://td/" + "a" * 2037,
        "spiffe://" + "a" * 256 + "/x",
        "SPIFFE://td/x",
        "https://td/x",
        "spiffe:/td/x",
        "spiffe://TD/x",
        "spiffe://td",
        "spiffe://td/",
        "spiffe:///x",
        "spiffe://td//x",
        "spiffe://td/x/",
        "spiffe://td/%41",
        "spiffe://u@td/x",
        "spiffe://td:8/x",
        "spiffe://[::1]/x",
        "spiffe://td/x?y",
        "spiffe://td/x#y",
        "spiffe://td/./x",
        "spiffe://td/../x",
        "spiffe://td/ü",
        "spiffe://td/x\n",
        "spiffe://td\n/x",
        "",
    ],
)
def test_rejected(text):
    assert flaw(text)


@given(st.lists(st.from_regex(r"[a-zA-Z0-9_-]{1,9}", fullmatch=True), min_size=1, max_size=4))
def test_any_path_of_plain_segments_is_accepted(segments):
    assert flaw("spiffe://example.org/" + "/".join(segments)) is None
