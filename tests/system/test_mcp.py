"""The official MCP SDK's client and server, with gatepass between them and told to neither."""

import asyncio
from importlib.metadata import version

import pytest

from tests.support import demo_rules
from tests.support.asgi import AsgiUpstream
from tests.support.mcp_server import Shop
from tests.system.spoken import Spoken, spoken

OPERATIONS = {
    "pay": {"group": "write", "tool": "pay", "facts": {"input": {"amount": "long", "to": "string"}}},
    **{name: {"group": "read", "tool": name} for name in ("search", "count", "go", "rename", "agree")},
}
SERVICE = demo_rules.service("tools", "tools.test", protocol="mcp", operations=OPERATIONS)
READS = demo_rules.permit("reads", on="tools")
SMALL = """@id("small-sums")
permit(principal == Agent::"tester", action == Action::"tools.pay", resource in Service::"tools")
when { context.facts.input.amount <= 100 };
"""
HELD = """@id("large-sums")
permit(principal == Agent::"tester", action == Action::"tools.pay", resource in Service::"tools")
when { context.approved };
"""
LISTED = ["pay", "search", "count", "go", "rename", "agree"]
has_modern = int(version("mcp").partition(".")[0]) >= 2
modern = pytest.mark.skipif(not has_modern, reason="version 1 of the SDK does not speak 2026-07-28")

# What every program starts with: ``session()`` shakes hands and prints nothing; ``refused`` gives the error's data.
START = """
import asyncio, json, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from contextlib import asynccontextmanager
try:
    from mcp import MCPError
except ImportError:
    from mcp import McpError as MCPError

@asynccontextmanager
async def session(**callbacks):
    async with streamable_http_client(sys.argv[1]) as streams:
        async with ClientSession(*streams[:2], **callbacks) as client:
            await client.initialize()
            yield client

async def call(client, name, arguments={}, **more):
    try:
        return (await client.call_tool(name, arguments, **more)).content[0].text
    except MCPError as error:
        return error.error.model_dump()
"""


def shop_at(tmp_path, shop: Shop, *policies: str, **settings: object):
    up = AsgiUpstream(shop.app(**settings), "tools.test")
    return spoken(tmp_path, up, [SERVICE], [READS, *policies])


async def actions(w: Spoken) -> list[tuple[str, str, str]]:
    return [(one.method, one.raw["why"].get("action"), one.effect) for one in await w.decided()]


SESSION = """
async def main():
    async with session() as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        said = [
            await call(client, "search", {"query": "tea"}),
            await call(client, "pay", {"amount": 100, "to": "ada"}),
            await call(client, "pay", {"amount": 101, "to": "ada"}),
            await call(client, "pay", {"amount": "7", "to": "ada"}),
            await call(client, "drop_tables"),
            await call(client, "pay", {"amount": 7, "to": "bob"}),
        ]
    print(json.dumps([tools, *said]))
asyncio.run(main())
"""


@pytest.mark.parametrize("answers", ["json", "events"])
async def test_a_session_sees_and_does_what_rules_let_it(tmp_path, answers):
    shop = Shop()
    async with shop_at(tmp_path, shop, SMALL, json_response=answers == "json") as w:
        tools, found, paid, *errors, last = await w.program(START + SESSION, w.at("/mcp"))

        assert tools == LISTED
        assert (found, paid, last) == ("nothing like tea", "paid 100 to ada", "paid 7 to bob")
        codes = [error["data"]["code"] for error in errors]
        assert codes == ["default_deny", "ambiguous_input", "default_deny"]
        refusals = await w.refused()
        assert [error["data"]["record"] for error in errors] == [one.id for one in refusals]
        assert all(error["message"].startswith("gatepass: ") for error in errors)
        assert "tools.pay" in errors[0]["message"]
        assert shop.done == [("search", "tea"), ("pay", 100), ("pay", 7)]
        paid = [one for one in await w.decided() if one.raw["why"].get("action") == "tools.pay"]
        inputs = [one.raw["why"]["input"]["context"]["facts"]["input"] for one in paid]
        assert [one["amount"] for one in inputs] == [100, 101, 7]


LISTENS = """
async def main():
    changed, agreed = asyncio.Event(), []
    async def told(message):
        if "ToolListChanged" in repr(message) or "list_changed" in repr(message):
            changed.set()
    async def asked(context, params):
        from mcp.types import ElicitResult
        agreed.append(params.message)
        return ElicitResult(action="accept", content={"agreed": True})
    async with session(message_handler=told, elicitation_callback=asked) as client:
        said = [await call(client, "rename")]
        async with asyncio.timeout(20):
            await changed.wait()
        said.append(await call(client, "agree"))
    print(json.dumps([said, agreed]))
asyncio.run(main())
"""


async def test_the_server_is_heard_and_answered_and_the_session_ended(tmp_path):
    shop = Shop()
    replies = demo_rules.permit("answers", actions=("tools.mcp.reply",), on="tools")
    async with shop_at(tmp_path, shop, replies) as w:
        said, agreed = await w.program(START + LISTENS, w.at("/mcp"))

        assert (said, agreed) == (["renamed", "accept"], ["Do you agree?"])
        assert shop.done == [("agree", "accept")]
        assert await w.refused() == []
        spoken_of = await actions(w)
        assert {one for one in spoken_of if one[0] != "POST"} == {
            ("GET", "tools.mcp.session", "allow"),
            ("DELETE", "tools.mcp.session", "allow"),
        }
        assert spoken_of.count(("POST", "tools.mcp.session", "allow")) == 2
        assert spoken_of.count(("POST", "tools.mcp.reply", "allow")) == 1
        messages = [one.json for one in w.arrived if one.method == "POST"]
        assert [one["method"] for one in messages if "id" not in one] == ["notifications/initialized"]


