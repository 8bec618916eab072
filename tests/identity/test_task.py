"""Tasks: the id commits to every word of the manifest."""

import json
from dataclasses import fields, replace

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.identity.principal import Budgets, TaskState
from proxy.identity.task import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_SCOPES,
    MAX_SERVICES,
    MAX_TASK_S,
    TASK_ID,
    Manifest,
    flaw,
    make_task,
    manifest_bytes,
    parse_manifest,
    read_task,
    task_id,
)

MANIFEST = Manifest(
    agent="coder",
    purpose="fix issue 7",
    scopes=("issues:write", "repo:read"),
    environment="development",
    issued_at=1_800_000_000,
    expires_at=1_800_003_600,
    on_behalf_of=None,
    nonce="00" * 16,
)
DELEGATED = replace(
    MANIFEST,
    on_behalf_of="ada@example.org",
    services=("github",),
    budgets=Budgets(requests=100, octets=1_000_000),
    ticket="ISSUE-7",
    approver="grace@example.org",
    parent="t-" + "a" * 26,
    depth=2,
)

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
name = text.filter(bool)
amount = st.none() | st.integers(1, MAX_INTEGER)
services = st.sets(st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True), max_size=4)
scopes = st.sets(st.from_regex(r"[\x21\x23-\x5b\x5d-\x7e]{1,20}", fullmatch=True), max_size=5)
manifests = st.builds(
    lambda start, lifetime, **rest: Manifest(issued_at=start, expires_at=start + lifetime, **rest),
    start=st.integers(0, 2**40),
    lifetime=st.integers(1, MAX_TASK_S),
    agent=name,
    purpose=text,
    scopes=scopes.map(lambda them: tuple(sorted(them))),
    environment=name,
    on_behalf_of=st.none() | name,
    nonce=st.binary(min_size=16, max_size=16).map(bytes.hex),
    services=st.none() | services.map(lambda them: tuple(sorted(them))),
    budgets=st.builds(Budgets, amount, amount),
    ticket=st.none() | name,
    approver=st.none() | name,
    parent=st.none() | st.from_regex(TASK_ID, fullmatch=True),
    depth=st.integers(0, MAX_DEPTH),
)


def test_the_bytes_of_a_manifest_do_not_change():
    """Ids that were written into a log must be computable for ever."""
    assert manifest_bytes(MANIFEST) == (
        b'{"agent":"coder","approver":null,"budgets":{"octets":null,"requests":null},"depth":0,'
        b'"environment":"development","expires_at":1800003600,"format":"gatepass-task/2",'
        b'"issued_at":1800000000,"nonce":"00000000000000000000000000000000","on_behalf_of":null,'
        b'"parent":null,"purpose":"fix issue 7","scopes":["issues:write","repo:read"],"services":null,'
        b'"ticket":null}'
    )
    assert manifest_bytes(DELEGATED) == (
        b'{"agent":"coder","approver":"grace@example.org","budgets":{"octets":1000000,"requests":100},'
        b'"depth":2,"environment":"development","expires_at":1800003600,"format":"gatepass-task/2",'
        b'"issued_at":1800000000,"nonce":"00000000000000000000000000000000",'
        b'"on_behalf_of":"ada@example.org","parent":"t-aaaaaaaaaaaaaaaaaaaaaaaaaa",'
        b'"purpose":"fix issue 7","scopes":["issues:write","repo:read"],"services":["github"],'
        b'"ticket":"ISSUE-7"}'
    )
    assert make_task(MANIFEST).id == "t-c5ddsakxy4nl3xs52vmttuepfi"
    assert make_task(DELEGATED).id == "t-u23gaofedjr6p34ouhx3zqesx4"


@given(manifests)
def test_a_manifest_and_its_bytes_undo_each_other(manifest):
    assert parse_manifest(manifest_bytes(manifest)) == manifest


@given(manifests, st.sampled_from(TaskState))
def test_a_task_is_read_from_its_bytes(manifest, state):
    assert read_task(manifest_bytes(manifest), state) == make_task(manifest, state)


def test_tasks_share_what_they_have_in_common():
    data = [manifest_bytes(replace(DELEGATED, nonce=f"{number:032x}")) for number in range(2)]
    one, other = (read_task(octets, TaskState.OPEN) for octets in data)
    for member in ("agent", "scopes", "services", "environment", "budgets", "on_behalf_of", "parent"):
        assert getattr(one, member) is getattr(other, member)


@given(manifests, manifests)
def test_different_manifests_are_different_tasks(one, other):
    assume(one != other)
    assert make_task(one).id != make_task(other).id


@given(manifests)
def test_a_task_says_what_its_manifest_says(manifest):
    task = make_task(manifest)
    assert TASK_ID.fullmatch(task.id)
    assert task.id == task_id(manifest_bytes(manifest))
    assert task.state is TaskState.OPEN
    for field in fields(Manifest):
        if field.name != "nonce":
            assert getattr(task, field.name) == getattr(manifest, field.name)


