"""The desk over the engine: small bodies in any framing, one decision and one outcome each, and no way around it."""

import asyncio
import json

import pytest

from proxy.engine.desk import MAX_BODY
from proxy.engine.reasons import DESK_RULE
from proxy.errors import Code, Refusal
from proxy.identity.revocation import Kind, Order
from proxy.ports import Answer, Ask
from tests.engine.lines import ends, line, plain_world, refusals, until, untouched
from tests.engine.ports import Explodes, Journal, Says, engine
from tests.support.demo_rules import agent
from tests.support.rawclient import RawClient
from tests.support.world import world

DONE = ("allow", "", None)


async def say(e, data: bytes, *, to_head: bool = False, agent: str = "one"):
    async with await e.client(agent) as client:
        await client.send(data)
        return await client.read_response(to_head=to_head)


def chunked(body: bytes, size: int = 1000) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def test_the_desk_is_asked_as_the_caller_said_it():
    async with engine() as e:
        target = "/may?method=GET&url=https%3A%2F%2Fapi.test%2F%3Fa%3D1&url=x"
        answer = await say(e, e.to_desk(target), agent="two")
        assert (answer.status, answer.json()) == (200, {})
        assert answer.get("content-type") == "application/json"
        assert answer.get("cache-control") == "no-store"
        parameters = (("method", "GET"), ("url", "https://api.test/?a=1"), ("url", "x"))
        assert e.desk.asked == [("two", Ask("GET", "/may", parameters, b""))]
        assert not e.upstream.connections


@pytest.mark.parametrize("size", [0, 1, MAX_BODY - 1, MAX_BODY])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_bodies_of_any_framing_up_to_the_limit(size, framing):
    body = (b"0123456789" * 2000)[:size]
    async with engine() as e:
        header = f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"
        data = e.to_desk("/delegate", header, method="POST")
        answer = await say(e, data + (body if framing == "length" else chunked(body)))
        assert (answer.status, answer.body) == (200, body or b"{}")
        assert [ask.body for _, ask in e.desk.asked] == [body]


@pytest.mark.parametrize("framing", ["length", "chunked", "announced"])
async def test_a_body_that_is_too_large_is_refused_and_ends_the_connection(framing):
    body = b"a" * (MAX_BODY + 1)
    async with engine() as e, await e.client() as client:
        header = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(body)}"
        head = e.to_desk(
            "/delegate", header, *(["Expect: 100-continue"] if framing == "announced" else []), method="POST"
        )
        sent = {"length": body, "chunked": chunked(body), "announced": b""}[framing]
        await client.send(head + sent)
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"], answer.informational) == (400, "desk_request", ())
        assert await client.at_end()
        await e.enforcer.settled()
        assert (e.decisions, e.outcomes) == ([DONE], [("refused", "desk_request", 400)])
        assert e.desk.asked == []


async def test_who_waits_for_a_word_before_its_body_gets_it():
    async with engine() as e, await e.client() as client:
        await client.send(e.to_desk("/end", "Content-Length: 2", "Expect: 100-continue", method="POST"))
        assert (await client.read_head()).start[1] == b"100"
        await client.send(b"{}")
        assert (await client.read_response()).body == b"{}"
        await client.send(e.to_desk())
        assert (await client.read_response()).status == 200


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("Content-Length: 10", b"{}"),
        ("Transfer-Encoding: chunked", b"5\r\nab"),
        ("Transfer-Encoding: chunked", b"x\r\n"),
    ],
)
async def test_a_body_that_breaks_off_asks_nothing(header, body):
    async with engine() as e, await e.client() as client:
        await client.send(e.to_desk("/end", header, method="POST") + body)
        client.half_close()
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (400, "malformed")
        await e.enforcer.settled()
        assert (e.decisions, e.outcomes) == ([DONE], [("refused", "malformed", 400)])
        assert e.desk.asked == []


async def test_a_body_that_stops_arriving_asks_nothing():
    time = [0.0]
    async with engine(now=lambda: time[0]) as e, await e.client() as client:
        await client.send(e.to_desk("/end", "Content-Length: 10", method="POST") + b"{")
        await until(lambda: len(e.decisions) == 1)
        await until(lambda: bool(e.deadlines.wires) and all(wire.deadline for wire in e.deadlines.wires))
        for wire in e.deadlines.wires:
            wire.deadline = 0
        e.deadlines.sweep()
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (408, "body_timeout")
        await e.enforcer.settled()
        assert e.outcomes == [("refused", "body_timeout", 408)]
        assert e.desk.asked == []