STREAMS = """
async def main():
    half = asyncio.Event()
    async def progress(done, total, message=None):
        half.set()
    async with session() as client:
        counting = asyncio.create_task(call(client, "count", progress_callback=progress))
        async with asyncio.timeout(20):
            await half.wait()
        print(json.dumps([await call(client, "go"), len(await counting)]))
asyncio.run(main())
"""


async def test_what_a_tool_says_on_its_way_arrives_before_its_result(tmp_path):
    shop = Shop()
    async with shop_at(tmp_path, shop) as w:
        assert await w.program(START + STREAMS, w.at("/mcp")) == ["gone", 100_000]
        assert shop.done == [("count", None)]
        assert await w.refused() == []


WITHOUT = """
async def main():
    from mcp import Client
    async with Client(sys.argv[1]) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        said = [await call(client, "prüfen"), await call(client, "pay", {"amount": 101, "to": "ada"})]
        read = (await client.read_resource("shop://prices")).contents[0].text
        print(json.dumps([client.protocol_version, tools, *said, read]))
asyncio.run(main())
"""


@modern
async def test_the_protocol_without_sessions(tmp_path):
    shop = Shop()
    unnamed = demo_rules.permit("unnamed-tools", actions=("tools.mcp.call",), on="tools")
    async with shop_at(tmp_path, shop, SMALL, unnamed) as w:
        spoken_, tools, checked, refused, read = await w.program(START + WITHOUT, w.at("/mcp"))

        assert (spoken_, checked, read) == ("2026-07-28", "gut", "7")
        assert set(tools) == {*LISTED, "drop_tables", "prüfen"}
        assert refused["data"]["code"] == "default_deny"
        assert shop.done == [("prüfen", None), ("prices", None)]
        assert [one.raw["why"]["action"] for one in await w.refused()] == ["tools.pay"]
        assert await actions(w) == [
            ("POST", "tools.mcp.session", "allow"),
            ("POST", "tools.mcp.list", "allow"),
            ("POST", "tools.mcp.call", "allow"),
            ("POST", "tools.pay", "deny"),
            ("POST", "tools.mcp.read", "allow"),
        ]
        assert [one.headers["mcp-method"] for one in w.arrived] == [
            "server/discover",
            "tools/list",
            "tools/call",
            "resources/read",
        ]


BATCH = """
import json, sys, requests
def call(number, name, **arguments):
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
accept = {"Accept": "application/json, text/event-stream"}
small = [call(1, "search", query="tea"), call(2, "pay", amount=7, to="ada")]
answers = [requests.post(sys.argv[1], json=batch, headers=accept) for batch in (
    [*small, call(3, "pay", amount=101, to="ada")],
    [*small, call(3, "drop_tables")],
    small,
)]
print(json.dumps([[one.status_code, one.json().get("code")] for one in answers]))
"""


async def test_a_batch_is_allowed_as_a_whole_or_not_at_all(tmp_path):
    shop = Shop()
    async with shop_at(tmp_path, shop, SMALL, stateless_http=True) as w:
        *refused, (status, _) = await w.program(BATCH, w.at("/mcp"))

        assert refused == [[403, "default_deny"]] * 2
        assert status == 400  # the SDK's own server takes no batches any more
        (reached,) = w.arrived
        assert [message["id"] for message in reached.json] == [1, 2]
        assert shop.done == []
        first, second = await w.refused()
        assert (first.raw["why"]["action"], second.raw["why"]["action"]) == ("tools.pay", "tools.mcp.call")
        assert [one["action"] for one in first.raw["why"]["batch"]] == ["tools.search", "tools.pay"]


PAYS = """
async def main():
    async with session() as client:
        print(json.dumps([await call(client, "pay", {"amount": 5000, "to": "ada"}), await call(client, "search", {"query": "tea"})]))
asyncio.run(main())
"""


@pytest.mark.parametrize("word", ["approve", "deny"])
async def test_a_call_waits_for_a_person(tmp_path, word):
    shop = Shop()
    async with shop_at(tmp_path, shop, SMALL, HELD) as w:
        paying = asyncio.ensure_future(w.program(START + PAYS, w.at("/mcp")))
        asked = await w.answer(word, "--reason", "month end")
        paid, found = await paying

        assert (asked["actions"], asked["rules"], found) == (
            ["tools.pay"],
            ["large-sums"],
            "nothing like tea",
        )
        refusals = await w.refused()
        (decision,) = (one for one in await w.decided() if one.raw["why"].get("action") == "tools.pay")
        if word == "approve":
            assert (paid, refusals) == ("paid 5000 to ada", [])
            assert shop.done == [("pay", 5000), ("search", "tea")]
            assert decision.raw["why"]["approval"]["request_sha256"] == asked["request_sha256"]
            return
        assert shop.done == [("search", "tea")]
        assert (paid["data"]["code"], paid["data"]["record"]) == ("approval_denied", decision.id)
        assert "month end" in paid["message"]


async def test_who_waits_in_vain_is_told_where_to_ask(tmp_path):
    shop = Shop()
    up = AsgiUpstream(shop.app(), "tools.test")
    link = "https://review.example.org/requests"
    settings = {"approvals": {"wait": 0, "link": link}}
    async with spoken(tmp_path, up, [SERVICE], [READS, HELD], **settings) as w:
        paid, _ = await w.program(START + PAYS, w.at("/mcp"))

        asked = await w.waiting()
        assert paid["data"]["code"] == "approval_required"
        assert f"{link}/{asked['id']}" in paid["message"]
        assert paid["data"]["retry_after"] > 0
        assert shop.done == [("search", "tea")]
