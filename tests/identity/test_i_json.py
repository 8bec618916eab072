"""I-JSON: one reading for every document."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.i_json import parse_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.text(max_size=9), JSON, max_size=5))
def test_an_object_is_read_back(document):
    assert parse_object(orjson.dumps(document)) == document
    assert parse_object(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"a"',
        b"{",
        b"{} {}",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_two_readers_could_read_differently_is_none(data):
    assert parse_object(data) is None


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\au0d819 ', max_size=40).map(str.encode))
def test_anything_gets_an_answer(data):
    assert isinstance(parse_object(data), dict | None)
