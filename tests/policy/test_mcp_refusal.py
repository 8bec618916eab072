"""Who gets a refusal in the words of MCP, and what it says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.message import RequestHead, first
from proxy.http.problem import problem
from proxy.policy.mcp_refusal import REFUSED, asked, rpc_error

BOTH = (b"Accept", b"application/json, text/event-stream")
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "pay"}}
RECORD = "01JZZZZZZZZZZZZZZZZZZZZZZZ"


def head(*headers, method="POST"):
    return RequestHead(method, b"/mcp", "1.1", headers or (BOTH,))


def content(**changed):
    message = {name: value for name, value in (CALL | changed).items() if value != ...}
    return json.dumps(message).encode()


@pytest.mark.parametrize("known", [0, 7, -1, 2**63 - 1, "", "a", "\u2028"])
def test_a_request_is_known_by_its_id(known):
    assert asked(head(), content(id=known)) == known


@pytest.mark.parametrize(
    "accept",
    [
        ((b"accept", b"text/event-stream"), (b"Accept", b"APPLICATION/JSON")),
        ((b"Accept", b"application/json;q=0.9 , text/event-stream ; q=1"),),
    ],
)
def test_a_client_may_say_in_any_way_that_it_accepts_both(accept):
    assert asked(head(*accept), content()) == 7


@pytest.mark.parametrize(
    ("request_head", "body"),
    [
        (head((b"Accept", b"application/json")), content()),
        (head((b"Accept", b"*/*")), content()),
        (head((b"Host", b"tools.test")), content()),
        (head(method="PUT"), content()),
        (head(), None),
        (head(), b""),
        (head(), b"{"),
        (head(), content()[:-1] + b',"id":8}'),
        (head(), b"[" + content() + b"]"),
        (head(), content(jsonrpc="1.0")),
        (head(), content(method=...)),
        (head(), content(id=...)),
        (head(), content(id=None)),
        (head(), content(id=True)),
        (head(), content(id=1.5)),
        (head(), content(id=2**64)),
    ],
)
def test_all_others_are_told_by_http(request_head, body):
    assert asked(request_head, body) is None


def test_the_error_says_what_the_problem_says():
    refusal = Refusal(Code.RATE_LIMITED, "the budget is spent", "gatepass.budget.tools.hourly", 60)
    status, headers, body = rpc_error(refusal, "a", record_id=RECORD)
    _, plain, document = problem(refusal, record_id=RECORD)
    told = json.loads(document)
    assert status == 200
    assert json.loads(body) == {
        "jsonrpc": "2.0",
        "id": "a",
        "error": {"code": REFUSED, "message": told["error"], "data": told},
    }
    assert told["status"] == 429
    assert first(headers, b"content-type") == b"application/json"
    assert first(headers, b"content-length") == b"%d" % len(body)
    assert first(headers, b"retry-after") == b"60"
    assert [name for name, _ in headers] == [name for name, _ in plain]


@given(st.text() | st.integers(-(2**63), 2**63 - 1), st.text())
def test_every_id_comes_back_as_it_was(known, detail):
    found = asked(head(), content(id=known))
    assert (found, type(found)) == (known, type(known))
    _, _, body = rpc_error(Refusal(Code.POLICY_DENY, detail), found, record_id=RECORD)
    assert json.loads(body)["id"] == known
