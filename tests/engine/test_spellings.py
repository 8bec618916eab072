"""One call, spelled in every way that HTTP allows, over real wires: one decision, and what was sent arrives."""

import re
from hashlib import sha256
from itertools import pairwise
from random import Random

import pytest

from proxy.audit.record import Record
from proxy.http.canonical import Origin, parse_host
from tests.policy.shipped_calls import JSON, Made
from tests.policy.spellings import Spelled, respelled
from tests.support import demo_rules
from tests.support.rawclient import Response, basic
from tests.support.upstream import Upstream
from tests.support.world import World, world

OPERATIONS = {
    "issues.change": {
        "group": "write",
        "method": "PATCH",
        "path": "/repos/{owner}/issues/{number}",
        "when": {"query": {"state": "closed"}, "body": {"action": "close"}},
        "facts": {"query": {"n": "long"}, "body": {"title": "string", "by.name": "string"}},
    },
    "issues.get": {"group": "read", "method": "GET", "path": "/repos/{owner}/issues/{number}"},
}
CURIOUS = '@id("curious") permit(principal, action, resource) when { context == context };'
CLOSE = {
    "method": "PATCH",
    "path": "/repos/a~b/issues/%C3%A9-7",
    "query": "state=closed&n=7&x=a+b&x=c",
    "headers": (("Content-Type", JSON), ("X-Trace", "a b")),
    "body": b'{"action": "close", "title": "a/b \\u00e9", "by": {"name": "Ada", "age": 7}, "more": [1, {"z": null}]}',
}
GET = {"method": "GET", "path": "/repos/ab/issues/7", "query": "", "headers": (), "body": None}


def services(up: Upstream):
    return [demo_rules.service("api", *up.hosts, ports=[up.port], operations=OPERATIONS)]


def rechunked(dice: Random, spelled: Spelled) -> tuple[bytes, bytes]:
    """The head and what follows it; sometimes the content comes in chunks instead of with its length."""
    body = spelled.body
    if body is None or dice.random() < 0.5:
        return spelled.head, body or b""
    head = re.sub(rb"(?i)\r\ncontent-length:[^\r]*", b"\r\nTransfer-Encoding: chunked", spelled.head)
    cuts = sorted({0, len(body), *(dice.randint(0, len(body)) for _ in range(dice.randint(0, 4)))})
    pieces = [body[begin:end] for begin, end in pairwise(cuts)]
    return head, b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def say(w: World, dice: Random, spelled: Spelled) -> Response:
    """Send it the way it is meant to go: in a tunnel, or to the proxy itself."""
    head, rest = rechunked(dice, spelled)
    if spelled.tunnel is not None:
        async with w.tunnel() as client:
            await client.send(head + rest)
            return await client.read_response()
    line, _, fields = head.partition(b"\r\n")
    own = b"Proxy-Authorization: " + basic("task", w.started.token).encode()
    async with await w.client() as client:
        await client.send(b"\r\n".join([line, own, fields]) + rest)
        return await client.read_response()


def told(record: Record) -> object:
    """All that the decision was taken on, and on what it is said to be; but for the time."""
    why, what = record.raw["why"], record.raw["what"]
    context = why["input"]["context"]
    del context["request"]["time"]
    return (
        why["action"],
        why["rules"],
        why["input"],
        *(what[name] for name in ("method", "host", "port", "path")),
    )


@pytest.mark.parametrize("call", [CLOSE, GET], ids=["PATCH", "GET"])
async def test_one_call_has_one_decision_however_it_is_spelled(tmp_path, call):
    dice, count = Random(call["path"]), 24
    async with world(tmp_path, services=services, policies=[CURIOUS]) as w:
        host = parse_host(w.upstream.hosts[0].encode())
        origin = Origin("https", host, w.upstream.port)
        for _ in range(count):
            spelled = respelled(dice, Made(origin=origin, **call))
            answer = await say(w, dice, spelled)
            assert answer.status == 200, (spelled, answer)
            got = w.upstream.requests[-1]
            assert got.sha256 == sha256(spelled.body or b"").hexdigest()
            assert got.target.partition("?")[0] == call["path"]
        await w.settled()
        first, *others = [told(record) for record in w.decisions]
        assert len(others) == count - 1
        assert all(other == first for other in others)
        assert first[0] == ("api.issues.change" if call is CLOSE else "api.issues.get")