async def test_a_client_that_goes_in_the_middle_of_its_body():
    async with engine() as e:
        async with await e.client() as client:
            await client.send(e.to_desk("/end", "Content-Length: 10", method="POST") + b"{")
            await until(lambda: len(e.decisions) == 1)
            client.abort()
        await until(lambda: len(e.outcomes) == 1)
        assert e.outcomes == [("client_gone", "", None)]
        assert e.desk.asked == []


async def test_an_answer_to_head_has_its_length_and_no_body():
    async with engine() as e, await e.client() as client:
        await client.send(e.to_desk(method="HEAD") + e.to_desk())
        answer = await client.read_response(to_head=True)
        assert (answer.status, answer.get("content-length"), answer.body) == (200, "2", b"")
        assert (await client.read_response()).body == b"{}"


@pytest.mark.parametrize(
    ("version", "header", "kept"),
    [
        ("1.1", None, True),
        ("1.1", "Connection: close", False),
        ("1.0", None, False),
        ("1.0", "Connection: keep-alive", True),
    ],
)
async def test_the_connection_goes_on_as_its_client_wants(version, header, kept):
    async with engine() as e, await e.client() as client:
        for _ in range(2):
            await client.send(e.to_desk("/", *([header] if header else []), version=version))
            answer = await client.read_response()
            assert answer.get("connection") == ("keep-alive" if kept else "close")
            if not kept:
                assert await client.at_end()
                return
        await client.send(e.head("/x"))  # and calls to an API on the same connection
        assert (await client.read_response()).status == 200


async def test_pipelined_calls_are_answered_in_order():
    async with engine() as e, await e.client() as client:
        bodies = [json.dumps(number).encode() for number in range(5)]
        heads = (e.to_desk("/end", f"Content-Length: {len(body)}", method="POST") + body for body in bodies)
        await client.send(b"".join(heads))
        assert [(await client.read_response()).body for _ in bodies] == bodies


async def test_each_call_has_one_decision_and_one_outcome():
    async with engine() as e:
        answer = await say(e, e.to_desk("/may?method=GET&url=secret"))
        assert answer.status == 200
        await e.enforcer.settled()
        decision, outcome = e.records
        assert (decision.effect, decision.rule, decision.agent, decision.task) == (
            "allow",
            DESK_RULE,
            "one",
            "one",
        )
        assert (decision.method, decision.host, decision.path) == ("GET", "gatepass.internal", "/may")
        assert decision.raw["what"]["query_keys"] == ["method", "url"]
        assert "secret" not in str(decision.raw)
        assert (outcome.result, outcome.status, outcome.decision_id) == ("complete", 200, decision.id)
        assert outcome.raw["what"]["upstream"] is None
        assert e.consistent()


async def test_nothing_is_asked_before_its_record_is_durable():
    journal = Journal()
    journal.held = asyncio.Event()
    async with engine(journal=journal) as e, await e.client() as client:
        await client.send(e.to_desk())
        for _ in range(50):
            await asyncio.sleep(0)
        assert e.desk.asked == []
        journal.held.set()
        assert (await client.read_response()).status == 200


async def test_without_a_log_nobody_is_asked():
    journal = Journal()
    journal.broken = True
    async with engine(journal=journal) as e:
        answer = await say(e, e.to_desk())
        assert (answer.status, answer.json()["code"]) == (503, "log_unavailable")
        assert e.desk.asked == []


async def test_a_desk_that_fails_is_a_refusal_with_its_record():
    async with engine(desk=Explodes(ZeroDivisionError("x"))) as e:
        answer = await say(e, e.to_desk())
        assert (answer.status, answer.json()["code"]) == (500, "internal")
        await e.enforcer.settled()
        assert (e.decisions, e.outcomes) == ([DONE], [("refused", "internal", 500)])
        assert answer.json()["record"] == e.records[0].id
        assert len(e.alarms) == 1


class Refuses:
    async def answer(self, principal, ask):
        return Refusal(Code.DELEGATION_REFUSED, "too wide")


