import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.control.guard import admin_token, bearer, foreign, rejected
from proxy.control.problem import Reply
from proxy.errors import Code, Refusal
from proxy.identity.jws import MAX_TOKEN


def test_the_admin_token_is_itself_alone():
    assert admin_token(b"abc", b"abc")
    assert not admin_token(b"abc", b"abd")
    assert not admin_token(b"abc", b"abcd")
    assert not admin_token(b"abc", b"")


def test_an_empty_admin_token_is_nobodys():
    assert not admin_token(b"", b"")


@given(st.binary(), st.binary())
def test_no_two_tokens_are_taken_for_each_other(one, other):
    assert admin_token(one, other) == (one == other != b"")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:1",
        "127.0.0.1:8471",
        "[::1]:8471",
        "[::1]",
        "10.1.2.3",
        "control.example:8471",
        "Control.Example",
    ],
)
def test_addresses_localhost_and_the_configured_name_are_ours(host):
    assert foreign([host], [], "control.example") is None


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["localhost", "localhost"],
        ["evil.example"],
        ["localhost.evil.example"],
        ["127.0.0.1.evil.example"],
        ["localhost@evil.example"],
        ["evil.example#localhost"],
        ["localhost:"],
        ["localhost:123456"],
        ["localhost "],
        ["[::1"],
        ["[localhost]"],
        ["[evil]"],
        ["127.1"],
        ["[::1%25lo]"],
    ],
)
def test_other_hosts_are_misdirected(hosts):
    assert foreign(hosts, [], "127.0.0.1").status == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", ""])
def test_web_pages_are_refused(origin):
    assert foreign(["localhost"], [origin], "127.0.0.1").status == 403


@pytest.mark.parametrize("field", ["Bearer abc", "bearer  abc", "BEARER abc ", "Bearer a.b-c_d~e+f/g=="])
def test_a_bearer_token_is_taken_out(field):
    assert bearer([field]) == field.split()[1].encode()


@pytest.mark.parametrize(
    "fields",
    [
        [],
        ["Bearer abc", "Bearer abc"],
        ["Bearer"],
        ["Bearer "],
        ["Bearerabc"],
        ["Basic YTpi"],
        ["abc"],
        [""],
        ["Bearer a b"],
        ["Bearer abc, Bearer abd"],
        ["Bearer a=b"],
        ["Bearer \u00e9"],
        ["Bearer " + "a" * (MAX_TOKEN + 1)],
    ],
)
def test_anything_else_is_asked_for_a_bearer_token(fields):
    reply = bearer(fields)
    assert isinstance(reply, Reply)
    assert reply.status == 401
    assert dict(reply.headers)["WWW-Authenticate"].startswith("Bearer")


def test_a_token_that_is_not_accepted_is_answered_by_whose_fault_it_is():
    wrong = rejected(Refusal(Code.IDENTITY_EXPIRED, "over"))
    assert (wrong.status, json.loads(wrong.body)["detail"]) == (401, "over")
    assert "invalid_token" in dict(wrong.headers)["WWW-Authenticate"]
    assert rejected(Refusal(Code.AGENT_UNKNOWN, "no operator")).status == 403
    assert rejected(Refusal(Code.KEYS_UNAVAILABLE, "no keys")).status == 503
