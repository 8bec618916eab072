"""Lengths, lists and persistence, as RFC 9112 and 9110 define them."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.http.framing import content_length, index, members, wants_keep_alive
from proxy.http.message import tokens, values


def test_content_length():
    assert content_length([b"0"]) == 0
    assert content_length([b"9" * 18]) == 10**18 - 1
    for bad in ([], [b"1", b"1"], [b""], [b"9" * 19], [b"-1"], [b"1 "], [b"\xd9\xa3"], [b"0x1"]):
        assert content_length(bad) is None


def test_persistence():
    assert wants_keep_alive("1.1", [])
    assert not wants_keep_alive("1.1", [b"close", b"keep-alive"])
    assert not wants_keep_alive("1.0", [])
    assert wants_keep_alive("1.0", [b"keep-alive"])


NAMES = st.sampled_from([b"A", b"a", b"B"])


@given(st.lists(st.tuples(NAMES, st.text(alphabet="x,Y \t", max_size=6).map(str.encode)), max_size=6))
def test_the_index_answers_as_a_search_does(headers):
    found = index(headers)
    for name in (b"a", b"b", b"c"):
        assert found.get(name, []) == values(headers, name)
        assert members(found.get(name, ())) == tokens(headers, name)
