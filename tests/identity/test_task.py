"""Tasks: the id commits to every word of the manifest."""

from dataclasses import fields, replace

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.identity.principal import TaskState
from proxy.identity.task import (
    MAX_SCOPES,
    MAX_TASK_S,
    TASK_ID,
    Manifest,
    flaw,
    make_task,
    manifest_bytes,
    parse_manifest,
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

text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
name = text.filter(bool)
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
)


def test_the_bytes_of_a_manifest_do_not_change():
    """Ids that were written into a log must be computable for ever."""
    assert manifest_bytes(MANIFEST) == (
        b'{"agent":"coder","environment":"development","expires_at":1800003600,"format":"gatepass-task/1",'
        b'"issued_at":1800000000,"nonce":"00000000000000000000000000000000","on_behalf_of":null,'
        b'"purpose":"fix issue 7","scopes":["issues:write","repo:read"]}'
    )
    assert make_task(MANIFEST).id == "t-dplg6d76py4ulazz76gjulfwuy"


@given(manifests)
def test_a_manifest_and_its_bytes_undo_each_other(manifest):
    assert parse_manifest(manifest_bytes(manifest)) == manifest


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


@given(
    st.binary(max_size=60) | st.recursive(st.none() | st.integers(0, 9) | text, st.lists).map(orjson.dumps)
)
def test_other_bytes_are_no_manifest(data):
    assert parse_manifest(data) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": 1},
        {"scopes": "repo:read"},
        {"scopes": [1]},
        {"issued_at": True},
        {"issued_at": 1.5},
        {"format": "gatepass-task/2"},
        {"format": None},
        {"extra": 1},
    ],
    ids=repr,
)
def test_types_are_checked(changes):
    document = orjson.loads(manifest_bytes(MANIFEST)) | changes
    assert parse_manifest(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)) is None


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
