"""A refusal reads well and cannot be used to write into somebody's headers, logs or terminals."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import MEANING, Code, Refusal
from proxy.http.field import VALUE
from proxy.http.message import values
from proxy.http.problem import printable, problem, reason_phrase

RECORD = "01JZZZZZZZZZZZZZZZZZZZZZZZ"


def test_the_answer_to_a_denied_call():
    refusal = Refusal(Code.POLICY_DENY, "DELETE is not for interns", rule="no-deletes")
    status, headers, body = problem(refusal, record_id=RECORD, instance=f"urn:gatepass:record:{RECORD}")
    assert status == 403
    assert json.loads(body) == {
        "type": "urn:gatepass:problem:policy_deny",
        "title": "A rule forbids this call",
        "status": 403,
        "detail": "DELETE is not for interns",
        "code": "policy_deny",
        "fault": "agent",
        "rule": "no-deletes",
        "record": RECORD,
        "retry": MEANING[Code.POLICY_DENY].advice,
        "error": "gatepass: A rule forbids this call: DELETE is not for interns",
        "errors": [
            {
                "message": "gatepass: A rule forbids this call: DELETE is not for interns",
                "extensions": {
                    "code": "policy_deny",
                    "rule": "no-deletes",
                    "record": RECORD,
                    "retry": MEANING[Code.POLICY_DENY].advice,
                },
            }
        ],
        "instance": f"urn:gatepass:record:{RECORD}",
    }
    assert headers == (
        (b"Content-Type", b"application/problem+json"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (
            b"Proxy-Status",
            b"gatepass; error=http_request_denied; "
            b'details="code=policy_deny rule=no-deletes record='
            + RECORD.encode()
            + b' DELETE is not for interns"',
        ),
    )


def test_members_without_a_value_are_absent():
    _, headers, body = problem(Refusal(Code.DRAINING, "x"), record_id=RECORD)
    assert not {"rule", "instance", "retry_after"} & json.loads(body).keys()
    assert not values(headers, b"retry-after")


def test_when_to_come_back():
    _, headers, body = problem(Refusal(Code.TUNNELS_EXCEEDED, "x", retry_after=0), record_id=RECORD)
    assert values(headers, b"retry-after") == [b"0"]
    assert json.loads(body)["retry_after"] == 0


@pytest.mark.parametrize("code", Code)
def test_every_code_has_its_words(code):
    status, headers, body = problem(Refusal(code, "x"), record_id=RECORD)
    assert status == json.loads(body)["status"] == MEANING[code].status
    challenges = [b'Basic realm="gatepass"', b'Bearer realm="gatepass"'] if status == 407 else []
    assert values(headers, b"proxy-authenticate") == challenges
    phrase = reason_phrase(Refusal(code, "x"), RECORD)
    assert phrase.startswith("policy_denied " if status == 403 else "refused ")
    assert f"code={code.value} record={RECORD}" in phrase


def test_the_phrase_of_a_refused_tunnel():
    refusal = Refusal(Code.PORT, "port 22 is not open", rule="ports")
    expected = f"policy_denied code=port rule=ports record={RECORD} The port is not open for agents: port 22 is not open"
    assert reason_phrase(refusal, RECORD) == expected


def test_quotes_and_backslashes_are_escaped_in_structured_fields():
    _, headers, _ = problem(Refusal(Code.MALFORMED, 'a"b\\c'), record_id=RECORD)
    [value] = values(headers, b"proxy-status")
    assert value.endswith(b' a\\"b\\\\c"')


def test_printable():
    assert printable("é and 🎫") == "é and 🎫"
    assert printable("a\r\n\x1b[31m\u2028\u202e\x7f\x00\ud800") == (
        "a\\r\\n\\x1b[31m\\u2028\\u202e\\x7f\\x00\\ud800"
    )


HOSTILE = st.text(max_size=30) | st.text(alphabet='\r\n\t\x00\x1b\x7f\u2028\u202e\ud800"\\é', max_size=30)


def test_a_client_that_shows_the_message_of_an_error_gets_one():
    refusal = Refusal(Code.RATE_LIMITED, "the budget is spent", "gatepass.budget.api.hourly", 60)
    plain, nested = (json.loads(problem(refusal, record_id=RECORD, nested=how)[2]) for how in (False, True))
    assert nested.pop("error") == {
        "message": plain["error"],
        "type": "rate_limited",
        "code": "rate_limited",
        "rule": "gatepass.budget.api.hourly",
        "record": RECORD,
        "retry": MEANING[Code.RATE_LIMITED].advice,
        "retry_after": 60,
    }
    assert nested == {name: value for name, value in plain.items() if name != "error"}


@given(HOSTILE, HOSTILE, HOSTILE)
def test_nothing_hostile_gets_out(detail, rule, record):
    refusal = Refusal(Code.DEST_PRIVATE, detail, rule=rule)
    _, headers, body = problem(refusal, record_id=record, instance=detail)
    members = json.loads(body)
    assert all(str(member).isprintable() for member in members.values())
    assert all(VALUE.fullmatch(value) and value.isascii() for _, value in headers)
    [status] = values(headers, b"proxy-status")
    assert re.fullmatch(rb'gatepass; error=[a-z_]+; details="(?:[ !#-\[\]-~]|\\["\\])*"', status)
    phrase = reason_phrase(refusal, record)
    assert re.fullmatch(r"[ -~]{1,240}", phrase)


def test_long_details_stay_out_of_headers():
    refusal = Refusal(Code.MALFORMED, '"' * 100_000)
    _, headers, body = problem(refusal, record_id=RECORD)
    assert max(len(value) for _, value in headers) < 600
    assert len(reason_phrase(refusal, RECORD)) == 240
    assert len(json.loads(body)["detail"]) == 100_000
