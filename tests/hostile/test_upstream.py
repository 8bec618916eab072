"""C13, C14: answers that lie, and connections that are shared with nobody (egress.md, section 5)."""

import asyncio

import pytest

from proxy.errors import Code
from tests.hostile.assertions import clean, failed, inside, say_inside
from tests.support import demo_rules
from tests.support.behaviours import paced, raw
from tests.support.rawclient import basic
from tests.support.upstream import Upstream
from tests.support.wire import Malformed
from tests.support.world import SECRET, world

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SPLIT = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"


def answering(script: bytes, **how: bool) -> Upstream:
    up = Upstream("api.test")
    up.on("/lie", raw(script, **how))
    return up


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", id="C13-cl-te"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", id="C13-two-lengths"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", id="C13-length-list"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", id="C13-signed-length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", id="C13-chunked-gzip"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", id="C13-xchunked"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", id="C13-chunks"
        ),
        pytest.param(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="C13-te-1.0"),
        pytest.param(b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", id="C13-204-with-body"),
        pytest.param(
            b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", id="C13-101"
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 40 + OK, id="C13-100-flood"),
        pytest.param(b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n" * 40 + OK, id="C13-103-flood"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n", id="C13-bare-lf"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", id="C13-bare-cr"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\r\n Set-Cookie: b\r\n\r\n", id="C13-fold"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", id="C13-nul"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", id="C13-space-before-colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", id="C13-large-head"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 5_000 + b"\r\n", id="C13-many-headers"),
        pytest.param(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", id="C13-http2"),
        pytest.param(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", id="C13-status"),
        pytest.param(b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", id="C13-short-status"),
        pytest.param(b"220 smtp.example ESMTP\r\n\r\n", id="C13-smtp"),
        pytest.param(b"ok\r\n\r\n", id="C13-http09"),
        pytest.param(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" * 8 + b"\r\n\r\n", id="C13-h2-frames"),
    ],
)
async def test_an_answer_with_two_readings_is_bad_gateway(tmp_path, script):
    async with world(tmp_path, upstream=answering(script, close=False)) as w, w.tunnel() as client:
        await client.send(inside(w, "/lie"))
        answer = await client.read_response()
        assert answer.status == 502
        await failed(w, answer, Code.UPSTREAM_PROTOCOL, result="upstream_error")
        await client.send(inside(w, "/next"))
        assert (await client.read_response()).json()["target"] == "/next"
        assert len(w.upstream.connections) == 2, "the connection that lied is not used again"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(OK + SPLIT, id="C13-two-answers"),
        pytest.param(OK + b"junk", id="C13-junk"),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\n\r\n" + SPLIT, id="C13-after-304"),
        pytest.param(b"HTTP/1.1 204 No\r\n\r\n" + SPLIT, id="C13-after-204"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SPLIT, id="C13-after-chunks"
        ),
    ],
)
async def test_a_second_answer_is_nobodys(tmp_path, script):
    """Response splitting: what follows an answer is never the answer to the next request."""
    async with world(tmp_path, upstream=answering(script, close=False)) as w, w.tunnel() as client:
        await client.send(inside(w, "/lie"))
        assert (await client.read_response()).status in {200, 204, 304}
        await client.send(inside(w, "/next"))
        answer = await client.read_response()
        assert answer.json()["target"] == "/next"
        assert len(w.upstream.connections) == 2


async def test_c13_an_answer_to_head_has_no_body(tmp_path):
    async with world(tmp_path, upstream=answering(OK + SPLIT, close=False)) as w, w.tunnel() as client:
        await client.send(inside(w, "/lie", method="HEAD"))
        assert (await client.read_response(to_head=True)).body == b""
        await client.send(inside(w, "/next"))
        assert (await client.read_response()).json()["target"] == "/next"
        assert len(w.upstream.connections) == 2


async def test_c13_an_answer_nobody_asked_for(tmp_path):
    """Octets on an idle pooled connection: it is thrown away before the next request."""
    gate = asyncio.Event()
    up = Upstream("api.test")
    up.on("/lie", paced(OK, SPLIT, gate=gate))
    async with world(tmp_path, upstream=up) as w, w.tunnel() as client:
        await client.send(inside(w, "/lie"))
        assert (await client.read_response()).body == b"ok"
        gate.set()
        await up.until(up.connections[0].closed.is_set)
        await client.send(inside(w, "/next"))
        assert (await client.read_response()).json()["target"] == "/next"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", id="chunks"),
    ],
)
async def test_a_cut_answer_arrives_as_a_cut_answer(tmp_path, script):
    """What has begun is not completed by us, and no answer of ours stands in the middle of it."""
    async with world(tmp_path, upstream=answering(script)) as w, w.tunnel() as client:
        await client.send(inside(w, "/lie"))
        body = client.body(await client.read_head())
        came = bytearray()
        with pytest.raises((Malformed, ConnectionError)):
            await pour(body, came)
        assert bytes(came) in {b"short", b"hello"}
        await w.settled()
        assert [each.effect for each in w.decisions] == ["allow"]
        assert [each.result for each in w.outcomes] == ["upstream_error"]


