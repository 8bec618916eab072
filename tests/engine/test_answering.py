"""Answers that have to be read on their way down: filtered, counted, held to a size, or withheld."""

import contextlib
import gzip
import json
import ssl

import pytest

from proxy.engine.answering import MAX_LIST
from tests.support import demo_rules
from tests.support.call import Call
from tests.support.rawclient import Response
from tests.support.upstream import Upstream
from tests.support.wire import response
from tests.support.world import World, world

TOOLS = {"safe": {"tool": "safe", "group": "read"}, "danger": {"tool": "danger", "group": "write"}}
LISTED = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": n} for n in ("safe", "danger", "other")]}}
ASK = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
JSON = (b"Content-Type", b"application/json")
EVENTS = (b"Content-Type", b"text/event-stream")
POLICIES = [demo_rules.permit("list", actions=("api.mcp.list", "api.safe"))]


def scripted(*answers: bytes, close: bool = False):
    async def handler(call: Call) -> None:
        await call.take()
        for piece in answers:
            await call.send(piece)
        call.close = close

    up = Upstream("api.test")
    up.on("/mcp", handler)
    return up


def mcp(tmp_path, up: Upstream, policies=POLICIES):
    def services(up: Upstream):
        return [
            demo_rules.service("api", *up.hosts, ports=[up.port], protocol="mcp", operations=TOOLS),
        ]

    return world(tmp_path, upstream=up, services=services, policies=policies)


async def ask(w: World, body: bytes = ASK, accept: str = "application/json, text/event-stream"):
    headers = ["Content-Type: application/json", f"Accept: {accept}", "Accept-Encoding: gzip, br"]
    return await w.call("/mcp", method="POST", headers=headers, body=body)


def told(answer: Response) -> tuple[int, str]:
    """The status and the code of a refusal, as JSON-RPC or as HTTP tells it."""
    document = answer.json()
    if answer.status == 200:
        assert document["id"] == 1
        document = document["error"]["data"]
    else:
        assert answer.status == document["status"]
    return document["status"], document["code"]


async def test_a_list_of_tools_shows_what_could_be_called(tmp_path):
    up = scripted(response(200, json.dumps(LISTED).encode(), JSON))
    async with mcp(tmp_path, up) as w:
        answer = await ask(w)
        assert [tool["name"] for tool in answer.json()["result"]["tools"]] == ["safe"]
        assert answer.get("content-length") == str(len(answer.body))
        names = {name.lower(): value for name, value in up.requests[-1].headers}
        assert names[b"accept-encoding"] == b"identity"


async def test_so_does_one_that_comes_in_events_in_any_pieces(tmp_path):
    stream = b"event: message\r\ndata: %s\r\n\r\n: keep\r\n\r\ndata: {}\r\n\r\n" % json.dumps(LISTED).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [b"%x\r\n%s\r\n" % (len(stream[i : i + 7]), stream[i : i + 7]) for i in range(0, len(stream), 7)]
    async with mcp(tmp_path, scripted(head, *pieces, b"0\r\n\r\n")) as w:
        answer = await ask(w)
        assert b"safe" in answer.body
        assert b"danger" not in answer.body
        assert b": keep\r\n" in answer.body
        await w.settled()
        assert w.outcomes[-1].result == "complete"


@pytest.mark.parametrize(
    "answers",
    [
        (response(200, gzip.compress(json.dumps(LISTED).encode()), JSON, (b"Content-Encoding", b"gzip")),),
        (response(200, b'{"result": {"tools": [{"name": "danger"}]', JSON),),
        (response(200, b'{"result": {"tools": 1}}', JSON),),
        (response(200, b'{"result": {"tools": [], "tools": [{"name": "danger"}]}}', JSON),),
    ],
    ids=["compressed", "broken", "no list", "twice"],
)
async def test_what_cannot_be_read_is_not_shown(tmp_path, answers):
    async with mcp(tmp_path, scripted(*answers)) as w:
        answer = await ask(w)
        assert told(answer) == (502, "response_unreadable")
        assert b"danger" not in answer.body
        await w.settled()
        assert w.outcomes[-1].code == "response_unreadable"


async def cut_off(w: World, path: str, body: bytes = b"") -> bytes:
    """What arrives of an answer that begins well and is cut off once the rest of it comes."""
    async with w.tunnel() as client:
        method, kind = ("POST", "Content-Type: application/json\r\n") if body else ("GET", "")
        head = f"{method} {path} HTTP/1.1\r\nHost: {w.authority}\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
        await client.send(head.encode() + body)
        assert int((await client.read_head()).start[1]) == 200
        w.upstream.release.set()
        arrived = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await client.read_some():
                arrived += piece
    await w.settled()
    return arrived


def in_two(path: str, head: bytes, first: bytes, second: bytes) -> Upstream:
    async def handler(call: Call) -> None:
        await call.take()
        await call.send(head + b"%x\r\n%s\r\n" % (len(first), first))
        await call.release.wait()
        await call.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(second), second))

    up = Upstream("api.test")
    up.on(path, handler)
    return up


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


