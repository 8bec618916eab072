from enum import StrEnum

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from orjson import Fragment

from proxy.audit import Malformed
from proxy.audit.canonical import decode, digest, encode, text

KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
)


@given(VALUES)
def test_equals_rfc8785_and_reads_back(value):
    data = encode(value)
    assert data == rfc8785.dumps(value)
    assert decode(data) == value


@given(VALUES)
def test_a_fragment_is_its_value(value):
    assert encode({"b": Fragment(encode(value)), "a": 1}) == encode({"b": value, "a": 1})


class Word(StrEnum):
    YES = "yes"


def test_an_enum_of_words_is_its_word():
    assert encode({"w": Word.YES, "t": (1, 2)}) == b'{"t":[1,2],"w":"yes"}'


def nested(depth):
    value = None
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        {"a": [1.5]},
        2**53,
        -(2**53),
        2**70,
        {"é": 1},
        {"a": {"\u0130": 1}},
        {1: 2},
        "\ud800",
        b"x",
        {"a": {1}},
        nested(300),
        object,
    ],
)
def test_strangers_are_refused(value):
    with pytest.raises(Malformed):
        encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a": 1}',
        b"1.0",
        b"1e3",
        b"-0",
        b"18446744073709551616",
        b'"\xff"',
        b'"\\u0041"',
        b"[" * 500 + b"]" * 500,
    ],
)
def test_only_canonical_bytes_are_read(data):
    with pytest.raises(Malformed):
        decode(data)


def test_text_types_what_is_not_utf8():
    assert text("né".encode()) == "né"
    assert text(b"\xff\x00") == {"base64": "/wA="}


def test_digest():
    assert digest(b"") == {
        "len": 0,
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
