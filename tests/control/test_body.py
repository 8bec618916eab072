import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.control.body import (
    MAX_OCTETS,
    Flaw,
    Ordered,
    flaw_of_id,
    parse_answer,
    parse_reason,
    parse_revocation,
    parse_task,
)
from proxy.control.operations import TaskAsked
from proxy.identity.principal import NO_BUDGETS, Budgets
from proxy.identity.revocation import EVERYTHING, Kind
from proxy.policy.approval import MAX_GRANT_S, MAX_USES, Denial, Grant

TASK = "t-" + "a" * 26
PARSERS = (parse_task, parse_reason, parse_revocation, parse_answer)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "agent",
        "purpose",
        "ttl",
        "scopes",
        "services",
        "budgets",
        "ticket",
        "approver",
        "depth",
        "kind",
        "id",
        "reason",
        "answer",
        "uses",
        "seconds",
    ]
)
members = st.dictionaries(
    names, anything | st.sampled_from(["coder", "all", "1h", 60, "approve", "deny"]), max_size=6
)


def body(**document):
    return json.dumps(document).encode()


@given(
    st.binary() | anything.map(lambda value: json.dumps(value).encode()) | members.map(lambda m: body(**m))
)
def test_no_body_makes_a_parser_raise_and_every_flaw_has_printable_words(data):
    for parse in PARSERS:
        parsed = parse(data)
        if isinstance(parsed, Flaw):
            assert parsed.words
            assert parsed.words.isprintable()


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"null",
        b'"reason"',
        b"\xff\xfe",
        b'\xef\xbb\xbf{"reason": "a"}',
        b'{"reason": "a", "reason": "b"}',
        b'{"reason": NaN}',
        b'{"reason": "\\ud800"}',
        b"{" * 5_000,
        b'{"reason":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"reason": ' + b"9" * 5_000 + b"}",
        b'{"reason": "a"} x',
        b'{"strange": 1}',
        b'{"reason": "two\\nlines"}',
        b'{"reason": 1}',
        b'{"reason": "' + b"x" * MAX_OCTETS + b'"}',
    ],
)
def test_what_is_not_one_plain_object_is_a_flaw_to_all(parse, data):
    assert isinstance(parse(data), Flaw)


def test_a_task_needs_no_more_than_an_agent():
    assert parse_task(b'{"agent": "coder"}') == TaskAsked("coder", "", 3_600)


def test_a_task_in_full():
    whole = body(
        agent="spiffe://example.org/coder",
        purpose="fix issue 7",
        ttl="2h30m",
        scopes=["a", "b"],
        services=[],
        budgets={"requests": 10},
        ticket="OPS-7",
        on_behalf_of="ada",
        approver="grace",
        depth=0,
    )
    assert parse_task(whole) == TaskAsked(
        "spiffe://example.org/coder",
        "fix issue 7",
        9_000,
        ("a", "b"),
        (),
        Budgets(10, None),
        "OPS-7",
        "ada",
        "grace",
        0,
    )


def test_what_is_null_is_as_if_it_were_not_there():
    asked = parse_task(body(agent="coder", services=None, ticket=None, depth=None, budgets={"octets": None}))
    assert asked == TaskAsked("coder", "", 3_600, budgets=NO_BUDGETS)


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(1, 1), (3_600, 3_600), ("90s", 90), ("15m", 900), ("1d1s", 86_401)]
)
def test_a_lifetime_is_seconds_or_a_duration(ttl, seconds):
    assert parse_task(body(agent="coder", ttl=ttl)).ttl_s == seconds


@pytest.mark.parametrize(
    "ttl",
    [
        0,
        -1,
        True,
        1.5,
        "3600",
        "",
        "h",
        "0s",
        "1h ",
        "1s1h",
        "٣s",
        "367d",
        367 * 86_400,
        10**30,
        "9" * 400 + "s",
        None,
    ],
)
def test_what_is_no_lifetime_is_a_flaw(ttl):
    assert isinstance(parse_task(body(agent="coder", ttl=ttl)), Flaw)


