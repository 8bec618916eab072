"""C18, C20 at MCP: no message does what was not decided (egress.md, section 5)."""

import json
from hashlib import sha256

import pytest

from proxy.errors import Code
from tests.hostile.assertions import refused
from tests.hostile.reading import JSON, acts, all_refused, allow, arrived, post, serving
from tests.support.world import World, world

OPERATIONS = {
    "safe": {"tool": "safe", "group": "read"},
    "pay": {"tool": "pay", "group": "write", "facts": {"input": {"amount": "long", "to.name?": "string"}}},
    "danger": {"tool": "danger", "group": "admin"},
    "docs": {"rpc": "resources/read", "group": "read"},
}
RULES = [
    allow("some", "api.safe", "api.mcp.session", "api.mcp.list", "api.mcp.reply"),
    allow("cheap", "api.pay", when="context.facts.input.amount <= 100"),
    allow("docs", "api.docs", when='context.facts.mcp.uri == "file:///open"'),
]


def speaking(tmp_path, **more):
    services = serving(OPERATIONS, endpoints={"/mcp": "mcp"}, **more)
    return world(tmp_path, services=services, policies=RULES)


async def ask(w: World, body: bytes, *headers: str):
    """As a client that is told in HTTP: it does not accept events."""
    return await post(w, "/mcp", body, JSON, "Accept: application/json", *headers)


def call(name: str, known: object = 1, **arguments: object) -> dict[str, object]:
    return {
        "jsonrpc": "2.0",
        "id": known,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }


def text(*messages: object) -> bytes:
    """One message, or a batch of several."""
    return json.dumps(messages[0] if len(messages) == 1 else messages).encode()


SAFE, DANGER, PAY = call("safe"), call("danger", 2), call("pay", 3, amount=1)

DENIED = {
    "plain": (text(DANGER), ["api.danger"]),
    "unnamed": (text(call("other")), ["api.mcp.call"]),
    "case": (text(call("Safe")), ["api.mcp.call"]),
    "space": (text(call("safe ")), ["api.mcp.call"]),
    "fullwidth": (text(call("\uff53afe")), ["api.mcp.call"]),
    "escaped": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools\\/c\\u0061ll","params":{"name":"d\\u0061nger"}}',
        ["api.danger"],
    ),
    "notification": (b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"danger"}}', ["api.danger"]),
    "argument": (text(call("pay", amount=101)), ["api.pay"]),
    "last-of-a-batch": (text(SAFE, PAY, DANGER), ["api.danger", "api.safe", "api.pay"]),
    "first-of-a-batch": (text(DANGER, SAFE), ["api.danger", "api.safe"]),
    "argument-in-a-batch": (
        text(call("pay", 1, amount=1), call("pay", 2, amount=1000)),
        ["api.pay", "api.pay"],
    ),
    "notification-in-a-batch": (
        text(SAFE, {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "danger"}}),
        ["api.danger", "api.safe"],
    ),
    "among-replies": (
        text({"jsonrpc": "2.0", "id": 1, "result": {}}, DANGER),
        ["api.danger", "api.mcp.reply"],
    ),
    "another-method": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/invoke","params":{"name":"safe"}}',
        ["api.mcp.other"],
    ),
    "resource": (
        b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///secret"}}',
        ["api.docs"],
    ),
    "resource-by-dots": (
        b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///open/../secret"}}',
        ["api.docs"],
    ),
    "subscription": (
        b'{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"file:///x"}}',
        ["api.mcp.read"],
    ),
}


@pytest.mark.parametrize(
    ("body", "actions"), [pytest.param(*case, id=f"C18-{name}") for name, case in DENIED.items()]
)
async def test_one_denied_message_denies_them_all(tmp_path, body, actions):
    async with speaking(tmp_path) as w:
        record = await refused(w, await ask(w, body), Code.DEFAULT_DENY)
        assert acts(record) == actions


TWO_WAYS = [
    b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","m\\u0065thod":"ping","params":{"name":"safe"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","Name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe"},"params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe"},"Params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"amount":1,"amount":1000}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"amount":1,"Amount":1000}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"amount":1},"Arguments":{}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"amount":1,"to.name":"x"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":[1]}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"amount":1.0}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":["safe","danger"]}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["safe"]}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":""}}',
    b'{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":" tools/call","params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call\\u0020","params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":["tools/call"],"params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":null,"params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"method":""}',
    b'{"jsonrpc":"2.0","id":1,"result":{},"method":"tools/call","params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"},"method":"tools/call","params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"result":{},"params":{"name":"danger"}}',
    b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
    b'{"jsonrpc":"2.0","id":1,"result":{},"Method":"tools/call"}',
    b'{"jsonrpc":"2.0","id":1}',
    b'{"jsonrpc":"2.0","result":{}}',
    b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
    b'{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"ID":2,"method":"ping"}',
    b'{"jsonrpc":"1.0","id":1,"method":"ping"}',
    b'{"jsonrpc":2.0,"id":1,"method":"ping"}',
    b'{"id":1,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","extra":{"method":"tools/call"}}',
    b"[]",
    b"[[%s]]" % text(SAFE),
    b"[%s,[%s]]" % (text(SAFE), text(DANGER)),
    b"[%s,1]" % text(SAFE),
    b"[%s,null]" % text(SAFE),
    text(call("safe", 1), call("safe", 1)),
    text(call("safe", 1), call("safe", "1")),
    text(SAFE, {"jsonrpc": "2.0", "id": 9, "method": "initialize", "params": {}}),
    text(SAFE) + text(DANGER),
    text(SAFE) + b"\n" + text(DANGER),
    b"\xef\xbb\xbf" + text(SAFE),
    text(SAFE).decode().encode("utf-16"),
    b"",
]