async def test_an_event_that_cannot_be_read_cuts_the_stream_off_before_it(tmp_path):
    bad = b'data: {"result": {"tools": [{"name": "danger"}]\n\n'
    up = in_two("/mcp", CHUNKED + b"Content-Type: text/event-stream\r\n\r\n", b'data: {"a": 1}\n\n', bad)
    async with mcp(tmp_path, up) as w:
        arrived = await cut_off(w, "/mcp", ASK)
        assert b"danger" not in arrived
        assert not arrived.endswith(b"0\r\n\r\n")
        assert (w.outcomes[-1].result, w.outcomes[-1].code) == ("refused", "response_unreadable")


async def test_a_refused_tool_and_a_batch_with_one_never_reach_the_server(tmp_path):
    async with mcp(tmp_path, scripted(response(200, b"{}", JSON))) as w:
        for message in (
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "danger"}},
            [
                {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "safe"}},
                {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "danger"}},
            ],
        ):
            answer = await ask(w, json.dumps(message).encode())
            assert told(answer) == (403, "default_deny")
            assert b"api.danger" in answer.body
        assert w.upstream.bytes_received == 0
        why = w.decisions[-1].raw["why"]
        assert [one["action"] for one in why["batch"]] == ["api.safe"]
        assert why["action"] == "api.danger"
        assert [facts["mcp"]["tool"] for facts in why["facts"]] == ["safe", "danger"]
        assert w.decisions[0].raw["why"]["facts"]["mcp"] == {
            "batch": False,
            "method": "tools/call",
            "tool": "danger",
            "uri": "",
        }
        assert (await ask(w, json.dumps(message[:1]).encode())).status == 200


async def test_only_a_client_of_mcp_is_told_in_its_words_and_goes_on(tmp_path):
    danger = json.dumps({"jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": {"name": "danger"}})
    async with mcp(tmp_path, scripted(response(200, b"{}", JSON))) as w:
        plain = await ask(w, danger.encode(), accept="application/json")
        assert (plain.status, plain.get("content-type")) == (403, "application/problem+json")
        answer = await ask(w, danger.encode())
        assert (answer.status, answer.get("content-type")) == (200, "application/json")
        assert (answer.get("connection"), answer.json()["id"]) == ("keep-alive", "x")
        assert answer.json()["error"]["message"] == plain.json()["error"]
        refusals = [(one.effect, one.raw["why"]["status"]) for one in w.decisions]
        assert refusals == [("deny", 403), ("deny", 403)]


CAP = '@id("small") @max_response("64") permit(principal, action in Action::"read", resource);'


@pytest.mark.parametrize("n", [0, 63, 64])
async def test_an_answer_within_the_cap_of_a_rule_passes(tmp_path, n):
    async with world(tmp_path, policies=[CAP]) as w:
        for path in (f"/bytes?n={n}", f"/chunked?n={n}&size=10"):
            answer = await w.call(path)
            assert (answer.status, len(answer.body)) == (200, n)
        assert w.decisions[-1].raw["why"]["obligations"] == {"max_response": 64}


async def test_a_larger_one_is_502_or_cut_off(tmp_path):
    async with world(tmp_path, policies=[CAP]) as w:
        announced = await w.call("/bytes?n=65")
        assert (announced.status, announced.json()["code"]) == (502, "response_too_large")
        await w.settled()
        assert w.outcomes[-1].code == "response_too_large"


async def test_one_that_grows_too_large_is_cut_off(tmp_path):
    up = in_two("/x", CHUNKED + b"\r\n", b"a" * 60, b"b" * 5)
    async with world(tmp_path, upstream=up, policies=[CAP]) as w:
        arrived = await cut_off(w, "/x")
        assert b"b" not in arrived
        assert (w.outcomes[-1].result, w.outcomes[-1].code) == ("refused", "response_too_large")


FIELDS = (
    '@id("clean") @drop_fields("/user/email") @redact_fields("/messages/*/name") @drop_headers("x-debug")'
    ' @redact_headers("x-trace-user") permit(principal, action in Action::"write", resource);'
)


async def test_what_a_rule_wants_gone_is_gone_before_it_leaves(tmp_path):
    body = {"user": {"email": "ada@example.org", "id": 7}, "messages": [{"name": "Ada", "text": "hi"}]}
    seen: list[bytes] = []

    async def keep(call: Call) -> None:
        seen.append(b"".join([piece async for piece in call.body]))
        await call.send(response(200))

    up = Upstream("api.test")
    up.on("/x", keep)
    async with world(tmp_path, upstream=up, policies=[FIELDS]) as w:
        headers = ["Content-Type: application/json", "X-Debug: 1", "X-Trace-User: ada"]
        answer = await w.call("/x", method="POST", headers=headers, body=json.dumps(body).encode())
        assert answer.status == 200, answer
        assert json.loads(seen[0]) == {"user": {"id": 7}, "messages": [{"name": "[redacted]", "text": "hi"}]}
        got = {name.lower(): value for name, value in up.requests[-1].headers}
        assert b"x-debug" not in got
        assert got[b"x-trace-user"] == b"[redacted]"
        assert got[b"content-length"] == str(len(seen[0])).encode()
        refused = await w.call("/x", method="POST", headers=["Content-Type: text/plain"], body=b"not json")
        assert (refused.status, refused.json()["code"]) == (403, "obligation_unmet")
        assert len(seen) == 1