@given(manifests, st.data())
def test_bytes_that_do_not_print_back_are_no_manifest(manifest, data):
    octets = bytearray(manifest_bytes(manifest))
    position = data.draw(st.integers(0, len(octets) - 1))
    octets[position] = data.draw(st.integers(0, 255))
    parsed = parse_manifest(bytes(octets))
    assert parsed is None or manifest_bytes(parsed) == bytes(octets)
    assert (read_task(bytes(octets), TaskState.OPEN) is None) == (parsed is None)


@given(
    st.binary(max_size=60) | st.recursive(st.none() | st.integers(0, 9) | text, st.lists).map(orjson.dumps)
)
def test_other_bytes_are_no_manifest(data):
    assert parse_manifest(data) is None
    assert read_task(data, TaskState.OPEN) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": 1},
        {"scopes": "repo:read"},
        {"scopes": [1]},
        {"issued_at": True},
        {"issued_at": 1.5},
        {"services": "github"},
        {"services": [None]},
        {"scopes": [[[]]]},
        {"budgets": None},
        {"budgets": {}},
        {"budgets": {"octets": None, "requests": True}},
        {"budgets": {"octets": None, "requests": 1, "calls": 1}},
        {"budgets": {"octets": 1.0, "requests": None}},
        {"budgets": {"octets": 2**64, "requests": None}},
        {"depth": True},
        {"depth": None},
        {"ticket": 7},
        {"parent": 7},
        {"approver": []},
        {"format": "gatepass-task/1"},
        {"format": []},
        {"format": None},
        {"extra": 1},
    ],
    ids=repr,
)
def test_types_are_checked(changes):
    document = orjson.loads(manifest_bytes(DELEGATED)) | changes
    assert parse_manifest(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()) is None


@pytest.mark.parametrize("name", orjson.loads(manifest_bytes(DELEGATED)))
def test_no_member_may_be_missing_or_twice(name):
    document = orjson.loads(manifest_bytes(DELEGATED))
    data = orjson.dumps({name: document[name]})[:-1] + b"," + manifest_bytes(DELEGATED)[1:]
    assert orjson.loads(data) == document
    assert parse_manifest(data) is None
    del document[name]
    assert parse_manifest(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)) is None


def test_what_cannot_be_printed_again_is_no_manifest():
    deep = orjson.dumps(
        orjson.loads(manifest_bytes(MANIFEST)) | {"scopes": [orjson.Fragment(b"[" * 900 + b"]" * 900)]}
    )
    assert parse_manifest(deep) is None


def test_white_space_and_key_order_are_part_of_the_bytes():
    document = orjson.loads(manifest_bytes(MANIFEST))
    assert parse_manifest(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)) is None
    assert parse_manifest(orjson.dumps(dict(reversed(document.items())))) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": ""},
        {"agent": "a\nb"},
        {"purpose": "\x1b[2J"},
        {"purpose": "x" * 1025},
        {"purpose": "\ud800"},
        {"environment": ""},
        {"on_behalf_of": ""},
        {"on_behalf_of": "\r"},
        {"scopes": ("b", "a")},
        {"scopes": ("a", "a")},
        {"scopes": ("a b",)},
        {"scopes": ("",)},
        {"scopes": tuple(f"s{number:03}" for number in range(MAX_SCOPES + 1))},
        {"issued_at": -1},
        {"expires_at": MANIFEST.issued_at},
        {"expires_at": MANIFEST.issued_at + MAX_TASK_S + 1},
        {"issued_at": MAX_INTEGER, "expires_at": MAX_INTEGER + 1},
        {"services": ("npm", "github")},
        {"services": ("github", "github")},
        {"services": ("",)},
        {"services": ("Git Hub",)},
        {"services": tuple(f"s{number:03}" for number in range(MAX_SERVICES + 1))},
        {"budgets": Budgets(requests=0)},
        {"budgets": Budgets(octets=-1)},
        {"budgets": Budgets(octets=MAX_INTEGER + 1)},
        {"ticket": ""},
        {"ticket": "a\nb"},
        {"approver": ""},
        {"approver": "\x7f"},
        {"parent": ""},
        {"parent": "t-" + "A" * 26},
        {"depth": -1},
        {"depth": MAX_DEPTH + 1},
        {"agent": "a" * 2049},
        {"nonce": ""},
        {"nonce": "0" * 31 + "G"},
    ],
    ids=lambda changes: repr(changes)[:40],
)
def test_a_flawed_manifest_becomes_no_task(changes):
    flawed = replace(MANIFEST, **changes)
    assert flaw(flawed)
    with pytest.raises(ValueError, match=r"."):
        make_task(flawed)
