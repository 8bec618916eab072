"""A sidecar whose rules read all that there is to read, and calls that make them say all that they can say.

REST, content, MCP, GraphQL, language models, gRPC and AWS; batches, budgets, delegation, approval; permits,
forbids, holds, errors, and rules in the shadow that say something else.
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from proxy.policy.approval import Approver, Grant, State
from proxy.store.approvals import ApprovalStore
from tests.hostile.assertions import absolute
from tests.hostile.callers import delegate
from tests.support import demo_rules
from tests.support.demo_rules import Entry
from tests.support.rawclient import RawClient, Response, basic
from tests.support.upstream import Upstream
from tests.support.world import World, world

JSON = "Content-Type: application/json"

OPERATIONS: Mapping[str, Mapping[str, Entry]] = {
    "api": {
        "issues.get": {"group": "read", "method": "GET", "path": "/issues/{number}"},
        "issues.close": {
            "group": "delete",
            "method": "PATCH",
            "path": "/issues/{number}",
            "when": {"body": {"state": "closed"}},
        },
        "search": {
            "group": "read",
            "method": "GET",
            "path": "/search",
            "facts": {"query": {"q": "string", "limit?": "long", "tag?": ["string"]}},
        },
        "pay": {
            "group": "write",
            "method": "POST",
            "path": "/pay",
            "facts": {"body": {"amount": "long", "to.name?": "string", "now?": "bool"}},
        },
    },
    "tools": {
        "search": {
            "group": "write",
            "tool": "search",
            "facts": {"input": {"query": "string", "limit?": "long"}},
        },
        "drop": {"group": "delete", "tool": "drop_*"},
        "docs": {"group": "read", "rpc": "resources/read"},
    },
    "graph": {
        "viewer": {"group": "read", "graphql": "query.viewer"},
        "issue.create": {
            "group": "write",
            "graphql": "mutation.createIssue",
            "facts": {"input": {"title": "string"}},
        },
    },
    "model": {"chat": {"group": "write", "method": "POST", "path": "/v1/chat/completions", "llm": "openai"}},
    "rpc": {"cart": {"group": "read", "grpc": "shop.v1.Cart/Get*"}},
    "cloud": {"items": {"group": "read", "aws": "DynamoDB_20120810.Get*"}},
    "meter": {"read": {"group": "read", "method": "GET", "path": "/read"}},
    "far": {},
}
HOSTS = tuple(f"{name}.test" for name in OPERATIONS)
SPOKEN = {"tools": "mcp", "graph": "graphql", "rpc": "grpc", "cloud": "aws-json"}
MORE: Mapping[str, Mapping[str, object]] = {
    "far": {"environments": ["production"]},
    "meter": {"budgets": {"few": {"per": "task", "window": "366d", "requests": 2}}},
    "model": {
        "budgets": {"spend": {"per": "agent", "window": "366d", "cost": 5.25}},
        "prices": {"*": {"input": 2.5, "output": 10}},
    },
}

POLICIES = """
@id("scope.read") permit(principal, action in Action::"read", resource)
when { context.task.scopes.contains("read") && resource.sensitivity == "internal" };
@id("path.seven") forbid(principal, action == Action::"api.issues.get", resource)
when { context.facts.path.number like "7*" } unless { context.task.purpose == "sevens" };
@id("close.held") permit(principal, action == Action::"api.issues.close", resource) when { context.approved };
@id("search.small") forbid(principal, action == Action::"api.search", resource)
when { context.facts.query has limit && context.facts.query.limit > 50 };
@id("search.tags") forbid(principal, action == Action::"api.search", resource)
when { context.facts.query has tag && ["x", "y"].containsAll(context.facts.query.tag) };
@id("pay.small") permit(principal in Tier::"standard", action == Action::"api.pay", resource)
when { context.facts.body.amount <= 100 && !(context.facts.body has now && context.facts.body.now) };
@id("pay.held") permit(principal, action == Action::"api.pay", resource)
when { context.facts.body.amount <= 1000 && context.approved };
@id("pay.mallory") forbid(principal, action == Action::"api.pay", resource)
when { context.facts.body has to.name && context.facts.body.to.name == "Mallory" };
@id("pay.overflows") forbid(principal, action == Action::"api.pay", resource)
when { context.facts.body.amount * 9007199254740991 < 0 };
@id("tools.search") permit(principal, action == Action::"tools.search", resource)
when { context.facts.input.query != "secret" && context.facts.mcp.tool == "search" };
@id("tools.session") permit(principal, action in [Action::"tools.mcp.session", Action::"tools.mcp.list"], resource);
@id("tools.no_batch") forbid(principal, action == Action::"tools.drop", resource)
when { context.facts.mcp.batch };
@id("graph.write") permit(principal, action == Action::"graph.issue.create", resource)
when { context.facts.input.title like "bug: *" && context.facts.graphql.depth < 4 };
@id("chat") permit(principal, action == Action::"model.chat", resource)
when { context.facts.llm.model like "gpt-*" && context.facts.llm.tools.isEmpty() };
@id("chat.limit") forbid(principal, action == Action::"model.chat", resource)
when { context.facts.llm.max_tokens > 4096 };
@id("grpc") permit(principal, action in Action::"rpc", resource)
when { context.facts has grpc && context.facts.grpc.service == "shop.v1.Cart" && context.request.content_type == "application/grpc" };
@id("aws") permit(principal, action == Action::"cloud.items", resource)
when { context.facts.aws.action == "GetItem" && context.facts.aws.version == "2012-08-10" };
@id("elsewhere") permit(principal == Agent::"lead", action in Action::"read", resource in Host::"other.test")
when { context.request.time > 0 && context.request.method == "GET" && !context.request.has_body };
@id("nobody.deletes") forbid(principal, action in Action::"delete", resource is Endpoint in Service::"meter");
"""
SHADOW = """
@id("shadow.read") permit(principal, action in Action::"read", resource)
when { context.request.path like "/issues/*" };
@id("shadow.held") permit(principal, action in Action::"write", resource) when { context.approved };
@id("shadow.fails") forbid(principal, action == Action::"api.search", resource)
when { context.request.time * 9007199254740991 > 0 };
"""


def services(up: Upstream) -> list[Entry]:
    return [
        demo_rules.service(
            name, ports=[up.port], schemes=["http"], operations=operations,
            **{"protocol": SPOKEN.get(name, "rest"), **MORE.get(name, {})},
        )
        for name, operations in OPERATIONS.items()
    ]  # fmt: skip


def with_shadow(directory: Path) -> Callable[[Upstream], list[Entry]]:
    """The same services, also for the rules in the shadow."""

    def write(up: Upstream) -> list[Entry]:
        demo_rules.write_rules(directory, services=services(up), policies=[SHADOW])
        (directory / "agents.yaml").unlink()
        return services(up)

    return write


# -- what is asked --


class Caller:
    """Calls of one task, over plain HTTP."""

    def __init__(self, w: World, token: str) -> None:
        self._w = w
        self._token = token

    async def __call__(
        self, host: str, path: str = "/", body: object = None, *headers: str, method: str = ""
    ) -> int:
        """One request and the status of its answer; a ``body`` that is no ``bytes`` is sent as JSON."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [*headers] if body is None or isinstance(body, bytes) else [JSON, *headers]
        lines += [f"Content-Length: {len(data)}"] if body is not None else []
        method = method or ("GET" if body is None else "POST")
        url = f"http://{host}.test:{self._w.upstream.port}{path}"
        head = absolute(self._w, url, *lines, method=method, authorization=basic("task", self._token))
        async with await RawClient.connect(self._w.address) as client:
            await client.send(head + data)
            answer: Response = await client.read_response()
        return answer.status


