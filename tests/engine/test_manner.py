"""A refusal is told in the words that a client shows."""

import json

from proxy.engine import reply
from proxy.engine.enforce import Refused
from proxy.engine.manner import PLAIN, Manner, manner
from proxy.errors import Code, Refusal
from proxy.http.message import RequestHead

CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call"}'
ACCEPTS = (b"Accept", b"application/json, text/event-stream")
STAINLESS = (b"X-Stainless-Lang", b"python")
REFUSED = Refused(Refusal(Code.POLICY_DENY, "not today", "closed"), "01JZZZZZZZZZZZZZZZZZZZZZZZ")


def head(*headers):
    return RequestHead("POST", b"/", "1.1", headers)


def told(how: Manner):
    start, _, body = reply.refusal(REFUSED, method="POST", keep=True, manner=how).partition(b"\r\n\r\n")
    return int(start.split()[1]), json.loads(body)


def test_by_default_it_is_text():
    how = manner(head((b"Accept", b"application/json")), CALL)
    assert how == PLAIN
    status, document = told(how)
    assert (status, document["error"]) == (403, "gatepass: A rule forbids this call: not today")


def test_an_sdk_of_stainless_gets_an_object():
    how = manner(head(STAINLESS), None)
    assert how == Manner(None, nested=True)
    status, document = told(how)
    assert (status, document["error"]["message"]) == (403, "gatepass: A rule forbids this call: not today")
    assert document["error"]["rule"] == "closed"


def test_a_client_of_mcp_gets_json_rpc():
    how = manner(head(ACCEPTS, STAINLESS), CALL)
    assert how.request == 7
    status, document = told(how)
    assert (status, document["id"]) == (200, 7)
    assert document["error"]["message"] == "gatepass: A rule forbids this call: not today"
    assert manner(head(ACCEPTS), None) == PLAIN