USAGE = {"model": "m-1", "choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 12}}


async def test_tokens_are_counted_out_of_answers_and_refused_once_they_are_spent(tmp_path):
    async def chat(call: Call) -> None:
        await call.take()
        await call.send(response(200, json.dumps(USAGE).encode(), JSON))

    def services(up: Upstream):
        chat = {"method": "POST", "path": "/chat", "group": "write", "llm": "openai"}
        budgets = {"daily": {"per": "agent", "window": "1d", "tokens": 80}}
        prices = {"m-*": {"input": 1.0, "output": 2.0}}
        return [
            demo_rules.service(
                "api", *up.hosts, ports=[up.port], operations={"chat": chat}, budgets=budgets, prices=prices
            )
        ]

    up = Upstream("api.test")
    up.on("/chat", chat)
    policies = [demo_rules.permit("chat", actions=("api.chat",))]
    async with world(tmp_path, upstream=up, services=services, policies=policies) as w:
        ask = json.dumps({"model": "m-1", "messages": []}).encode()
        for _ in range(2):
            answer = await w.call(
                "/chat", method="POST", headers=["Content-Type: application/json"], body=ask
            )
            assert answer.json() == USAGE
            await w.settled()
        spent = await w.call("/chat", method="POST", headers=["Content-Type: application/json"], body=ask)
        assert (spent.status, spent.json()["code"]) == (429, "rate_limited")
        assert 0 < int(spent.get("retry-after")) <= 86_400
        assert len(up.requests) == 2
        assert w.outcomes[0].raw["what"]["used"] == {
            "model": "m-1",
            "input_tokens": 30,
            "output_tokens": 12,
            "estimated": False,
            "cost": 54,
        }
        assert w.decisions[-1].rule == "gatepass.budget.api.daily"
        assert w.decisions[-1].raw["why"]["input"]["context"]["budgets"] == {
            "daily": {"limit": 80, "used": 84}
        }


LIST = json.dumps(LISTED).encode()
TYPES = [
    pytest.param(b"text/plain", id="text"),
    pytest.param(b"text/html; x=application/json", id="in a parameter"),
    pytest.param(b"application/jsonx", id="nearly"),
    pytest.param(b"APPLICATION/JSON-SEQ", id="capitals"),
    pytest.param(b"", id="none"),
]


@pytest.mark.parametrize("kind", TYPES)
async def test_a_list_is_found_whatever_the_answer_is_called(tmp_path, kind):
    named = [(b"Content-Type", kind)] if kind else []
    async with mcp(tmp_path, scripted(response(200, LIST, *named))) as w:
        answer = await ask(w)
        assert [tool["name"] for tool in answer.json()["result"]["tools"]] == ["safe"]


async def test_events_are_found_where_nobody_calls_them_so(tmp_path):
    events = b"event: message\ndata: " + LIST + b"\n\n"
    async with mcp(tmp_path, scripted(response(200, events, (b"Content-Type", b"text/plain")))) as w:
        answer = await ask(w)
        assert b"safe" in answer.body
        assert b"danger" not in answer.body


@pytest.mark.parametrize(
    "page", [b"<html><p>no tools here</p></html>", b"", b"not found: {tools}", b"\x89PNG\x00tools"]
)
async def test_what_is_no_list_passes_as_it_is(tmp_path, page):
    async with mcp(tmp_path, scripted(response(404, page, (b"Content-Type", b"text/html")))) as w:
        answer = await ask(w)
        assert (answer.status, answer.body) == (404, page)


async def test_an_answer_that_is_json_and_events_at_once_is_not_shown(tmp_path):
    both = [JSON, EVENTS]
    async with mcp(tmp_path, scripted(response(200, LIST, *both))) as w:
        assert told(await ask(w)) == (502, "response_unreadable")


@pytest.mark.parametrize("chunked", [False, True])
async def test_no_more_is_held_than_may_be_read_whole(tmp_path, chunked):
    size = MAX_LIST + 1
    body = b'["' + b"a" * (size - 4) + b'"]'
    if chunked:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        pieces = (head, b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n")
    else:
        pieces = (response(200, body, JSON),)
    async with mcp(tmp_path, scripted(*pieces, close=True)) as w:
        assert told(await ask(w)) == (502, "response_unreadable")
