"""Obligations add up, and what leaves is what they say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.obligation import (
    NO_OBLIGATIONS,
    Obligations,
    apply_content,
    apply_headers,
    changeable,
    combine,
    parse_pointer,
)

NAMES = st.frozensets(st.sampled_from(["cookie", "x-debug", "x-a"]))
FIELDS = st.frozensets(st.sampled_from(["/a", "/a/b", "/*/c", "/0", "/b/*", "/~1/~0"]))
DUTIES = st.builds(
    Obligations, NAMES, NAMES, FIELDS, FIELDS, st.none() | st.integers(1, 1 << 20), st.booleans()
)


def drop(*pointers):
    return Obligations(drop_fields=frozenset(pointers))


def redact(*pointers):
    return Obligations(redact_fields=frozenset(pointers))


# -- together --


@given(st.lists(DUTIES, max_size=4))
def test_all_obligations_hold_together(duties):
    total = combine(duties)
    for name in ("drop_headers", "redact_headers", "drop_fields", "redact_fields"):
        assert getattr(total, name) == {item for duty in duties for item in getattr(duty, name)}
    sizes = [duty.max_response for duty in duties if duty.max_response is not None]
    assert total.max_response == (min(sizes) if sizes else None)
    assert total.interception is any(duty.interception for duty in duties)


@given(DUTIES, DUTIES, DUTIES)
def test_order_grouping_and_repetition_do_not_matter(one, two, three):
    total = combine([one, two, three])
    assert total == combine([three, one, two]) == combine([combine([one, two]), three])
    assert total == combine([total, one, total])


def test_nothing_obliges_to_nothing():
    assert combine([]) is combine([NO_OBLIGATIONS, Obligations()]) is NO_OBLIGATIONS


# -- headers --

HEADERS = ((b"Cookie", b"a=1"), (b"X-Debug", b"yes"), (b"Accept", b"*/*"), (b"cookie", b"b=2"))


def test_headers_are_dropped_and_redacted_in_any_case():
    duties = Obligations(drop_headers=frozenset({"cookie"}), redact_headers=frozenset({"x-debug"}))
    assert apply_headers(duties, HEADERS) == ((b"X-Debug", b"[redacted]"), (b"Accept", b"*/*"))
    both = Obligations(drop_headers=frozenset({"x-debug"}), redact_headers=frozenset({"x-debug", "x-none"}))
    assert apply_headers(both, HEADERS) == (HEADERS[0], *HEADERS[2:])
    assert apply_headers(redact("/a"), HEADERS) is HEADERS


def test_an_underscore_in_the_name_of_a_header_saves_it_from_nothing():
    headers = ((b"X_Debug", b"yes"), (b"x-debug_more", b"no"), (b"X-A", b"1"), (b"X_a", b"2"))
    duties = Obligations(drop_headers=frozenset({"x-debug"}), redact_headers=frozenset({"x_a"}))
    assert apply_headers(duties, headers) == (
        headers[1],
        (b"X-A", b"[redacted]"),
        (b"X_a", b"[redacted]"),
    )


# -- content --


@pytest.mark.parametrize(
    ("duties", "before", "after"),
    [
        (drop("/user/email"), {"user": {"email": "x", "id": 1}}, {"user": {"id": 1}}),
        (redact("/messages/*/name"), {"messages": [{"name": "x"}, {}]}, {"messages": [{"name": "[redacted]"}, {}]}),
        (drop("/a/0", "/a/2"), {"a": [1, 2, 3, 4]}, {"a": [2, 4]}),
        (drop("/a/*"), {"a": [1, 2]}, {"a": []}),
        (redact("/a/*"), {"a": {"x": 1, "y": {"z": 2}}}, {"a": {"x": "[redacted]", "y": "[redacted]"}}),
        (drop("/*/b"), [{"b": 1, "c": 2}, 7], [{"c": 2}, 7]),
        (drop("/a~1b", "/m~0n", "/"), {"a/b": 1, "m~n": 2, "": 3, "d": 4}, {"d": 4}),
        (drop("/none/at/all", "/a/-", "/a/01", "/s/0"), {"a": [1], "s": "text"}, {"a": [1], "s": "text"}),
        (combine([drop("/a"), redact("/a", "/b")]), {"a": 1, "b": 2}, {"b": "[redacted]"}),
        (drop("/a"), 7, 7),
    ],
)  # fmt: skip
def test_fields_are_dropped_and_redacted(duties, before, after):
    assert json.loads(apply_content(duties, json.dumps(before).encode())) == after


def test_what_leaves_is_compact_and_keeps_order_and_letters():
    body = '{ "é": [1.50, 12345678901234567890123, -0.0, 1e2, true, null, "\\u00e9\\n"], "a": {} }'.encode()
    want = '{"é":[1.5,12345678901234567890123,-0.0,100.0,true,null,"é\\n"],"a":{}}'.encode()
    assert apply_content(drop("/none"), body) == want


def test_without_fields_the_content_is_let_be():
    assert apply_content(Obligations(max_response=1), b"not JSON") == b"not JSON"
    assert apply_content(drop("/a"), b"") == b""


@pytest.mark.parametrize(
    "body",
    [b"text", b'{"a":1,"a":2}', b'{"b":{"a":1,"\\u0061":2}}', b"[NaN]", b"[Infinity]", b"[1e400]", b"[1] [2]",
     b"\xef\xbb\xbf{}", b"\xff", b'["\\ud800"]', b"[" * 100_000, b"[0.1000000000000000055511]", b"a=1",
     b"[1e999999999999999999]", b"[" + b"1" * 5_000 + b"]",
     b'{"A":1}', b'{"a":1,"A":2}', b'{"a[]":1}', b'{"a ":1}', b'{"a\\u0000":1}'],
)  # fmt: skip
def test_what_has_no_single_reading_is_refused(body):
    refusal = apply_content(drop("/a"), body)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.OBLIGATION_UNMET


@pytest.mark.parametrize(
    "body", [{"a.b": 1}, {"A.B": 1}, {"a": {"B": 1}}, {"x": 1, "a": [{}], "A": {}}, [{"b": 1}, {"B": 1}]]
)
def test_a_name_that_could_be_taken_for_one_that_goes_is_refused(body):
    refusal = apply_content(drop("/a/b", "/*/b"), json.dumps(body).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.OBLIGATION_UNMET


def test_only_content_that_says_it_is_json_can_be_changed():
    json_type = (b"Content-Type", b"application/json")
    assert changeable((json_type,)) is None
    assert changeable(((b"content-type", b"Application/Vnd.Api+JSON; charset=utf-8"),)) is None
    form = (b"Content-Type", b"application/x-www-form-urlencoded")
    coded = (json_type, (b"Content-Encoding", b"gzip"))
    for headers in (
        (),
        (form,),
        (json_type, json_type),
        coded,
        ((b"Content-Type", b"+json; charset=utf-7"),),
    ):
        refusal = changeable(headers)
        assert refusal is not None
        assert refusal.code is Code.OBLIGATION_UNMET


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "0", "/"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


def reached(value, pointer):
    """Everything that a pointer names."""
    if not pointer:
        return [value]
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [
        found
        for name, item in members
        if pointer[0] in ("*", str(name))
        for found in reached(item, pointer[1:])
    ]


@given(JSON, FIELDS)
def test_nothing_that_was_to_go_is_left(value, pointers):
    body = json.dumps(value).encode()
    redacted = json.loads(apply_content(Obligations(redact_fields=pointers), body))
    for pointer in pointers:
        assert all(found == "[redacted]" for found in reached(redacted, parse_pointer(pointer)))
    names = [pointer for pointer in pointers if "0" not in pointer and "*" not in pointer]
    dropped = json.loads(apply_content(drop(*names), body))
    assert all(reached(dropped, parse_pointer(pointer)) == [] for pointer in names)


@given(JSON)
def test_what_no_pointer_names_stays(value):
    assert json.loads(apply_content(drop("/nowhere/x"), json.dumps(value).encode())) == value


@pytest.mark.parametrize("text", ["", "a", "a/b", "/~", "/a~2b", "#/a"])
def test_what_is_no_pointer(text):
    with pytest.raises(ValueError, match="JSON Pointer"):
        parse_pointer(text)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_a_pointer_is_read_as_it_is_written(tokens):
    text = "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)
    assert parse_pointer(text) == tuple(tokens)
