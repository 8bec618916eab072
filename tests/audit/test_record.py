import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orjson import Fragment

from proxy.audit import Malformed, record
from proxy.audit.canonical import encode
from proxy.audit.record import MAX_ENTRY, Numbering, Stamp, parse, ulid

STAMP = Stamp("01KAMWGZ60WKDXFYBKE2K0GZQR", 1_763_785_080_000_000_001, 5, "o", "b", 3)
WHO = {"agent": {"id": "build-7"}, "task": {"id": "t1"}, "auth": None, "peer": "127.0.0.1:9"}
WHAT = {"method": "GET", "scheme": "https", "host": "api.example.com", "port": 8443, "path": "/v1"}
WHY = {"effect": "deny", "code": "default_deny", "detail": "no", "status": 403, "rule": "r"}
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=16))
def test_ulid(milliseconds, randomness):
    text = ulid(milliseconds * 1_000_000 + 999_999, randomness)
    value = 0
    for char in text:
        value = value * 32 + CROCKFORD.index(char)
    assert len(text) == 26
    assert value == milliseconds << 80 | int.from_bytes(randomness[:10], "big")


def test_numbers_run_per_agent():
    numbers = Numbering()
    assert [numbers.next(agent) for agent in ("a", "b", "a", None, "", "b")] == [0, 0, 1, 0, 1, 1]


def test_the_shape_of_a_decision():
    entry = record.decision(STAMP, who=WHO, what=WHAT, why=WHY, credential=None)
    assert json.loads(entry) == {
        "v": 1,
        "type": "decision",
        "id": STAMP.id,
        "log": {"origin": "o", "boot": "b", "seq": 3},
        "ts": {"wall_ns": "1763785080000000001", "mono_ns": "5"},
        "who": WHO,
        "what": WHAT,
        "why": WHY,
        "credential": None,
    }


def test_a_decision_reads_back():
    read = parse(
        record.decision(STAMP, who=Fragment(encode(WHO)), what=WHAT, why=WHY, credential={"id": "c"})
    )
    assert (read.id, read.kind, read.time, read.origin, read.boot, read.seq) == (
        STAMP.id,
        "decision",
        STAMP.wall_ns,
        "o",
        "b",
        3,
    )
    assert (read.agent, read.task, read.effect, read.code, read.rule, read.detail, read.status) == (
        "build-7",
        "t1",
        "deny",
        "default_deny",
        "r",
        "no",
        403,
    )
    assert (read.method, read.host, read.port, read.path, read.decision_id) == (
        "GET",
        "api.example.com",
        8443,
        "/v1",
        STAMP.id,
    )
    assert read.url == "https://api.example.com:8443/v1"


@pytest.mark.parametrize(
    ("what", "url"),
    [
        ({**WHAT, "port": 443}, "https://api.example.com/v1"),
        ({**WHAT, "scheme": "http", "port": 80}, "http://api.example.com/v1"),
        ({**WHAT, "scheme": "http", "port": 443}, "http://api.example.com:443/v1"),
        ({"host": "h", "port": 22}, "h:22"),
        ({"path": "*"}, "*"),
        ({}, ""),
        ({"host": 1, "port": "x", "path": {"base64": "/wA="}}, "[base64:/wA=]"),
    ],
)
def test_url(what, url):
    assert parse(record.decision(STAMP, who={}, what=what, why={}, credential=None)).url == url


def test_an_outcome_reads_back():
    read = parse(
        record.outcome(
            STAMP, decision_id="D", what={"result": "refused", "code": "dest_private", "status": 403}
        )
    )
    assert (read.kind, read.decision_id, read.result, read.code, read.status) == (
        "outcome",
        "D",
        "refused",
        "dest_private",
        403,
    )


@pytest.mark.parametrize("body", [{"task": "t1", "agent": "a"}, {"task": {"id": "t1"}, "agent": {"id": "a"}}])
def test_an_event_reads_back(body):
    read = parse(record.event(STAMP, "task.open", body))
    assert (read.kind, read.task, read.agent, read.decision_id) == ("task.open", "t1", "a", "")


@pytest.mark.parametrize("kind", ["decision", "outcome"])
def test_an_event_is_no_decision(kind):
    with pytest.raises(ValueError, match=kind):
        record.event(STAMP, kind, {})


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"[]",
        b"{}",
        b'{"v":2}',
        b"not json",
        encode({"v": 1, "type": "x", "id": "i", "log": {"seq": True}, "ts": {"wall_ns": "1"}}),
        encode({"v": 1, "type": "x", "id": "i", "log": {"seq": 1}, "ts": {"wall_ns": "01"}}),
        encode({"v": 1, "type": "x", "id": "i", "log": {"seq": 1}, "ts": {"wall_ns": 1}}),
        encode({"v": 1, "type": "x", "id": "", "log": {"seq": 1}, "ts": {"wall_ns": "1"}}),
        encode({"v": 1, "type": 5, "id": "i", "log": {"seq": 1}, "ts": {"wall_ns": "1"}}),
        encode({"v": 1, "type": "x", "id": "i", "log": {"seq": 1}, "ts": {"wall_ns": "9" * 5000}}),
    ],
)
def test_what_is_no_record(entry):
    with pytest.raises(Malformed):
        parse(entry)


def test_what_is_too_long_becomes_a_digest():  # E8
    path = "/" + "é" * 40_000
    what = {**WHAT, "path": path, "note": "short"}
    entry = record.decision(STAMP, who=WHO, what=what, why=WHY, credential=None)
    shown = json.loads(entry)
    assert len(entry) <= MAX_ENTRY
    assert shown["what"] == {
        **what,
        "path": {"len": 80_001, "sha256": hashlib.sha256(path.encode()).hexdigest()},
    }
    assert (shown["who"], shown["why"], shown["id"]) == (WHO, WHY, STAMP.id)
    assert parse(entry).path == f"[sha256:{shown['what']['path']['sha256']}]"


def test_only_as_many_digests_as_needed():
    body = {"a": "x" * 50_000, "b": ["y" * 40_000, {"c": "z" * 10_000}]}
    shown = json.loads(record.event(STAMP, "x", body))["body"]
    assert shown["a"]["len"] == 50_000
    assert shown["b"] == body["b"]


def test_a_long_list_becomes_a_digest():
    keys = [f"k{n}" for n in range(20_000)]
    shown = json.loads(
        record.decision(STAMP, who=WHO, what={**WHAT, "query_keys": keys}, why=WHY, credential=None)
    )
    assert shown["what"]["query_keys"] == {
        "len": len(encode(keys)),
        "sha256": hashlib.sha256(encode(keys)).hexdigest(),
    }
    assert shown["what"]["path"] == "/v1"


def test_a_whole_part_becomes_a_digest():
    body = {f"k{n}": n for n in range(10_000)}
    shown = json.loads(record.event(STAMP, "x", body))
    assert shown["body"]["len"] == len(encode(body))


def test_an_envelope_cannot_shrink():
    with pytest.raises(Malformed, match="cannot be made to fit"):
        record.event(STAMP._replace(origin="o" * 70_000), "x", {})


LONG = st.sampled_from(["", "é", "\x00"]) | st.integers(1, 70_000).map(lambda n: "v" * n)


@given(st.dictionaries(st.sampled_from("abcdef"), LONG | st.lists(LONG, max_size=5), max_size=6))
def test_every_entry_fits(body):
    entry = record.event(STAMP, "x", body)
    assert len(entry) <= MAX_ENTRY
    assert parse(entry).id == STAMP.id