async def test_what_the_desk_refuses_is_told_and_the_connection_goes_on():
    async with engine(desk=Refuses()) as e, await e.client() as client:
        for _ in range(2):
            await client.send(e.to_desk())
            answer = await client.read_response()
            assert (answer.status, answer.json()["code"]) == (403, "delegation_refused")
        await e.enforcer.settled()
        assert e.outcomes == [("refused", "delegation_refused", 403)] * 2


async def test_the_desk_speaks_no_websocket():
    async with engine() as e:
        upgrade = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        )
        answer = await say(e, e.to_desk("/", *upgrade))
        assert (answer.status, answer.json()["code"]) == (400, "desk_request")
        assert e.decisions == [("deny", "desk_request", 400)]


async def test_policy_is_not_asked_about_the_desk():
    pdp = Says(None)
    async with engine(pdp=pdp) as e:
        assert (await say(e, e.to_desk())).status == 200
        assert pdp.asked == 0


# -- its end --


class Slow:
    """A desk that answers when the test says so."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def answer(self, principal, ask) -> Answer:
        self.asked.set()
        await self.go.wait()
        return Answer(200, b'{"late": true}')


async def test_who_ends_its_own_task_is_told_and_then_the_connection_ends():
    async with engine(desk=Slow()) as e, await e.client() as client:
        await client.send(e.to_desk("/end", method="POST") + e.to_desk())
        await e.desk.asked.wait()
        e.book.end("one")
        e.server.end_task("one", Refusal(Code.TASK_ENDED, "the task ended"))
        e.desk.go.set()
        assert (await client.read_response()).json() == {"late": True}
        assert await client.at_end()
        await e.enforcer.settled()
        assert (e.decisions, e.outcomes) == ([DONE], [("complete", "", 200)])


async def test_who_is_revoked_at_the_desk_is_cut():
    async with engine(desk=Slow()) as e, await e.client() as client:
        await client.send(e.to_desk("/end", method="POST"))
        await e.desk.asked.wait()
        e.server.end_task("one", Refusal(Code.REVOKED, "the task was revoked"))
        assert await client.at_end()
        e.desk.go.set()
        await until(lambda: len(e.outcomes) == 1)


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("known", [True, False])
async def test_an_order_that_comes_while_the_call_is_recorded_holds(ended, known):
    """``known``: the connection is this agent's already, so that it is cut as well."""
    journal = Journal()
    async with engine(journal=journal) as e, await e.client() as client:
        if known:
            await client.send(e.to_desk("/"))
            assert (await client.read_response()).status == 200
        calls = len(e.desk.asked)
        journal.held = asyncio.Event()
        await client.send(e.to_desk("/delegate", "Content-Length: 2", method="POST") + b"{}")
        await until(lambda: journal.waiting == 1)
        if ended:
            e.book.end("one")
            e.server.end_task("one")
        else:
            e.book.revoke(Order(Kind.AGENT, "one", "a drill", "cli", 1))
            e.server.cut(lambda principal: principal.agent.id == "one", Refusal(Code.REVOKED, "cut"))
        journal.held.set()
        journal.held = None
        if known:
            assert await client.at_end()
        else:
            answer = await client.read_response()
            assert answer.json()["code"] == ("task_ended" if ended else "revoked")
        await until(lambda: len(e.outcomes) == 1 + calls)
        result = "cut" if known else "refused"
        assert e.outcomes[-1][:2] == (result, "task_ended" if ended else "revoked")
        assert len(e.desk.asked) == calls
        assert e.consistent()


async def test_an_order_that_comes_while_the_body_arrives_holds():
    async with engine() as e, await e.client() as client:
        await client.send(e.to_desk("/delegate", "Content-Length: 2", method="POST") + b"{")
        await until(lambda: len(e.decisions) == 1)
        e.book.revoke(Order(Kind.AGENT, "one", "a drill", "cli", 1))
        await client.send(b"}")
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, "revoked")
        assert e.desk.asked == []


async def test_a_drain_that_does_not_wait_for_the_desk_leaves_an_outcome():
    async with engine(desk=Slow()) as e, await e.client() as client:
        await client.send(e.to_desk())
        await e.desk.asked.wait()
        await e.server.drain(0)
        assert await client.at_end()
        await e.enforcer.settled()
        assert (e.decisions, e.outcomes) == ([DONE], [("cut", "draining", None)])


