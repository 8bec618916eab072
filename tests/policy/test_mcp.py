"""What MCP messages do, and which of them are refused because servers could read them differently."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.content import MAX_ACTS, Call, Classified, Watch
from proxy.policy.fact import FactField, FactType, Place, Protocol, Selector
from proxy.policy.mcp import classify
from proxy.policy.needs import NOTHING, Needs
from proxy.policy.operation import Group, Operation
from tests.policy.worlds_calls import HEADERS, service

ALL = Needs(frozenset(), frozenset({"mcp", "input"}), approval=False, content=False)
OPERATIONS = (
    Operation(
        "s.search",
        Group.READ,
        selector=Selector(Protocol.MCP, "tool:search_issues"),
        facts=(
            FactField(Place.INPUT, ("query",), FactType.STRING, required=True),
            FactField(Place.INPUT, ("limit",), FactType.LONG, required=False),
        ),
    ),
    Operation("s.gets", Group.READ, selector=Selector(Protocol.MCP, "tool:get_*")),
    Operation("s.docs", Group.READ, selector=Selector(Protocol.MCP, "rpc:resources/read")),
    Operation("s.everything", Group.READ, selector=Selector(Protocol.MCP, "rpc:tools/*")),
)
SERVICE = service(*OPERATIONS, protocol=Protocol.MCP)


def post(document, *headers, body=None):
    data = json.dumps(document).encode() if body is None else body
    return Call("POST", "/mcp", (), (*HEADERS, *headers), has_body=True, body=data)


def request(method, params=None, known=1):
    message = {"jsonrpc": "2.0", "method": method, "id": known}
    if params is not None:
        message["params"] = params
    if known is None:
        del message["id"]
    return message


def tool(name, arguments=None, known=1):
    return request(
        "tools/call", {"name": name} | ({} if arguments is None else {"arguments": arguments}), known
    )


def acts(found):
    assert isinstance(found, Classified), found
    return [(act.operation.id, json.loads(act.facts)) for act in found.acts]


def act(document, *headers, needs=ALL):
    (only,) = acts(classify(post(document, *headers), SERVICE, needs))
    return only


def refused(found, *words, code=Code.AMBIGUOUS_INPUT):
    assert isinstance(found, Refusal), found
    assert found.code is code
    assert all(word in found.detail for word in words), found.detail
    return True


def facts(method="", name="", uri="", *, batch=False):
    return {"batch": batch, "method": method, "tool": name, "uri": uri}


def test_a_tool_is_an_operation_with_its_declared_arguments():
    found = act(tool("search_issues", {"query": "bug", "limit": 5, "other": [1]}))
    assert found == (
        "s.search",
        {"mcp": facts("tools/call", "search_issues"), "input": {"query": "bug", "limit": 5}},
    )


def test_facts_are_canonical():
    found = classify(post(tool("search_issues", {"query": "bug", "limit": 5})), SERVICE, ALL)
    assert isinstance(found, Classified)
    assert found.acts[0].facts == (
        b'{"input":{"limit":5,"query":"bug"},'
        b'"mcp":{"batch":false,"method":"tools/call","tool":"search_issues","uri":""}}'
    )


def test_only_what_rules_read_is_a_fact():
    one = Needs(frozenset(), frozenset({"input"}), approval=False, content=False)
    assert act(tool("search_issues", {"query": "bug"}), needs=one) == (
        "s.search",
        {"input": {"query": "bug"}},
    )
    # What nobody reads is not judged either.
    assert act(tool("search_issues", {"query": 1}), needs=NOTHING) == ("s.search", {})
    assert act(tool("get_me", {"a": 1}), needs=one) == ("s.gets", {})


@pytest.mark.parametrize(
    ("name", "operation"),
    [("get_me", "s.gets"), ("get_", "s.gets"), ("delete_all", "s.mcp.call"), ("*", "s.mcp.call")],
)
def test_tools_by_prefix_and_unknown_ones(name, operation):
    assert act(tool(name)) == (operation, {"mcp": facts("tools/call", name)})


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (None, "query"),
        ({}, "query"),
        ({"query": None}, "query"),
        ({"query": 1}, "query"),
        ({"query": "x", "limit": "5"}, "limit"),
        ({"query": "x", "limit": 5.0}, "limit"),
        ({"query": "x", "Query": "y"}, "Query"),
        ([], "arguments"),
        ("query", "arguments"),
        (0, "arguments"),
        (False, "arguments"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(arguments, word):
    assert refused(classify(post(tool("search_issues", arguments)), SERVICE, ALL), word)


@pytest.mark.parametrize(
    ("method", "params", "operation", "uri"),
    [
        ("initialize", {"protocolVersion": "2025-06-18"}, "s.mcp.session", ""),
        ("ping", None, "s.mcp.session", ""),
        ("server/discover", {"_meta": {"a/b": 1}}, "s.mcp.session", ""),
        ("subscriptions/listen", {"notifications": {}}, "s.mcp.read", ""),
        ("logging/setLevel", {"level": "info"}, "s.mcp.session", ""),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}}, "s.mcp.session", ""),
        ("notifications/initialized", None, "s.mcp.session", ""),
        ("tools/list", {"cursor": "x"}, "s.everything", ""),
        ("resources/list", None, "s.mcp.list", ""),
        ("resources/templates/list", None, "s.mcp.list", ""),
        ("prompts/list", {}, "s.mcp.list", ""),
        ("resources/read", {"uri": "file:///a"}, "s.docs", "file:///a"),
        ("resources/subscribe", {"uri": "file:///a"}, "s.mcp.read", "file:///a"),
        ("resources/unsubscribe", {"uri": "file:///a"}, "s.mcp.read", "file:///a"),
        ("prompts/get", {"name": "greet", "arguments": {"a": "b"}}, "s.mcp.read", "greet"),
        ("tools/delete", None, "s.everything", ""),
        ("sampling/createMessage", {"uri": "x"}, "s.mcp.other", "x"),
        ("tool:search_issues", None, "s.mcp.other", ""),
    ],
)
def test_other_methods(method, params, operation, uri):
    assert act(request(method, params)) == (operation, {"mcp": facts(method, uri=uri)})
    notification = request(method, params, known=None)
    assert act(notification) == (operation, {"mcp": facts(method, uri=uri)})


@pytest.mark.parametrize(
    "answer", [{"result": {}}, {"result": None}, {"error": {"code": 1, "message": "no"}}]
)
def test_an_answer_of_the_client(answer):
    assert act({"jsonrpc": "2.0", "id": "s1", **answer}) == ("s.mcp.reply", {"mcp": facts()})
    nothing = {"jsonrpc": "2.0", "id": None, **answer}
    assert isinstance(classify(post(nothing), SERVICE, ALL), Refusal) is ("result" in answer)


def test_a_batch_is_all_of_its_messages():
    batch = [tool("get_me"), request("ping", known="1x"), request("notifications/progress", known=None)]
    answer = {"jsonrpc": "2.0", "id": 1, "result": {}}  # ids of answers are the server's
    assert acts(classify(post([*batch, answer]), SERVICE, ALL)) == [
        ("s.gets", {"mcp": facts("tools/call", "get_me", batch=True)}),
        ("s.mcp.session", {"mcp": facts("ping", batch=True)}),
        ("s.mcp.session", {"mcp": facts("notifications/progress", batch=True)}),
        ("s.mcp.reply", {"mcp": facts(batch=True)}),
    ]
    assert acts(classify(post([tool("get_me")]), SERVICE, ALL))[0][1]["mcp"]["batch"] is True


def test_a_batch_has_a_bound():
    batch = [request("ping", known=i) for i in range(MAX_ACTS)]
    assert len(acts(classify(post(batch), SERVICE, ALL))) == MAX_ACTS
    assert refused(classify(post([*batch, tool("x", known="x")]), SERVICE, ALL), code=Code.BODY_TOO_LARGE)


@pytest.mark.parametrize(
    "batch",
    [
        [],
        [[tool("get_me")]],
        [tool("get_me"), None],
        [tool("get_me"), tool("get_you")],
        [tool("get_me"), tool("get_you", known="1")],
        [request("initialize"), request("ping", known=2)],
        [request("initialize")],
        [tool("get_me"), {"jsonrpc": "2.0", "id": 2}],
    ],
)
def test_a_batch_that_is_refused_as_a_whole(batch):
    assert refused(classify(post(batch), SERVICE, ALL))


GOOD = tool("get_me")


@pytest.mark.parametrize(
    "document",
    [
        None,
        "tools/call",
        1,
        {},
        {**GOOD, "jsonrpc": "1.0"},
        {**GOOD, "jsonrpc": 2.0},
        {key: value for key, value in GOOD.items() if key != "jsonrpc"},
        {**GOOD, "method": None},
        {**GOOD, "method": ""},
        {**GOOD, "method": ["tools/call"]},
        {**GOOD, "method": "tools/Call"},
        {**GOOD, "method": " tools/call"},
        {**GOOD, "method": "tools/call\n"},
        {**GOOD, "Method": "tools/call"},
        {**GOOD, "extra": 1},
        {**GOOD, "id": None},
        {**GOOD, "id": True},
        {**GOOD, "id": 1.5},
        {**GOOD, "id": [1]},
        {**GOOD, "id": {}},
        {**GOOD, "result": {}},
        {**GOOD, "error": {}},
        {**GOOD, "params": None},
        {**GOOD, "params": ["get_me"]},
        {**GOOD, "params": "get_me"},
        {**GOOD, "params": {}},
        {**GOOD, "params": {"name": ""}},
        {**GOOD, "params": {"name": 1}},
        {**GOOD, "params": {"name": "get_me", "Name": "delete_all"}},
        {**GOOD, "params": {"name": "get_me", "ARGUMENTS": {}}},
        request("resources/read"),
        request("resources/read", {"uri": 1}),
        request("resources/read", {"URI": "x"}),
        request("prompts/get", {}),
        request("x", {"uri": 1}),
        {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "params": {}},
        {"jsonrpc": "2.0", "id": 1.5, "result": {}},
        {"jsonrpc": "2.0", "id": False, "result": {}},
        {"jsonrpc": "2.0", "result": {}},
        {"jsonrpc": "2.0", "error": {}},
    ],
)
def test_what_is_no_message_is_refused(document):
    assert refused(classify(post(document), SERVICE, ALL))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"delete_all"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_me","name":"delete_all"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
    ],
)
def test_what_is_not_exactly_one_document_is_refused(body):
    assert refused(classify(post(None, body=body), SERVICE, ALL))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"Content-Type", b"text/plain"),),
        ((b"Content-Type", b"application/json; charset=utf-16"),),
        ((b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")),
        ((b"Content-Type", b"application/json"), (b"Content-Type", b"application/json")),
    ],
)
def test_another_kind_of_content_is_refused(headers):
    call = Call("POST", "/mcp", (), headers, has_body=True, body=json.dumps(GOOD).encode())
    assert refused(classify(call, SERVICE, ALL), code=Code.CONTENT_UNSUPPORTED)


@pytest.mark.parametrize(
    ("document", "headers", "agree"),
    [
        (GOOD, ((b"Mcp-Method", b"tools/call"), (b"mcp-name", b"get_me")), True),
        (GOOD, ((b"Mcp-Method", b"tools/list"),), False),
        (GOOD, ((b"Mcp-Method", b"tools/call"), (b"Mcp-Name", b"get_you")), False),
        (GOOD, ((b"Mcp-Method", b"tools/call"), (b"Mcp-Method", b"tools/call")), False),
        (GOOD, ((b"Mcp-Name", b"Get_me"),), False),
        (tool("get_\u00e9"), ((b"Mcp-Name", "get_\u00e9".encode()),), True),
        (tool("get_\u00e9"), ((b"Mcp-Name", b"=?base64?Z2V0X8Op?="),), True),
        (tool("get_\u00e9"), ((b"Mcp-Name", b"=?base64?Z2V0X8Oq?="),), False),
        (tool("get_\u00e9"), ((b"Mcp-Name", b"=?base64?Z2V0X8Op"),), False),
        (tool("=?base64?eA==?="), ((b"Mcp-Name", b"=?base64?eA==?="),), False),
        ([GOOD, request("ping", known=2)], ((b"Mcp-Method", b"tools/call"),), False),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, ((b"Mcp-Method", b"ping"),), False),
        (request("resources/read", {"uri": "a:b"}), ((b"Mcp-Name", b"a:b"),), True),
    ],
)
def test_headers_that_contradict_the_message_are_refused(document, headers, agree):
    found = classify(post(document, *headers), SERVICE, ALL)
    assert isinstance(found, Classified) if agree else refused(found, "Mcp-")


def bare(method, *, has_body=False, body=None):
    return Call(method, "/mcp", (), HEADERS, has_body=has_body, body=body)


@pytest.mark.parametrize(
    ("method", "operation", "watch"),
    [
        ("GET", "s.mcp.session", Watch.MCP),
        ("DELETE", "s.mcp.session", None),
        ("PUT", "s.mcp.other", None),
        ("OPTIONS", "s.mcp.other", None),
    ],
)
def test_methods_without_messages(method, operation, watch):
    found = classify(bare(method), SERVICE, ALL)
    assert acts(found) == [(operation, {"mcp": facts()})]
    assert found.watch is watch
    assert acts(classify(bare(method, has_body=True, body=b""), SERVICE, ALL)) == acts(found)
    assert refused(classify(bare(method, has_body=True, body=b"{}"), SERVICE, ALL), method)


@pytest.mark.parametrize(
    ("document", "watched"),
    [
        (request("tools/list"), True),
        ([GOOD, request("tools/list", known=2)], True),
        (request("some/thing"), True),
        (GOOD, False),
        (request("initialize"), False),
        (request("notifications/initialized", known=None), False),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, False),
    ],
)
def test_answers_that_may_hold_tools_are_watched(document, watched):
    found = classify(post(document), SERVICE, NOTHING)
    assert isinstance(found, Classified)
    assert found.watch is (Watch.MCP if watched else None)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=4)
    | st.sampled_from(["tools/call", "2.0", "get_me"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["jsonrpc", "id", "method", "params", "result", "name", "arguments", "x"]), inner
        )
    ),
)


@given(
    JSON
    | st.dictionaries(st.sampled_from(["id", "method", "params", "x"]), JSON).map(
        lambda m: {"jsonrpc": "2.0", **m}
    )
)
def test_every_document_is_classified_or_refused(document):
    found = classify(post(document), SERVICE, ALL)
    if isinstance(found, Refusal):
        assert found.code in {Code.AMBIGUOUS_INPUT, Code.BODY_TOO_LARGE}
    else:
        messages = document if isinstance(document, list) else [document]
        assert len(found.acts) == len(messages)
        for message, one in zip(messages, found.acts, strict=True):
            called = message.get("method") == "tools/call"
            assert called == (one.operation.id in {"s.search", "s.gets", "s.mcp.call"})


@given(JSON, st.integers(), st.booleans())
def test_the_spelling_of_a_message_does_not_matter(arguments, known, escaped):
    message = tool("get_me", {"a": arguments}, known % 2**53)
    plain = classify(post(message), SERVICE, ALL)
    text = json.dumps(dict(reversed(message.items())), indent=2, ensure_ascii=escaped)
    text = text.replace('"name"', '"n\\u0061me"').replace('"method"', '"\\u006dethod"')
    assert classify(post(None, body=text.encode()), SERVICE, ALL) == plain