def message(method: str, number: int, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def tool(name: str, number: int = 1, **arguments: object) -> dict[str, object]:
    return message("tools/call", number, name=name, arguments=arguments)


async def rest(call: Caller) -> None:
    for path, status in (
        ("/issues/1", 200),
        ("/issues/71", 403),
        ("/nothing", 200),
        ("/issues/1?_method=PUT", 403),
    ):
        assert await call("api", path) == status
    for query, status in (
        ("q=a", 200),
        ("q=a&limit=50", 200),
        ("q=a&limit=51", 403),
        ("q=a&tag=x&tag=y", 403),
    ):
        assert await call("api", f"/search?{query}") == status
    assert await call("api", "/search", method="DELETE") == 403
    assert await call("far") == 403
    assert await call("other") in (403, 502)


async def contents(call: Caller) -> None:
    for amount, more, status in (
        *((1, {}, 200), (101, {}, 403), (1001, {}, 403), (1025, {}, 403), (99, {"now": True}, 403)),
        *((5, {"to": {"name": "Ada"}}, 200), (5, {"to": {"name": "Mallory"}}, 403), (2**53 - 1, {}, 403)),
        *((-5, {"to": None}, 403), (0, {"to": None}, 200), (2**53, {}, 400), ("5", {}, 400)),
    ):
        assert await call("api", "/pay", {"amount": amount, **more}) == status
    assert await call("api", "/issues/3", {"state": "open"}, method="PATCH") == 403
    assert await call("api", "/issues/3", {"state": "closed"}, method="PATCH") == 403


async def spoken(call: Caller) -> None:
    for body, refused in (
        (tool("search", query="a", limit=3), False),
        (tool("search", query="secret"), True),
        ([tool("search", 1, query="a"), tool("search", 2, query="b"), message("ping", 3)], False),
        ([tool("search", 1, query="a"), tool("drop_tables", 2)], True),
        ([tool("search", 1, query="a"), tool("search", 2, query="secret")], True),
        ([tool("drop_tables", 1), tool("unknown", 2), tool("search", 3, query="secret")], True),
        (tool("unknown"), True),
        (message("resources/read", 1, uri="file:///x"), False),
        (message("tools/list", 1), False),
    ):
        assert (await call("tools", "/mcp", body) == 403) is refused, body
    for query, variables, refused in (
        ("{viewer{login}}", {}, False),
        ("query Q{viewer{login} a:viewer{id} other}", {}, False),
        ('mutation{createIssue(title:"bug: x"){id}}', {}, False),
        ("mutation M($t:String!){createIssue(title:$t){id}}", {"t": "feature"}, True),
        ('mutation{createIssue(title:"bug: x"){id} deleteAll}', {}, True),
    ):
        status = await call("graph", "/graphql", {"query": query, "variables": variables})
        assert (status == 403) is refused, query
    for model, more, refused in (
        *(("gpt-4o", {}, False), ("other", {}, True), ("gpt-4o", {"max_tokens": 4097}, True)),
        ("gpt-4o", {"tools": [{"type": "function", "function": {"name": "f"}}]}, True),
    ):
        status = await call("model", "/v1/chat/completions", {"model": model, "messages": [], **more})
        assert (status == 403) is refused, model
    for path, status in (("GetAll", 200), ("Empty", 200)):
        assert await call("rpc", f"/shop.v1.Cart/{path}", b"x", "Content-Type: application/grpc") == status
    assert await call("rpc", "/shop.v1.Other/Get", b"x", "Content-Type: application/grpc") == 403
    kind = "Content-Type: application/x-amz-json-1.0"
    for target, status in (("GetItem", 200), ("DeleteTable", 403)):
        assert await call("cloud", "/", b"{}", kind, f"X-Amz-Target: DynamoDB_20120810.{target}") == status


async def spent(call: Caller) -> None:
    assert [await call("meter", "/read") for _ in range(3)] == [200, 200, 429]
    assert await call("meter", "/read", method="DELETE") == 403  # the other rule is told


async def approved(w: World, call: Caller) -> None:
    """A call that waits, is approved, and goes through once."""
    assert await call("api", "/pay", {"amount": 700}) == 403
    with ApprovalStore.open(w.state / "approvals.sqlite3") as store:
        (asked,) = store.list(State.WAITING)
        store.answer(asked.id, Grant(1, 60, ""), Approver("login:ada", frozenset()), int(time.time()))
    assert [await call("api", "/pay", {"amount": 700}) for _ in range(2)] == [200, 403]


async def handed_on(w: World, lead: str) -> None:
    """Calls for somebody else: who is allowed alone, who is not, and one that waits for both."""
    child = Caller(w, (await delegate(w, lead, "tester")).token)
    narrow = Caller(w, (await delegate(w, lead, "tester", scopes=[])).token)
    assert await child("api", "/issues/1") == 200
    assert await narrow("api", "/issues/1") == 403
    assert [await child("api", "/pay", {"amount": amount}) for amount in (1, 500, 5000)] == [403] * 3
    assert await child("tools", "/mcp", [tool("search", 1, query="a"), tool("search", 2, query="b")]) == 200
    assert await child("meter", "/read") == 200
    assert await child("api", "/issues/7") == 403
    assert await child("other") == 403


@contextlib.asynccontextmanager
async def varied(directory: Path, **more: object) -> AsyncIterator[World]:
    """A sidecar with the rules above; ``tester`` is of the standard tier, ``lead`` is not."""
    async with world(
        directory,
        upstream=Upstream(*HOSTS, tls=False),
        agents=[demo_rules.agent(), {**demo_rules.agent("lead"), "tier": "low"}],
        policies=[POLICIES],
        approvals={"wait": 0},
        **{"services": services, **more},
    ) as w:
        w.started = w.another_task(scopes=("read",))
        yield w


async def ask_everything(w: World) -> None:
    """All calls above, and those of somebody who has no scope at a host that is in no service."""
    call = Caller(w, w.started.token)
    await approved(w, call)
    for scene in (rest, contents, spoken, spent):
        await scene(call)
    await Caller(w, w.another_task(agent="lead").token)("other")
    await handed_on(w, w.another_task(agent="lead", scopes=("read",)).token)
    await w.settled()
