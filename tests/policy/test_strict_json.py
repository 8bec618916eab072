"""Everything that two parsers could read differently is refused, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.strict_json import MAX_DEPTH, parse

INTEGERS = st.integers(-(2**70), 2**70)
TEXT = st.text(max_size=6) | st.sampled_from(['":', '"', '\\":', ':"', "a", "b", "\\u0061"])
SCALARS = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT
WHITE = st.sampled_from(["", "", " ", "\n", "\t ", "\r\n"])


@st.composite
def character(draw, plain):
    """One character of a string, plain if it can be, or as an escape."""
    if ord(plain) < 0x10000 and draw(st.booleans()):
        return f"\\u{ord(plain):04x}"
    return json.dumps(plain, ensure_ascii=False)[1:-1]


@st.composite
def spelled(draw, value):
    """One of the many spellings of a value; an object's members come as a list of pairs, with repetition."""
    if isinstance(value, str):
        return "".join(draw(character(c)) for c in value).join('""')
    if isinstance(value, tuple):
        members = [f"{draw(spelled(k))}{draw(WHITE)}:{draw(WHITE)}{draw(spelled(v))}" for k, v in value]
        return "{" + draw(WHITE) + f"{draw(WHITE)},".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(draw(spelled(item)) for item in value) + draw(WHITE) + "]"
    return json.dumps(value)


VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(st.tuples(TEXT, inner), max_size=4).map(tuple)
        | st.lists(st.tuples(TEXT, inner), max_size=4, unique_by=lambda pair: pair[0]).map(tuple)
    ),
    max_leaves=8,
)


def slow(body: bytes) -> object:
    """The reference: the standard library, told about everything it lets through."""

    def members(pairs):
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    def integer(digits):
        assert -(2**63) <= int(digits) < 2**63
        return int(digits)

    def constant(name):
        raise AssertionError(name)

    return json.loads(body.decode(), object_pairs_hook=members, parse_int=integer, parse_constant=constant)


@given(VALUES.flatmap(spelled), WHITE, WHITE)
def test_it_agrees_with_a_slow_reference(text, before, behind):
    body = f"{before}{text}{behind}".encode()
    found = parse(body)
    try:
        expected = slow(body)
    except AssertionError:
        assert isinstance(found, Refusal)
        assert found.code is Code.AMBIGUOUS_INPUT
    else:
        assert json.dumps(found) == json.dumps(expected)


@given(st.binary(max_size=40))
def test_no_octets_make_it_raise(body):
    found = parse(body)
    assert not isinstance(found, Refusal) or found.code is Code.AMBIGUOUS_INPUT


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b'{"a":1}{"a":1}',
        b'{"a":1} x',
        b'{"a":1}\0',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-le"),
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b'["\xff"]',
        b'["\xc0\xaf"]',
        b'["\xed\xa0\x80"]',
        b'["\\ud800"]',
        b'["\\udc00\\ud800"]',
        b'{"\\ud800": 1}',
        b"[9223372036854775808]",
        b"[-9223372036854775809]",
        b"18446744073709551616",
        b"[1" + b"0" * 5000 + b"]",
        b'{"a":1,"a":1}',
        b'{"a":1,"a" :2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":1, "b":[{"c":{"d":1,"d":2}}]}',
        b'{"x":"\\":","a":1,"a":2}',
        b'{"a":1,}',
        b"[1,]",
        b"{'a':1}",
        b"// c\n1",
        b"01",
        b"+1",
        b".5",
        b'["\t"]',
        b"\x0c1",
        b"[" * 2000 + b"]" * 2000,
        b"[" * 100_000,
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(body):
    found = parse(body)
    assert isinstance(found, Refusal)
    assert found.code is Code.AMBIGUOUS_INPUT


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"null", None),
        (b' "a" ', "a"),
        (b"[9223372036854775807,-9223372036854775808]", [2**63 - 1, -(2**63)]),
        (b"[1e300, 100000000000000000000.0]", [1e300, 1e20]),
        (b'{"a":"\\":","b":1}', {"a": '":', "b": 1}),
        (b'{"a":{"a":1},"b":[{"a":1},{"a":1}]}', {"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}),
        (b'{"":1,"\\u0000":2}', {"": 1, "\0": 2}),
        (b'["\\ud83d\\ude00"]', ["\U0001f600"]),
    ],
)
def test_what_can_be_read_in_one_way_is_read(body, value):
    assert parse(body) == value


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_has_a_bound(opening, closing):
    def nested(levels):
        return (opening * levels + "1" + closing * levels).encode()

    assert not isinstance(parse(nested(MAX_DEPTH)), Refusal)
    assert isinstance(parse(nested(MAX_DEPTH + 1)), Refusal)
