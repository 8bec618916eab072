"""Calls to language models: what rules read of them cannot be hidden, and what they use is counted (D14)."""

import json

import pytest

from proxy.errors import Code
from tests.hostile.assertions import everything, refused
from tests.hostile.reading import FORM, JSON, all_refused, allow, post, serving
from tests.support import demo_rules
from tests.support.call import Call
from tests.support.upstream import Upstream
from tests.support.wire import response
from tests.support.world import World, world

EVENTS = (b"Content-Type", b"text/event-stream")


def model(up: Upstream, **budgets: object):
    chat = {"method": "POST", "path": "/chat", "group": "write", "llm": "openai"}
    return [demo_rules.service("api", *up.hosts, ports=[up.port], operations={"chat": chat}, budgets=budgets)]


async def test_who_does_not_wait_for_the_answer_pays_for_the_question(tmp_path):
    up = Upstream("api.test")

    async def silent(call: Call) -> None:
        await call.take()
        await call.release.wait()

    up.on("/chat", silent)
    policies = [demo_rules.permit("chat", actions=("api.chat",))]
    daily = {"per": "agent", "window": "1d", "tokens": 100}

    def services(up: Upstream):
        return model(up, daily=daily)

    async with world(tmp_path, upstream=up, services=services, policies=policies) as w:
        question = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": "x" * 600}]}).encode()
        async with w.tunnel() as client:
            head = f"POST /chat HTTP/1.1\r\nHost: {w.authority}\r\nContent-Length: {len(question)}\r\n\r\n"
            await client.send(head.encode() + question)
            await up.until(lambda: bool(up.requests) and up.requests[0].complete)
            client.abort()
        await w.settled()
        assert (w.outcomes[0].result, w.outcomes[0].raw["what"]["used"]["estimated"]) == ("client_gone", True)
        assert w.outcomes[0].raw["what"]["used"]["input_tokens"] == -(-len(question) // 4)
        spent = await w.call("/chat", method="POST", headers=["Content-Type: application/json"], body=b"{}")
        assert (spent.status, spent.json()["code"]) == (429, "rate_limited")
        up.release.set()


async def test_a_stream_that_reports_nothing_counts_what_was_sent(tmp_path):
    up = Upstream("api.test")

    async def chat(call: Call) -> None:
        await call.take()
        chunk = b'data: {"model": "m-1", "choices": [{"delta": {"content": "12345678"}}]}\n\n'
        await call.send(response(200, chunk + b"data: [DONE]\n\n", EVENTS))

    up.on("/chat", chat)
    policies = [demo_rules.permit("chat", actions=("api.chat",))]
    daily = {"per": "agent", "window": "1d", "tokens": 100_000}

    def services(up: Upstream):
        return model(up, daily=daily)

    async with world(tmp_path, upstream=up, services=services, policies=policies) as w:
        question = b'{"model": "m-1", "stream": true, "messages": []}'
        await w.call("/chat", method="POST", headers=["Content-Type: application/json"], body=question)
        await w.settled()
        used = w.outcomes[0].raw["what"]["used"]
        assert (used["input_tokens"], used["output_tokens"]) == (len(question) // 4, 2)


async def test_a_call_that_never_left_used_nothing(tmp_path):
    policies = [demo_rules.permit("chat", actions=("api.chat",))]
    daily = {"per": "agent", "window": "1d", "tokens": 100_000}

    def services(up: Upstream):
        return model(up, daily=daily)

    async with world(tmp_path, services=services, policies=policies, private=False) as w:
        answer = await w.call("/chat", method="POST", body=b'{"model": "m-1"}')
        assert answer.status == 403
        await w.settled()
        assert "used" not in w.outcomes[0].raw["what"]


CHAT = {
    "chat": {"method": "POST", "path": "/v1/chat/completions", "group": "write", "llm": "openai"},
    "messages": {"method": "POST", "path": "/v1/messages", "group": "write", "llm": "anthropic"},
}
SMALL = [
    allow(
        "small",
        "api.chat",
        "api.messages",
        when='context.facts.llm.model == "small" && context.facts.llm.max_tokens <= 100'
        ' && !context.facts.llm.tools.contains("web_search") && !context.facts.llm.tools.contains("mcp")',
    )
]
OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"


async def question(w: World, case: tuple[str, bytes]):
    path, body = case
    return await post(w, path, body, JSON)


HIDDEN = [
    *(
        (OPENAI, body)
        for body in (b'{"messages":[]}', b'{"model":["small"]}', b'{"model":""}', b'{"model":null}')
    ),
    (OPENAI, b'{"model":"small","model":"large"}'),
    (OPENAI, b'{"model":"small","Model":"large"}'),
    (OPENAI, b'{"model":"small","mod\\u0065l":"large"}'),
    (OPENAI, b'{"model":"small","model[]":"large"}'),
    (OPENAI, b'{"model":"small"}{"model":"large"}'),
    (OPENAI, b'[{"model":"small"}]'),
    (OPENAI, b'{"model":"small","stream":"true"}'),
    (OPENAI, b'{"model":"small","stream":1}'),
    (OPENAI, b'{"model":"small","max_tokens":1,"max_completion_tokens":100000}'),
    (OPENAI, b'{"model":"small","max_tokens":1,"MAX_TOKENS":100000}'),
    (OPENAI, b'{"model":"small","max_tokens":1.5}'),
    (OPENAI, b'{"model":"small","max_tokens":-1}'),
    (OPENAI, b'{"model":"small","max_tokens":"1"}'),
    (OPENAI, b'{"model":"small","tools":{"type":"web_search"}}'),
    (OPENAI, b'{"model":"small","tools":"web_search"}'),
    (OPENAI, b'{"model":"small","tools":["web_search"]}'),
    (OPENAI, b'{"model":"small","tools":[{"type":"function","function":"x"}]}'),
    (OPENAI, b'{"model":"small","tools":[{"type":"function"}]}'),
    (OPENAI, b'{"model":"small","tools":[{"type":"function","name":"a","function":{"name":"web_search"}}]}'),
    (OPENAI, b'{"model":"small","tools":[{"type":"function","function":{"name":"a","Name":"b"}}]}'),
    (OPENAI, b'{"model":"small","tools":[{"Type":"web_search"}]}'),
    (OPENAI, b'{"model":"small","tools":[{"type":7}]}'),
    (OPENAI, b'{"model":"small","Tools":[{"type":"web_search"}]}'),
    (OPENAI, b'{"model":"small","functions":{"name":"x"}}'),
    (ANTHROPIC, b'{"model":"small","max_tokens":1,"tools":[{"name":"a","Name":"b"}]}'),
    (ANTHROPIC, b'{"model":"small","max_tokens":1,"MCP_servers":[{"url":"https://x"}]}'),
    (ANTHROPIC, b'{"model":"small","max_tokens":1,"max_tokens_to_sample":9}'),
]


async def test_c20_a_question_that_can_be_read_in_two_ways_never_leaves(tmp_path):
    async with world(tmp_path, services=serving(CHAT), policies=SMALL) as w:
        await all_refused(w, Code.AMBIGUOUS_INPUT, HIDDEN, lambda case: question(w, case))


DENIED = [
    (OPENAI, b'{"model":"large","max_tokens":1}'),
    (OPENAI, b'{"model":"small ","max_tokens":1}'),
    (OPENAI, b'{"model":"Small","max_tokens":1}'),
    (OPENAI, b'{"model":"small","max_tokens":101}'),
    (OPENAI, b'{"model":"small","max_output_tokens":101}'),
    (OPENAI, b'{"model":"small","max_tokens":1,"tools":[{"type":"web_search"}]}'),
    (OPENAI, b'{"model":"small","max_tokens":1,"web_search_options":{}}'),
    (OPENAI, b'{"model":"small","max_tokens":1,"functions":[{"name":"web_search"}]}'),
    (
        OPENAI,
        b'{"model":"small","max_tokens":1,"tools":[{"type":"namespace","tools":[{"type":"web_search"}]}]}',
    ),
    (OPENAI, b'{"model":"small","max_tokens":1,"tools":[{"type":"mcp","server_url":"https://x"}]}'),
    (OPENAI, b'{"metadata":{"model":"small"},"max_tokens":1,"model":"large"}'),
    (ANTHROPIC, b'{"model":"small","max_tokens":1,"mcp_servers":[{"url":"https://x"}]}'),
]


async def test_c18_what_a_question_asks_for_is_found_wherever_it_stands(tmp_path):
    async with world(tmp_path, services=serving(CHAT), policies=SMALL) as w:
        await all_refused(w, Code.DEFAULT_DENY, DENIED, lambda case: question(w, case))


@pytest.mark.parametrize(
    "kind", [FORM, "Content-Type: text/plain", "X-None: 1", f"{JSON}\r\nContent-Encoding: gzip"]
)
async def test_c18_other_kinds_of_content_never_leave(tmp_path, kind):
    async with world(tmp_path, services=serving(CHAT), policies=SMALL) as w:
        answer = await post(w, OPENAI, b'{"model":"small","max_tokens":1}', *kind.split("\r\n"))
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)


async def test_c16_more_tools_than_anybody_reads(tmp_path):
    async with world(tmp_path, services=serving(CHAT), policies=SMALL) as w:
        tools = b",".join(b'{"type":"function","function":{"name":"f%d"}}' % n for n in range(513))
        body = b'{"model":"small","max_tokens":1,"tools":[%s]}' % tools
        await refused(w, await question(w, (OPENAI, body)), Code.BODY_TOO_LARGE)


def lying(answer: bytes, *headers: tuple[bytes, bytes], close: bool = False) -> Upstream:
    """A model whose answers are these octets."""

    async def handler(call: Call) -> None:
        await call.take()
        if close:
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + answer)
        else:
            await call.send(response(200, answer, *headers))
        call.close = close

    return Upstream("api.test", default=handler)


