"""The OpenAI and Anthropic SDKs: what they may ask for, what it costs, and what they show of a refusal."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.support import demo_rules
from tests.support.asgi import AsgiUpstream
from tests.support.demo_rules import Entry
from tests.support.llm_server import TOKENS_IN, TOKENS_OUT, WORDS, Models
from tests.system.spoken import Spoken, spoken

SECRETS = {"OPENAI_API_KEY": "sk-live-0123456789", "ANTHROPIC_API_KEY": "sk-ant-live-0123456789"}
BEARER = {"name": "Authorization", "format": "Bearer {secret}"}
# Anthropic's SDK sends its key in the first, and from version 2 on in the second.
PLACES = {"openai": {}, "anthropic": {"headers": [{"name": "x-api-key", "format": "{secret}"}, BEARER]}}
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
TEXT = "".join(WORDS)
PRICES = {"small-1*": {"input": 1.00, "output": 4.00}, "large-1*": {"input": 10.00, "output": 40.00}}
COST = TOKENS_IN * 1 + TOKENS_OUT * 4  # of one call of small-1, in millionths


def provider(name: str, **more: object) -> Entry:
    """A service that speaks like ``name``."""
    variable = f"{name.upper()}_API_KEY"
    return demo_rules.service(
        name,
        f"api.{name}.test",
        credential=demo_rules.from_env(variable, **PLACES[name]),
        operations={"chat": {"group": "write", "method": "POST", "path": PATHS[name], "llm": name}},
        prices=PRICES,
        **more,
    )


def permit(when: str = "true", rule: str = "chats") -> list[str]:
    return [
        f'@id("{rule}-{name}")\npermit(principal == Agent::"tester", action == Action::"{name}.chat", resource)\nwhen {{ {when} }};\n'
        for name in PLACES
    ]


def models_at(
    tmp_path,
    models: Models,
    policies: Iterable[str] = (),
    *,
    budgets: Entry | None = None,
    **settings: object,
):
    more = {"budgets": budgets} if budgets else {}
    up = AsgiUpstream(models.app, *(f"api.{name}.test" for name in PLACES))
    services = [provider(name, **more) for name in PLACES]
    return spoken(tmp_path, up, services, policies or permit(), SECRETS, **settings)


# ``chat`` and ``stream`` give the text, or the name, status and words of the SDK's own error.
OPENAI = """
import json, openai, sys
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", max_retries=0)
def told(error):
    return [type(error).__name__, error.status_code, str(error), error.response.headers.get("retry-after"), error.body]
def ask(prompt="hi", model="small-1-mini", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}], **more)
def chat(*args, **more):
    try:
        return ask(*args, **more).choices[0].message.content
    except openai.APIStatusError as error:
        return told(error)
def pieces(**more):
    for chunk in ask(stream=True, **more):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content
def tool(name):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
USAGE = {"stream_options": {"include_usage": True}}
LIMIT = "max_completion_tokens"
"""
ANTHROPIC = """
import json, anthropic, sys
client = anthropic.Anthropic(base_url=sys.argv[1], max_retries=0)
def told(error):
    body = error.body["error"]
    return [type(error).__name__, error.status_code, str(error), error.response.headers.get("retry-after"), body]
def ask(prompt="hi", model="small-1-mini", max_tokens=100, **more):
    return client.messages.create(
        model=model, max_tokens=max_tokens, messages=[{"role": "user", "content": prompt}], **more)
def chat(*args, **more):
    try:
        return ask(*args, **more).content[0].text
    except anthropic.APIStatusError as error:
        return told(error)
def pieces(**more):
    for event in ask(stream=True, **more):
        if event.type == "content_block_delta":
            yield event.delta.text
def tool(name):
    return {"name": name, "input_schema": {"type": "object", "properties": {}}}