async def test_an_answer_that_stalls_is_cut_and_not_answered_over(tmp_path):
    gate = asyncio.Event()
    up = Upstream("api.test")
    up.on("/stall", paced(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"", gate=gate))
    async with world(tmp_path, upstream=up, egress={"idle_timeout": 0.3}) as w, w.tunnel() as client:
        await client.send(inside(w, "/stall"))
        body = client.body(await client.read_head())
        came = bytearray()
        with pytest.raises((Malformed, ConnectionError)):
            await pour(body, came)
        assert bytes(came) == b"half"
        gate.set()
        await w.settled()
        assert [each.kind for each in w.records if each.kind in {"decision", "outcome"}] == [
            "decision",
            "outcome",
        ]
        assert w.outcomes[0].code == Code.UPSTREAM_TIMEOUT


async def pour(body, into):
    async for piece in body:
        into += piece


# -- pools --


async def test_c14_no_connection_is_shared_between_agents(tmp_path):
    agents = [demo_rules.agent("tester"), demo_rules.agent("other")]
    policies = [
        demo_rules.permit("tester", actions=("read",)),
        demo_rules.permit("other", who="other", actions=("read",)),
    ]
    async with world(tmp_path, agents=agents, policies=policies) as w:
        other = w.another_task(agent="other")
        for started in (w.started, other, w.started, other):
            async with w.tunnel(started) as client:
                await client.send(inside(w, "/", f"Authorization: Bearer {started.placeholders['api']}"))
                assert (await client.read_response()).status == 200
        assert [each.connection.index for each in w.upstream.requests] == [0, 1, 0, 1]


async def test_c14_no_connection_is_shared_with_and_without_the_credential(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        bearer = f"Authorization: Bearer {w.placeholder}"
        for headers in ([bearer], [], [bearer], []):
            await client.send(inside(w, "/", *headers))
            assert (await client.read_response()).status == 200
        assert [each.connection.index for each in w.upstream.requests] == [0, 1, 0, 1]


@pytest.mark.parametrize("ending", ["/vanish", "/until-close"])
async def test_c14_what_one_client_leaves_behind_reaches_no_other(tmp_path, ending):
    """A half-sent request dies with its client; the next client's request starts on a clean connection."""
    async with world(tmp_path) as w:
        async with w.tunnel() as client:
            await client.send(
                inside(w, ending, "Content-Length: 100", method="POST") + b"GET /smuggled HTTP/1.1\r\n"
            )
            await w.upstream.until(lambda: len(w.upstream.requests) == 1)
        await w.settled()
        async with w.tunnel() as client:
            await client.send(inside(w, "/next"))
            assert (await client.read_response()).json()["target"] == "/next"
        assert [each.target for each in w.upstream.requests] == [ending, "/next"]
        assert len(w.upstream.connections) == 2


async def test_c14_an_early_answer_does_not_leave_half_a_body_in_the_pool(tmp_path):
    async with world(tmp_path) as w:
        async with w.tunnel() as client:
            await client.send(inside(w, "/early", "Content-Length: 100", method="POST") + b"half")
            assert (await client.read_response()).status == 413
        w.upstream.release.set()
        async with w.tunnel() as client:
            await client.send(inside(w, "/next"))
            assert (await client.read_response()).json()["target"] == "/next"
        assert len(w.upstream.connections) == 2


async def test_the_same_tunnel_twice_two_tasks_two_identities(tmp_path):
    """Two tasks of one agent share its connection, and never each other's placeholder."""
    async with world(tmp_path) as w:
        other = w.another_task()
        for started in (w.started, other):
            async with w.tunnel(started) as client:
                await client.send(inside(w, "/", f"Authorization: Bearer {started.placeholders['api']}"))
                assert (await client.read_response()).status == 200
        await w.settled()
        assert [each.task for each in w.decisions] == [w.started.task.id, other.task.id]
        assert w.upstream.received.count(SECRET.encode()) == 2
        clean(w)


async def test_hop_by_hop_answers_end_here(tmp_path):
    script = (
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Internal\r\nX-Internal: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok"
    )
    async with world(tmp_path, upstream=answering(script)) as w:
        answer = await say_inside(w, inside(w, "/lie"))
        assert [name.lower() for name, _ in answer.headers] == [b"content-length"]


async def test_an_authority_of_another_agent_opens_nothing(tmp_path):
    """A token is all there is: the user name of Basic says nothing."""
    async with world(tmp_path) as w, await w.client() as client:
        answer = await client.open_tunnel(w.authority, basic("other-agent", w.started.token))
        assert answer.status == 200
        await client.start_tls("api.test", cafile=w.keyring.ca_path)
        await client.send(inside(w, "/"))
        assert (await client.read_response()).status == 200
        await w.settled()
        assert [each.agent for each in w.decisions] == ["tester"]
