"""Calls to language models: what rules read of them cannot be hidden, and what they use is counted (D14)."""

import json

from tests.support import demo_rules
from tests.support.call import Call
from tests.support.upstream import Upstream
from tests.support.wire import response
from tests.support.world import world

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