USAGE = {}
LIMIT = "max_tokens"
"""
STARTS = {"openai": OPENAI, "anthropic": ANTHROPIC}
sdks = pytest.mark.parametrize("sdk", PLACES)


async def said(w: Spoken, sdk: str, script: str) -> list:
    return await w.program(STARTS[sdk] + script, w.at(host=f"api.{sdk}.test").rstrip("/"))


async def used(w: Spoken) -> list[dict]:
    """What the allowed calls used."""
    return [w.outcome(one)["used"] for one in await w.decided() if one.effect == "allow"]


def counted(*, estimated: bool = False, cost: int = COST, model: str = "small-1-mini") -> dict:
    return {
        "model": model,
        "input_tokens": TOKENS_IN,
        "output_tokens": TOKENS_OUT,
        "estimated": estimated,
        "cost": cost,
    }


CHATS = "print(json.dumps([chat(), ''.join(pieces(**USAGE)), chat(model='large-1')]))"


@sdks
async def test_answers_come_whole_or_in_pieces_and_are_counted(tmp_path, sdk):
    async with models_at(tmp_path, Models()) as w:
        assert await said(w, sdk, CHATS) == [TEXT] * 3

        assert await used(w) == [counted(), counted(), counted(cost=COST * 10, model="large-1")]
        assert await w.refused() == []
        assert [w.outcome(one)["result"] for one in await w.decided()] == ["complete"] * 3
        keys = [one.headers.get("x-api-key") or one.headers["authorization"] for one in w.arrived]
        assert [key.removeprefix("Bearer ") for key in keys] == [SECRETS[f"{sdk.upper()}_API_KEY"]] * 3
        assert [one.headers["accept-encoding"] for one in w.arrived] == ["identity"] * 3
        assert all(w.variables[name] not in str(one.headers) for one in w.arrived for name in SECRETS)


KEYED = """
import os, requests
headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
asked = {"model": "small-1", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
print(json.dumps(requests.post(sys.argv[1] + "/v1/messages", json=asked, headers=headers).json()["usage"]))
"""


async def test_a_key_may_stand_where_plain_http_puts_it(tmp_path):
    async with models_at(tmp_path, Models()) as w:
        assert (await said(w, "anthropic", KEYED))["output_tokens"] == TOKENS_OUT
        (reached,) = w.arrived
        assert reached.headers["x-api-key"] == SECRETS["ANTHROPIC_API_KEY"]
        assert [one["model"] for one in await used(w)] == ["small-1"]


RESTRICTED = """
print(json.dumps([
    chat(), chat(model="large-1"),
    chat(tools=[tool("search")]), chat(tools=[tool("search"), tool("shell")]),
    chat(**{LIMIT: 1000}), chat(**{LIMIT: 1001}), chat(model="small-1-mini", stream=True)[:2],
]))
"""
CAREFUL = [
    'context.facts.llm.model like "small-1-*"',
    '["search", "read"].containsAll(context.facts.llm.tools)',
    "context.facts.llm.max_tokens <= 1000",
    "!context.facts.llm.stream",
]


@sdks
async def test_rules_say_which_model_which_tools_and_how_much(tmp_path, sdk):
    async with models_at(tmp_path, Models(), permit(" && ".join(CAREFUL))) as w:
        plain, large, search, shell, few, many, stream = await said(w, sdk, RESTRICTED)

        assert (plain, search, few) == (TEXT,) * 3
        assert [one[:2] for one in (large, shell, many, stream)] == [["PermissionDeniedError", 403]] * 4
        assert all("gatepass: No rule permits this call" in one[2] for one in (large, shell, many))
        refusals = await w.refused()
        assert [one[4]["record"] for one in (large, shell, many)] == [one.id for one in refusals[:3]]
        facts = [one.raw["why"]["input"]["context"]["facts"]["llm"] for one in refusals]
        assert [facts[0]["model"], facts[1]["tools"], facts[2]["max_tokens"], facts[3]["stream"]] == [
            "large-1",
            ["search", "shell"],
            1001,
            True,
        ]


SPENDS = "print(json.dumps([chat(), chat(), chat(), chat()]))"
SPENT = {
    "tokens": {"per": "task", "window": "1h", "tokens": 2 * (TOKENS_IN + TOKENS_OUT)},
    "cost": {"per": "agent", "window": "1d", "cost": 2 * COST / 1_000_000},
    "requests": {"per": "task", "window": "10m", "requests": 2},
}


@sdks
@pytest.mark.parametrize("unit", SPENT)
async def test_a_spent_budget_is_the_sdks_own_rate_limit(tmp_path, sdk, unit):
    async with models_at(tmp_path, Models(), budgets={"limit": SPENT[unit]}) as w:
        first, second, *refused = await said(w, sdk, SPENDS)

        assert (first, second) == (TEXT, TEXT)
        for kind, status, words, retry_after, body in refused:
            assert (kind, status, body["code"]) == ("RateLimitError", 429, "rate_limited")
            assert 0 < int(retry_after) == body["retry_after"] <= 86_400
            assert "limit" in words
        refusals = await w.refused()
        assert [one.rule for one in refusals] == [f"gatepass.budget.{sdk}.limit"] * 2
        budgets = [one.raw["why"]["input"]["context"]["budgets"]["limit"] for one in await w.decided()]
        assert [one["used"] * 2 // one["limit"] for one in budgets] == [0, 1, 2, 2]


CUT = """
stream = pieces(prompt="slowly")
first = next(stream)
print(json.dumps(first), flush=True)
import os
os._exit(0)
"""


@sdks
async def test_what_was_used_of_a_stream_cut_early_is_estimated(tmp_path, sdk):
    async with models_at(tmp_path, Models()) as w:
        assert await said(w, sdk, CUT) == WORDS[0]
        (decision,) = await w.decided()

        outcome = w.outcome(decision)
        assert outcome["result"] == "client_gone"
        assert (outcome["used"]["estimated"], outcome["used"]["model"]) == (True, "small-1-mini")
        assert 0 < outcome["used"]["output_tokens"] < TOKENS_OUT
        assert outcome["used"]["input_tokens"] > 0
        assert outcome["used"]["cost"] > 0
        await w.up.until(lambda: w.arrived[0].gone)


UNASKED = "print(json.dumps(''.join(pieces())))"


async def test_a_stream_that_tells_no_usage_is_estimated(tmp_path):
    async with models_at(tmp_path, Models()) as w:
        assert await said(w, "openai", UNASKED) == TEXT
        (found,) = await used(w)
        assert (found["estimated"], found["model"]) == (True, "small-1-mini")
        assert found["output_tokens"] == -(-len(TEXT) // 4)
        assert found["input_tokens"] == -(-len(w.arrived[0].body) // 4)


ONE = "print(json.dumps(chat(model='large-1')))"


@sdks
@pytest.mark.parametrize("word", ["approve", "deny"])
async def test_a_call_waits_for_a_person(tmp_path, sdk, word):
    held = permit('context.approved && context.facts.llm.model like "large-*"', "large")
    async with models_at(tmp_path, Models(), held) as w:
        asking = asyncio.ensure_future(said(w, sdk, ONE))
        asked = await w.answer(word, "--reason", "too dear")
        answer = await asking

        (decision,) = await w.decided()
        assert (asked["actions"], asked["rules"]) == ([f"{sdk}.chat"], [f"large-{sdk}"])
        if word == "approve":
            assert answer == TEXT
            assert decision.raw["why"]["approval"]["id"] == asked["id"]
            assert len(w.arrived) == 1
            return
        assert answer[:2] == ["PermissionDeniedError", 403]
        assert "too dear" in answer[2]
        assert (answer[4]["code"], answer[4]["record"]) == ("approval_denied", decision.id)
        assert w.arrived == []