# -- ways to it --


async def tunnel(w, authority: str) -> tuple[RawClient, int]:
    client = await w.client()
    return client, (await client.open_tunnel(authority, w.authorization)).status


async def test_plain_http_in_a_tunnel_reaches_the_desk(tmp_path):
    async with plain_world(tmp_path) as w:
        client, status = await tunnel(w, "gatepass.internal:80")
        async with client:
            assert status == 200
            for _ in range(2):
                await client.send(b"GET /whoami HTTP/1.1\r\nHost: gatepass.internal\r\n\r\n")
                answer = await client.read_response()
                assert (answer.status, answer.json()["agent"]) == (200, "tester")
            await w.settled()
            assert ends(w) == [("complete", "", 200)] * 2
            await client.send(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
            assert (await client.read_response()).json()["code"] == "authority_mismatch"
        assert untouched(w)


async def test_tls_in_a_tunnel_to_the_desk_is_refused_and_on_record(tmp_path):
    async with plain_world(tmp_path) as w:
        client, status = await tunnel(w, "gatepass.internal:80")
        async with client:
            assert status == 200
            with pytest.raises(OSError):  # noqa: PT011 - a reset or the end, as the peer's TLS sees it
                await client.start_tls("gatepass.internal", cafile=w.keyring.ca_path)
        await until(lambda: bool(w.decisions))
        assert [code for code, _ in refusals(w)] == ["default_deny"]  # no certificate is made for it
        assert untouched(w)


@pytest.mark.parametrize(
    "authority", ["gatepass.internal:443", "gatepass.internal:8080", "GATEPASS.internal:443"]
)
async def test_a_tunnel_to_another_port_of_the_desk_is_refused_with_words(tmp_path, authority):
    async with plain_world(tmp_path) as w, await w.client() as client:
        answer = await client.open_tunnel(authority, w.authorization)
        assert (answer.status, answer.json()["code"]) == (400, "desk_request")
        assert "http://gatepass.internal/" in answer.json()["detail"]
        assert "desk_request" in answer.reason
        assert untouched(w)


@pytest.mark.parametrize("url", ["https://gatepass.internal/whoami", "http://gatepass.internal:8080/"])
@pytest.mark.parametrize("opened", [False, True])
async def test_the_desk_has_one_address_whatever_is_configured(tmp_path, url, opened):
    rule = {"host": "gatepass.internal", "cidr": "127.0.0.0/8", "port": 8080}
    egress = {"allow_private": [rule, {**rule, "port": 443}]} if opened else {}
    async with plain_world(tmp_path, egress=egress) as w, line(w) as one:
        authority = url.split("/")[2]
        await one.client.send(
            f"GET {url} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: {w.authorization}\r\n\r\n".encode()
        )
        answer = await one.client.read_response()
        assert (answer.status, answer.json()["code"]) == (400, "desk_request")
        assert "http://gatepass.internal/" in answer.json()["detail"]
        assert untouched(w)


async def test_nobody_reaches_the_desk_who_is_not_identified(tmp_path):
    async with plain_world(tmp_path) as w, await w.client() as client:
        await client.send(b"GET http://gatepass.internal/whoami HTTP/1.1\r\nHost: gatepass.internal\r\n\r\n")
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (407, "identity_missing")
        assert "agent" not in answer.json()


async def test_who_ends_its_task_in_a_whole_sidecar_is_told_and_cut(tmp_path):
    async with (
        world(tmp_path, agents=[agent(), agent("helper")]) as w,
        w.tunnel() as other,
        await w.client() as client,
    ):
        data = f"POST http://gatepass.internal/end HTTP/1.1\r\nHost: gatepass.internal\r\nProxy-Authorization: {w.authorization}\r\n\r\n"
        await client.send(data.encode())
        answer = await client.read_response()
        assert (answer.status, answer.json()) == (200, {"task": w.started.task.id, "ended_tasks": 1})
        assert await client.at_end()
        assert await other.at_end()
        async with await w.client() as again:
            await again.send(data.encode())
            assert (await again.read_response()).json()["code"] == "task_ended"
        await w.settled()
        assert [(record.effect, record.code) for record in w.decisions] == [
            ("allow", ""),
            ("deny", "task_ended"),
        ]
        assert ends(w) == [("complete", "", 200)]