@pytest.mark.parametrize(
    "member",
    [
        {"agent": ""},
        {"agent": "a\x00"},
        {"agent": 7},
        {"scopes": "a"},
        {"scopes": [""]},
        {"scopes": ["a"] * 65},
        {"services": ["a"] * 129},
        {"budgets": {"requests": 0}},
        {"budgets": {"requests": 2**53}},
        {"budgets": {"requests": "1"}},
        {"budgets": {"seconds": 1}},
        {"ticket": ""},
        {"approver": ""},
        {"depth": -1},
        {"depth": 8},
        {"depth": True},
        {"parent": TASK},
        {"environment": "production"},
    ],
)
def test_a_task_with_a_wrong_member_is_a_flaw_that_names_it(member):
    flaw = parse_task(body(**{"agent": "coder", **member}))
    assert isinstance(flaw, Flaw)
    assert next(iter(member)) in flaw.words


def test_words_about_a_flaw_do_not_repeat_values():
    assert "hunter2" not in parse_task(body(agent="coder", ttl="hunter2", depth="hunter2")).words


def test_a_reason_may_be_missing():
    assert parse_reason(b"") == parse_reason(b"{}") == ""
    assert parse_reason(body(reason="done")) == "done"


def test_orders_name_what_they_reach():
    assert parse_revocation(body(kind="agent", id="coder", reason="r")) == Ordered(Kind.AGENT, "coder", "r")
    assert parse_revocation(body(kind="task", id=TASK, reason="r")) == Ordered(Kind.TASK, TASK, "r")
    assert parse_revocation(body(kind="all", reason="r")) == Ordered(Kind.ALL, EVERYTHING, "r")
    assert parse_revocation(body(kind="all", id="*", reason="r")) == Ordered(Kind.ALL, EVERYTHING, "r")


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "agent", "reason": "r"},
        {"kind": "agent", "id": "", "reason": "r"},
        {"kind": "agent", "id": "coder"},
        {"kind": "agent", "id": "coder", "reason": ""},
        {"kind": "task", "id": "coder", "reason": "r"},
        {"kind": "all", "id": "coder", "reason": "r"},
        {"kind": "AGENT", "id": "coder", "reason": "r"},
        {"kind": "owner", "id": "coder", "reason": "r"},
        {"id": "coder", "reason": "r"},
    ],
)
def test_an_order_that_does_not_is_a_flaw(document):
    assert isinstance(parse_revocation(body(**document)), Flaw)


def test_only_an_order_about_everything_has_everything_as_its_id():
    assert flaw_of_id(Kind.ISSUER, "https://issuer.example/a//b") is None
    assert flaw_of_id(Kind.ALL, EVERYTHING) is None
    assert isinstance(flaw_of_id(Kind.ALL, "x"), Flaw)


@pytest.mark.parametrize(
    ("document", "answer"),
    [
        ({"answer": "approve"}, Grant(1, 3_600, "")),
        ({"answer": "approve", "uses": MAX_USES, "seconds": MAX_GRANT_S}, Grant(MAX_USES, MAX_GRANT_S, "")),
        ({"answer": "approve", "seconds": "2h30m", "reason": "ok"}, Grant(1, 9_000, "ok")),
        ({"answer": "deny"}, Denial("")),
        ({"answer": "deny", "reason": "no"}, Denial("no")),
    ],
)
def test_an_answer_is_read(document, answer):
    assert parse_answer(body(**document)) == answer


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({}, "answer"),
        ({"answer": "Approve"}, "answer"),
        ({"answer": True}, "answer"),
        ({"answer": "approve", "uses": 0}, "uses"),
        ({"answer": "approve", "uses": MAX_USES + 1}, "uses"),
        ({"answer": "approve", "uses": "1"}, "uses"),
        ({"answer": "approve", "uses": True}, "uses"),
        ({"answer": "approve", "seconds": 0}, "seconds"),
        ({"answer": "approve", "seconds": MAX_GRANT_S + 1}, "seconds"),
        ({"answer": "approve", "seconds": "soon"}, "seconds"),
        ({"answer": "approve", "reason": "a\nb"}, "reason"),
        ({"answer": "approve", "approver": "ada"}, "approver"),
        ({"answer": "deny", "seconds": 60}, "answer"),
    ],
)
def test_an_answer_that_is_not_understood_is_none(document, where):
    flaw = parse_answer(body(**document))
    assert isinstance(flaw, Flaw)
    assert flaw.words.startswith(where)