TYPE = (b"Content-Type", b"application/json")
TEXT = b"data: " + json.dumps({"choices": [{"delta": {"content": "x" * 400}}]}).encode() + b"\n\n"
SAID = b'data: {"choices":[],"usage":{"prompt_tokens":1000000,"completion_tokens":1000000}}\n\n'


@pytest.mark.parametrize(
    ("up", "tokens"),
    [
        pytest.param(lambda: lying(TEXT * 3, close=True), 300, id="D14-cut-before-usage"),
        pytest.param(lambda: lying(TEXT * 3 + b"data: {", close=True), 300, id="D14-cut-inside-an-event"),
        pytest.param(lambda: lying(TEXT + SAID, EVENTS), 2_000_000, id="D14-usage"),
        pytest.param(lambda: lying((TEXT + SAID).replace(b"\n", b"\r"), EVENTS), 2_000_000, id="D14-cr"),
        pytest.param(
            lambda: lying(TEXT * 2 + SAID.replace(b"1000000", b"-5"), EVENTS), 200, id="D14-negative"
        ),
        pytest.param(
            lambda: lying(TEXT * 2 + SAID.replace(b"1000000", b"1e999"), EVENTS), 200, id="D14-no-number"
        ),
        pytest.param(lambda: lying(TEXT * 2 + SAID.replace(b"1000000", b'"9"'), EVENTS), 200, id="D14-text"),
        pytest.param(lambda: lying(b'{"usage":{}}' + b" " * 800, TYPE), 200, id="D14-empty-usage"),
        pytest.param(lambda: lying(b"x" * 800, TYPE), 200, id="D14-no-json"),
        pytest.param(
            lambda: lying(b"x" * 800, TYPE, (b"Content-Encoding", b"gzip")), 200, id="D14-compressed"
        ),
    ],
)
async def test_what_an_answer_does_not_say_is_estimated(tmp_path, up, tokens):
    budgets = {"daily": {"per": "agent", "window": "366d", "tokens": 100}}
    services = serving(CHAT, budgets=budgets)
    async with world(tmp_path, upstream=up(), services=services, policies=[allow("chat", "api.chat")]) as w:
        async with w.tunnel() as client:
            body = b'{"model":"small","stream":true}'
            head = f"POST {OPENAI} HTTP/1.1\r\nHost: {w.authority}\r\n{JSON}\r\nContent-Length: {len(body)}"
            await client.send(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
            await everything(client)
        await w.settled()
        used = w.outcomes[0].raw["what"]["used"]
        assert used["input_tokens"] + used["output_tokens"] >= tokens
        again = await question(w, (OPENAI, body))
        assert (again.status, again.json()["code"]) == (429, Code.RATE_LIMITED)
        assert len(w.upstream.requests) == 1


async def test_d14_who_leaves_in_the_middle_of_an_answer_pays_for_what_came(tmp_path):
    up = Upstream("api.test")

    async def handler(call: Call) -> None:
        await call.take()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + TEXT * 2)
        await call.release.wait()

    up.on(OPENAI, handler)
    budgets = {"daily": {"per": "agent", "window": "366d", "tokens": 100}}
    services = serving(CHAT, budgets=budgets)
    async with world(tmp_path, upstream=up, services=services, policies=[allow("chat", "api.chat")]) as w:
        async with w.tunnel() as client:
            head = f"POST {OPENAI} HTTP/1.1\r\nHost: {w.authority}\r\n{JSON}\r\nContent-Length: 17"
            await client.send(f'{head}\r\n\r\n{{"model":"small"}}'.encode())
            came = await client.read_some()
            while came.count(b"data: ") < 2:
                came += await client.read_some()
            client.abort()
        await w.settled()
        up.release.set()
        used = w.outcomes[0].raw["what"]["used"]
        assert (w.outcomes[0].result, used["estimated"]) == ("client_gone", True)
        assert used["output_tokens"] >= 200
        assert (await question(w, (OPENAI, b'{"model":"small"}'))).status == 429