async def test_c20_what_two_servers_could_read_differently_never_leaves(tmp_path):
    async with speaking(tmp_path) as w:
        bodies = [body for body in TWO_WAYS if body]
        await all_refused(w, Code.AMBIGUOUS_INPUT, bodies, lambda body: ask(w, body))


async def test_c16_a_batch_has_an_end(tmp_path):
    async with speaking(tmp_path) as w:
        await refused(w, await ask(w, text(*(call("safe", n) for n in range(17)))), Code.BODY_TOO_LARGE)
    async with speaking(tmp_path / "most") as w:
        assert (await ask(w, text(*(call("safe", n) for n in range(16))))).status == 200
        assert acts(w.decisions[0]) == ["api.safe"] * 16


HEADERS = [
    "Mcp-Name: danger",
    "Mcp-Name: Safe",
    "mcp-name:",
    "Mcp-Name: safe, danger",
    "Mcp-Method: tools/list",
    "Mcp-Method: TOOLS/CALL",
    "Mcp-Name: =?base64?ZGFuZ2Vy?=",
    "Mcp-Name: =?BASE64?c2FmZQ==?=",
]


async def test_c18_a_header_that_says_something_else_never_leaves(tmp_path):
    async with speaking(tmp_path) as w:
        await all_refused(w, Code.AMBIGUOUS_INPUT, HEADERS, lambda header: ask(w, text(SAFE), header))


async def test_c18_nor_do_two_of_them_or_one_for_a_batch(tmp_path):
    async with speaking(tmp_path) as w:

        async def send(case):
            return await ask(w, case[0], *case[1:])

        cases = [
            (text(SAFE), "Mcp-Name: safe", "Mcp-Name: danger"),
            (text(SAFE), "Mcp-Name: safe", "mcp-name: safe"),
            (text(SAFE, PAY), "Mcp-Name: safe"),
            (text(SAFE, PAY), "Mcp-Method: tools/call"),
        ]
        await all_refused(w, Code.AMBIGUOUS_INPUT, cases, send)


@pytest.mark.parametrize(
    "kind",
    [
        *(
            "Content-Type: text/plain",
            "Content-Type: application/json-rpc",
            "Content-Type: text/event-stream",
        ),
        *("Content-Type: application/json; charset=utf-16", "X-None: 1", "Content-Type: multipart/form-data"),
        "Content-Type: application/json\r\nContent-Encoding: gzip",
    ],
)
async def test_c18_other_kinds_of_content_never_leave(tmp_path, kind):
    async with speaking(tmp_path) as w:
        answer = await post(w, "/mcp", text(SAFE), *kind.split("\r\n"))
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
async def test_c18_no_other_method_brings_a_message(tmp_path, method):
    async with speaking(tmp_path) as w:
        answer = await post(w, "/mcp", text(DANGER), JSON, method=method)
        await refused(w, answer, Code.AMBIGUOUS_INPUT)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "HEAD"])
async def test_c18_other_methods_are_what_nobody_classed(tmp_path, method):
    async with speaking(tmp_path) as w:
        answer = await w.call("/mcp", method=method)
        assert answer.status == 403
        assert acts(w.decisions[0]) == ["api.mcp.other"]
        assert w.upstream.connections == []


async def test_c18_no_message_comes_over_a_websocket_that_was_opened_for_a_stream(tmp_path):
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    async with speaking(tmp_path) as w:
        answer = await w.call("/mcp", headers=[*upgrade, "Sec-WebSocket-Version: 13"])
        await refused(w, answer, Code.CONTENT_UNSUPPORTED)


async def test_a_client_of_mcp_is_told_in_its_words_and_nothing_leaves(tmp_path):
    async with speaking(tmp_path) as w:
        answer = await post(w, "/mcp", text(DANGER), JSON, "Accept: application/json, text/event-stream")
        told = answer.json()
        assert (answer.status, told["id"], told["error"]["data"]["code"]) == (200, 2, Code.DEFAULT_DENY)
        assert [(record.effect, record.status) for record in w.decisions] == [("deny", 403)]
        assert told["error"]["data"]["record"] == w.decisions[0].id
        assert w.upstream.connections == []


async def test_what_is_allowed_arrives_octet_for_octet(tmp_path):
    async with speaking(tmp_path) as w:
        body = b" [ %s , %s ] " % (text(call("safe", "a")), text(call("pay", "b", amount=100)))
        assert (await ask(w, body)).status == 200
        assert acts(w.decisions[0]) == ["api.safe", "api.pay"]
        assert w.upstream.requests[0].sha256 == sha256(body).hexdigest()
        assert arrived(w) == ["POST /mcp"]
