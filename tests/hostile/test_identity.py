"""D1, D10: callers who are nobody, were somebody, or would be somebody else (egress.md, section 5)."""

import asyncio
import os
import time
from dataclasses import replace

import jwt
import pytest

from proxy.errors import Code
from proxy.identity.burst import FIRST_DELAY_S, FREE
from proxy.identity.claims import SessionClaims
from proxy.identity.jws import sign_session
from proxy.store.keyring import Keyring
from tests.hostile.assertions import absolute, clean, connect, inside, refused, refused_connect, say
from tests.support import demo_rules
from tests.support.rawclient import basic
from tests.support.resolver import ScriptedResolver
from tests.support.world import world


def claims(w, **changes: object) -> SessionClaims:
    task = w.started.task
    given = SessionClaims(
        issuer=w.keyring.issuer,
        subject=task.agent,
        audience=w.keyring.audience,
        token_id="0" * 32,
        task=task.id,
        issued_at=task.issued_at,
        expires_at=task.expires_at,
        scopes=task.scopes,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def signed(**changes: object):
    return lambda w: basic("task", sign_session(claims(w, **changes), w.keyring.session_key))


def foreign(w) -> str:
    other = Keyring.open(w.state.parent / "other")
    return basic("task", sign_session(claims(w), other.session_key))


def unsigned(w) -> str:
    payload = {"sub": w.started.task.agent, "task": w.started.task.id}
    return basic("task", jwt.encode(payload, None, algorithm="none"))


def tampered(w) -> str:
    head, payload, signature = w.started.token.split(".")
    return basic("task", ".".join([head, payload[:-2] + ("AA" if payload[-2:] != "AA" else "BB"), signature]))


NOW = int(time.time())
WHO = [
    pytest.param(lambda w: "", Code.IDENTITY_MISSING, id="D1-none"),
    pytest.param(lambda w: basic("task", "wrong"), Code.IDENTITY_INVALID, id="D1-wrong"),
    pytest.param(lambda w: "Basic !!!", Code.IDENTITY_INVALID, id="D1-no-base64"),
    pytest.param(lambda w: "Basic dGFzaw==", Code.IDENTITY_INVALID, id="D1-no-colon"),
    pytest.param(lambda w: f"Digest {w.started.token}", Code.IDENTITY_INVALID, id="D1-scheme"),
    pytest.param(lambda w: f"Bearer {w.started.token}x", Code.IDENTITY_INVALID, id="D1-longer"),
    pytest.param(lambda w: f"Bearer {w.started.token} x", Code.IDENTITY_INVALID, id="D1-two-parts"),
    pytest.param(lambda w: "Bearer " + "a" * 20_000, Code.IDENTITY_INVALID, id="D1-huge"),
    pytest.param(unsigned, Code.IDENTITY_INVALID, id="D1-alg-none"),
    pytest.param(tampered, Code.IDENTITY_INVALID, id="D1-tampered"),
    pytest.param(foreign, Code.IDENTITY_INVALID, id="D1-another-sidecars"),
    pytest.param(signed(audience="other"), Code.IDENTITY_INVALID, id="D1-audience"),
    pytest.param(signed(subject="other"), Code.AGENT_UNKNOWN, id="D1-agent"),
    pytest.param(signed(task="t-" + "a" * 26), Code.TASK_UNKNOWN, id="D1-task"),
    pytest.param(signed(scopes=("everything",)), Code.IDENTITY_INVALID, id="D1-scopes"),
    pytest.param(signed(issued_at=NOW - 900, expires_at=NOW - 300), Code.IDENTITY_EXPIRED, id="D1-expired"),
    pytest.param(signed(issued_at=NOW + 900, expires_at=NOW + 1200), Code.IDENTITY_INVALID, id="D1-not-yet"),
]


IDENTIFIED = {"D1-task", "D1-scopes"}  # a valid signature, and no right to call: the record says whose it is


@pytest.mark.parametrize(("who", "code"), WHO)
@pytest.mark.parametrize("form", ["url", "connect"])
async def test_nobody_gets_anywhere(request, tmp_path, who, code, form):
    resolver = ScriptedResolver({})
    async with world(tmp_path, resolver=resolver) as w:
        line = who(w)
        lines = [f"Proxy-Authorization: {line}"] if line else []
        start = f"GET http://{w.authority}/" if form == "url" else f"CONNECT {w.authority}"
        answer = await say(
            w, "\r\n".join([f"{start} HTTP/1.1", f"Host: {w.authority}", *lines, "", ""]).encode()
        )
        if form == "connect":
            record = await refused_connect(w, answer, code)
        else:
            record = await refused(w, answer, code)
        assert (answer.get("proxy-authenticate") is not None) == (answer.status == 407)
        identified = request.node.callspec.id.partition("-")[2] in IDENTIFIED
        assert record.agent == ("tester" if identified else "")
        assert record.raw["who"]["peer"].startswith("127.0.0.1:")
    assert resolver.journal == []


async def test_d1_two_credentials_are_none(tmp_path):
    async with world(tmp_path) as w:
        data = absolute(w, f"http://{w.authority}/", f"Proxy-Authorization: {w.authorization}")
        await refused(w, await say(w, data), Code.IDENTITY_INVALID)


@pytest.mark.parametrize(
    "header", ["Authorization", "X-Agent-Id", "X-Forwarded-Client-Cert", "X-Proxy-Authorization"]
)
async def test_d1_identity_is_in_one_header_only(tmp_path, header):
    async with world(tmp_path) as w:
        data = f"GET http://{w.authority}/ HTTP/1.1\r\nHost: {w.authority}\r\n{header}: {w.authorization}\r\n\r\n"
        await refused(w, await say(w, data.encode()), Code.IDENTITY_MISSING)


async def test_d1_407_on_a_kept_connection_then_the_call(tmp_path):
    async with world(tmp_path) as w, await w.client() as client:
        bare = f"CONNECT {w.authority} HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode()
        await client.send(bare)
        answer = await client.read_response()
        assert (answer.status, answer.get("connection")) == (407, "keep-alive")
        await client.send(connect(w, w.authority))
        assert (await client.read_head()).start[1] == b"200"
        assert [each.code for each in w.decisions] == [Code.IDENTITY_MISSING]


async def test_d1_policy_never_answers_407(tmp_path):
    async with world(tmp_path, policies=[]) as w:
        answer = await say(w, absolute(w, f"http://{w.authority}/"))
        await refused(w, answer, Code.DEFAULT_DENY)


async def test_d1_identity_inside_a_tunnel_is_the_connects(tmp_path):
    """Another agent's token on an inner request changes nothing and goes nowhere."""
    agents = [demo_rules.agent("tester"), demo_rules.agent("other")]
    async with world(tmp_path, agents=agents) as w:
        other = w.another_task(agent="other")
        async with w.tunnel() as client:
            await client.send(inside(w, "/", f"Proxy-Authorization: {basic('task', other.token)}"))
            assert (await client.read_response()).status == 200
        await w.settled()
        assert [each.agent for each in w.decisions] == ["tester"]
        assert b"roxy-" not in w.upstream.received
        clean(w)


async def test_d1_a_listener_with_an_identity_takes_no_other(tmp_path):
    agents = [demo_rules.agent("tester"), demo_rules.agent("other")]
    async with world(tmp_path, agents=agents, fixed=True) as w:
        other = w.another_task(agent="other")
        async with await w.client() as client:
            answer = await client.open_tunnel(w.authority, basic("task", other.token))
            await refused_connect(w, answer, Code.IDENTITY_CONFLICT)
            assert {"listener says tester", "session says other"} <= set(
                answer.json()["detail"].removeprefix("who is calling? ").split(", ")
            )


async def test_d1_a_listener_with_an_identity_takes_a_token_of_the_same_agent(tmp_path):
    async with world(tmp_path, fixed=True) as w:
        other = w.another_task()
        async with w.tunnel(other) as client:
            await client.send(inside(w, "/"))
            assert (await client.read_response()).status == 200
        await w.settled()
        assert [(each.agent, each.task) for each in w.decisions] == [("tester", other.task.id)]
        proofs = w.decisions[0].raw["who"]["auth"]
        assert [proof["method"] for proof in proofs] == ["listener", "session"]


@pytest.mark.parametrize("guess", ["wrong", "a.b.c", "\u20ac"])
async def test_d1_on_a_listener_with_an_identity_a_wrong_token_is_wrong(tmp_path, guess):
    async with world(tmp_path, fixed=True) as w:
        data = absolute(w, f"http://{w.authority}/", authorization=basic("task", guess))
        await refused(w, await say(w, data), Code.IDENTITY_INVALID)


async def test_alternating_identities_on_one_connection(tmp_path):
    """Each absolute-form request is attributed, decided and recorded on its own."""
    agents = [demo_rules.agent("tester"), demo_rules.agent("other")]
    async with world(tmp_path, agents=agents) as w, await w.client() as client:
        other = w.another_task(agent="other")
        who = [w.authorization, basic("task", other.token), "Basic bm86Ym9keQ==", w.authorization]
        hosts = ["api.test", "x.test", "api.test", "y.test"]
        for authorization, host in zip(who, hosts, strict=True):
            await client.send(absolute(w, f"http://{host}/", authorization=authorization))
            assert (await client.read_response()).status in {403, 407}
        assert [(each.agent, each.code) for each in w.decisions] == [
            ("tester", Code.DEFAULT_DENY),
            ("other", Code.DEFAULT_DENY),
            ("", Code.IDENTITY_INVALID),
            ("tester", Code.DEFAULT_DENY),
        ]
        assert w.upstream.connections == []


@pytest.mark.parametrize("form", ["url", "connect"])
async def test_d10_a_task_that_has_ended(tmp_path, form):
    async with world(tmp_path) as w:
        await w.sidecar.book.end(w.started.task.id, "over")
        if form == "url":
            await refused(w, await say(w, absolute(w, f"http://{w.authority}/")), Code.TASK_ENDED)
        else:
            await refused_connect(w, await say(w, connect(w, w.authority)), Code.TASK_ENDED)


async def test_d10_a_task_that_has_expired(tmp_path):
    """The table calls it task_expired; the code is task_ended, and the detail says that it expired."""
    async with world(tmp_path) as w:
        short = w.another_task(ttl_s=1)
        data = absolute(w, "http://x.test/", authorization=basic("task", short.token))
        async with asyncio.timeout(20):
            while (await say(w, data)).json()["code"] != Code.TASK_ENDED:
                await asyncio.sleep(0.05)
        last = w.decisions[-1]
        assert (last.code, last.status) == (Code.TASK_ENDED, 403)
        assert "expired" in last.detail
        assert w.upstream.connections == []


async def test_d10_an_open_tunnel_dies_with_its_task(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(inside(w, "/"))
        assert (await client.read_response()).status == 200
        await w.sidecar.book.end(w.started.task.id, "over")
        assert await client.at_end()
        await w.settled()
        assert len(w.decisions) == 1


async def test_d10_a_task_ended_by_another_process(tmp_path):
    """``gatepass task end`` writes to the file alone; tunnels and new calls hear of it all the same."""
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(inside(w, "/"))
        assert (await client.read_response()).status == 200
        w.store.end(w.started.task.id, "over", int(time.time()))
        assert await client.at_end()
        assert (await say(w, connect(w, w.authority))).status == 403


async def test_d10_a_running_call_is_cut(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(inside(w, "/sse"))
        head = await client.read_head()
        body = client.body(head)
        assert await anext(aiter(body)) == b"data: first\n\n"
        await w.sidecar.book.end(w.started.task.id, "over")
        await w.settled()
        assert [(each.result, each.code) for each in w.outcomes] == [("cut", Code.TASK_ENDED)]
        assert await client.at_end()


async def test_d1_many_wrong_guesses_are_slowed_counted_and_on_record_once(tmp_path):
    """The first few have a record each; what follows waits ever longer, and one record says how many."""
    more = 4
    loop = asyncio.get_running_loop()
    async with world(tmp_path) as w:
        async with await w.client() as client:
            named, took = [], []
            for _ in range(FREE + more):
                guess = basic("task", os.urandom(16).hex())
                began = loop.time()
                await client.send(absolute(w, f"http://{w.authority}/", authorization=guess))
                answer = await client.read_response()
                took.append(loop.time() - began)
                assert (answer.status, answer.json()["code"]) == (407, Code.IDENTITY_INVALID)
                named.append(answer.json()["record"])
        assert all(seconds >= FIRST_DELAY_S * 2**number for number, seconds in enumerate(took[FREE:]))
        assert [each.code for each in w.decisions] == [Code.IDENTITY_INVALID] * FREE
        assert named == [each.id for each in w.decisions] + [w.decisions[-1].id] * more
        assert (await say(w, absolute(w, "http://x.test/"))).status == 403  # who is known is not slowed
        clean(w)
    (burst,) = [each.raw["body"] for each in w.records if each.kind == "identity.burst"]
    assert (burst["source"], burst["count"], burst["decision_id"]) == ("127.0.0.1", more, named[-1])
