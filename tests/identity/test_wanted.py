"""What an agent asks for when it delegates: strict, and every refusal names the member."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.identity.principal import Budgets
from proxy.identity.task import MAX_DEPTH, MAX_INTEGER
from proxy.identity.wanted import MAX_BODY, Wanted, format_wanted, parse_wanted

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
scope = st.from_regex(r"[\x21\x23-\x5b\x5d-\x7e]{1,20}", fullmatch=True)
service = st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True)
some = st.none() | st.integers(1, MAX_INTEGER)


def sets(of):
    return st.none() | st.sets(of, max_size=4).map(lambda them: tuple(sorted(them)))


wanteds = st.builds(
    Wanted,
    agent=text,
    purpose=text,
    scopes=sets(scope),
    services=sets(service),
    ttl_s=some,
    budgets=st.builds(Budgets, some, some),
    depth=st.none() | st.integers(0, MAX_DEPTH),
)
FULL = {
    "agent": "tester",
    "purpose": "run the tests",
    "scopes": ["repo:read", "issues:write", "repo:read"],
    "services": ["github"],
    "ttl": 600,
    "budgets": {"requests": 100, "octets": 1_000_000},
    "depth": 0,
}


def test_everything_may_be_asked_for():
    assert parse_wanted(json.dumps(FULL).encode()) == Wanted(
        agent="tester",
        purpose="run the tests",
        scopes=("issues:write", "repo:read"),
        services=("github",),
        ttl_s=600,
        budgets=Budgets(requests=100, octets=1_000_000),
        depth=0,
    )


def test_what_is_left_out_or_null_is_as_the_parent_has_it():
    short = {"agent": "tester", "purpose": "run the tests"}
    assert parse_wanted(orjson.dumps(short)) == Wanted("tester", "run the tests")
    assert parse_wanted(orjson.dumps(dict.fromkeys(FULL) | short)) == Wanted("tester", "run the tests")
    nothing = parse_wanted(orjson.dumps(short | {"scopes": [], "services": []}))
    assert nothing == Wanted("tester", "run the tests", (), ())


@given(wanteds)
def test_a_body_and_its_meaning_undo_each_other(wanted):
    assert parse_wanted(format_wanted(wanted)) == wanted


@given(
    st.binary(max_size=60)
    | st.dictionaries(
        st.sampled_from([*FULL, "", "ticket"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | text, st.lists),
    ).map(lambda document: json.dumps(document).encode())
)
def test_any_other_body_is_refused_and_never_raises(body):
    wanted = parse_wanted(body)
    if isinstance(wanted, Refusal):
        assert wanted.code is Code.DESK_REQUEST
        assert wanted.detail.encode()
    else:
        assert parse_wanted(format_wanted(wanted)) == wanted


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"agent": ""}, "agent"),
        ({"agent": None}, "agent"),
        ({"agent": ["tester"]}, "agent"),
        ({"agent": "a\nb"}, "agent"),
        ({"agent": "\ud800"}, "agent"),
        ({"purpose": ""}, "purpose"),
        ({"purpose": None}, "purpose"),
        ({"purpose": 7}, "purpose"),
        ({"purpose": "\x1b[2J"}, "purpose"),
        ({"purpose": "\udfff"}, "purpose"),
        ({"purpose": "x" * 1025}, "purpose"),
        ({"scopes": "repo:read"}, "scopes"),
        ({"scopes": [1]}, "scopes"),
        ({"scopes": ["a b"]}, "scopes"),
        ({"scopes": {"repo:read": True}}, "scopes"),
        ({"services": "github"}, "services"),
        ({"services": ["Git Hub"]}, "services"),
        ({"services": [None]}, "services"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": -1}, "ttl"),
        ({"ttl": 1.0}, "ttl"),
        ({"ttl": "600"}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"ttl": float("inf")}, "ttl"),
        ({"ttl": MAX_INTEGER + 1}, "ttl"),
        ({"budgets": 7}, "budgets"),
        ({"budgets": []}, "budgets"),
        ({"budgets": {"calls": 1}}, "calls"),
        ({"budgets": {"requests": 0}}, "budgets.requests"),
        ({"budgets": {"octets": "1"}}, "budgets.octets"),
        ({"budgets": {"octets": False}}, "budgets.octets"),
        ({"depth": -1}, "depth"),
        ({"depth": MAX_DEPTH + 1}, "depth"),
        ({"depth": True}, "depth"),
        ({"ticket": "ISSUE-8"}, "ticket"),
        ({"on_behalf_of": "root"}, "on_behalf_of"),
        ({"\ud800": 1}, "ud800"),
    ],
    ids=repr,
)
def test_a_wrong_member_is_named(changes, named):
    refusal = parse_wanted(json.dumps(FULL | changes).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DESK_REQUEST
    assert named in refusal.detail
    assert refusal.detail.encode()  # it can be printed


def test_a_long_name_is_not_said_in_full():
    refusal = parse_wanted(json.dumps(FULL | {"x" * 4000: 1}).encode())
    assert isinstance(refusal, Refusal)
    assert len(refusal.detail) < 100


@pytest.mark.parametrize("name", FULL)
def test_a_member_may_not_be_there_twice(name):
    body = json.dumps(FULL).encode()[:-1] + b"," + json.dumps({name: FULL[name]}).encode()[1:]
    assert json.loads(body) == FULL
    assert parse_wanted(body) == Refusal(Code.DESK_REQUEST, f"the member '{name}' is there twice")


def test_a_budget_may_not_be_there_twice():
    body = b'{"agent":"a","purpose":"p","budgets":{"requests":1,"requests":9}}'
    assert parse_wanted(body) == Refusal(Code.DESK_REQUEST, "the member 'requests' is there twice")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"tester"',
        b"[" * MAX_BODY,
        b'{"agent":' * 1500,
        b"1" * 5000,
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"agent":"a","purpose":"p"} {}',
        b'{"agent":"a","purpose":"p","ttl":NaN}',
        json.dumps(FULL).encode() + b" " * MAX_BODY,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_short_json_object_is_refused(body):
    refusal = parse_wanted(body)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DESK_REQUEST


def test_a_body_of_the_longest_length_is_read():
    short = orjson.dumps({"agent": "tester", "purpose": "p"})
    assert parse_wanted(short.ljust(MAX_BODY)) == Wanted("tester", "p")
    assert isinstance(parse_wanted(short.ljust(MAX_BODY + 1)), Refusal)
