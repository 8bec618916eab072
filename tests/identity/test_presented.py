"""Proxy-Authorization: exactly one, Basic or Bearer, nothing clever."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.identity.presented import Presented, presented

TOKEN = b"aaa.bbb.ccc"


def basic(user_pass: bytes) -> bytes:
    return b"Basic " + base64.b64encode(user_pass)


def read(*values: bytes) -> Presented | Code:
    result = presented(tuple((b"Proxy-Authorization", value) for value in values))
    return result.code if isinstance(result, Refusal) else result


def test_basic_carries_the_token_as_its_password():
    assert read(basic(b"task:" + TOKEN)) == Presented("basic", TOKEN, "task")


@pytest.mark.parametrize(
    ("username", "text"),
    [
        (b"", ""),
        (b"t-abc", "t-abc"),
        (b"a b~", "a b~"),
        (b"a" * 256, "a" * 256),
        (b"a" * 257, ""),
        ("ü".encode(), ""),
        (b"\xff", ""),
        (b"a\n", ""),
        (b"a\x7f", ""),
    ],
)
def test_the_username_is_plain_text_or_nothing(username, text):
    assert read(basic(username + b":" + TOKEN)) == Presented("basic", TOKEN, text)


@pytest.mark.parametrize(("user_pass", "username"), [(b"t-abc:", "t-abc"), (b":", ""), (b"\xff:", "")])
def test_an_empty_password_selects_and_proves_nothing(user_pass, username):
    assert read(basic(user_pass)) == Presented("basic", b"", username)


def test_bearer_and_the_case_of_scheme_and_name():
    assert read(b"Bearer " + TOKEN) == read(b"bEARER  " + TOKEN) == read(b" bearer " + TOKEN + b" ")
    assert read(b"Bearer " + TOKEN) == Presented("bearer", TOKEN)
    assert presented(((b"proxy-AUTHORIZATION", b"Bearer " + TOKEN),)) == Presented("bearer", TOKEN)


def test_none_is_missing_and_the_origin_s_own_credential_is_not_ours():
    assert read() is Code.IDENTITY_MISSING
    refusal = presented(((b"Authorization", b"Bearer " + TOKEN), (b"X-Agent-Id", b"coder")))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.IDENTITY_MISSING


@pytest.mark.parametrize(
    "values",
    [
        (b"Bearer a", b"Bearer a"),
        (b"Bearer a", basic(b"x:a")),
        (b"",),
        (b"Bearer",),
        (b"Bearer ",),
        (b"Bearer a b",),
        (b"Bearer a, Bearer b",),
        (b"Bearer\ta",),
        (b"Bearer a\x00",),
        (b"Digest username=x",),
        (b"Negotiate AAAA",),
        (b"Basic",),
        (b"Basic !!!!",),
        (b"Basic YQ",),
        (basic(b"no colon"),),
        (basic(b"task:" + b"a" * 20_000),),
        (b"Bearer " + b"a" * 20_000,),
        (b"Bearer " + b"a" * 100_000,),
    ],
    ids=lambda values: repr(values)[:40],
)
def test_two_or_malformed_are_invalid(values):
    assert read(*values) is Code.IDENTITY_INVALID


@given(
    st.binary(max_size=20).filter(lambda name: b":" not in name),
    st.from_regex(rb"[A-Za-z0-9._-]{1,80}", fullmatch=True),
)
def test_whatever_the_client_s_username_the_token_comes_back(username, token):
    found = read(basic(username + b":" + token))
    assert isinstance(found, Presented)
    assert (found.scheme, found.token) == ("basic", token)
    assert found.username in {username.decode("latin-1"), ""}


@given(
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=256).filter(
        lambda n: ":" not in n
    )
)
def test_a_plain_username_comes_back(username):
    assert read(basic(username.encode() + b":")) == Presented("basic", b"", username)


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_anything_gets_an_answer(values):
    assert isinstance(read(*values), Presented | Code)


def test_repr_shows_no_token():
    assert "aaa" not in repr(Presented("bearer", TOKEN))
