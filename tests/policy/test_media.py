import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.content import Call
from proxy.policy.media import FORM, MAX_FIELDS, form, media_type


def call(*headers):
    return Call("POST", "/", (), headers, has_body=True, body=b"")


@pytest.mark.parametrize(
    "value",
    [
        b"application/json",
        b"Application/JSON",
        b" application/json ;charset=utf-8",
        b'application/json; charset="UTF-8"',
    ],
)
def test_one_accepted_type_in_utf_8_is_told(value):
    assert media_type(call((b"Content-Type", value)), ("application/json",)) == "application/json"


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"content-type", b""),),
        ((b"content-type", b"text/plain"),),
        ((b"content-type", b"application/json, text/plain"),),
        ((b"content-type", b"application/json"), (b"Content-Type", b"application/json")),
        ((b"content-type", b"application/json; charset=utf-16"),),
        ((b"content-type", b"application/json; charset=utf-8; charset=utf-7"),),
        ((b"content-type", b"application/json"), (b"content-encoding", b"gzip")),
        ((b"content-type", b"application/json"), (b"Content-Encoding", b"identity, br")),
    ],
)
def test_every_other_type_is_unsupported(headers):
    found = media_type(call(*headers), ("application/json",))
    assert isinstance(found, Refusal)
    assert found.code is Code.CONTENT_UNSUPPORTED


def test_what_nobody_reads_may_be_compressed():
    headers = ((b"content-type", b"text/x"), (b"content-encoding", b"gzip"))
    assert media_type(call(*headers), ("text/x",), coded=True) == "text/x"


FIELDS = st.lists(st.tuples(st.text(), st.text()).filter(any))


@given(FIELDS, st.booleans())
def test_a_form_means_the_same_however_it_is_encoded(pairs, plus):
    encode = quote_plus if plus else (lambda text: quote(text, safe=""))
    body = "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)
    assert form(body.encode()) == tuple(pairs)


@given(FIELDS)
def test_a_form_may_encode_every_octet(pairs):
    def encode(text):
        return "".join(f"%{octet:02x}" for octet in text.encode())

    body = "&".join(f"{encode(name)}={encode(value)}" for name, value in pairs)
    assert form(body.encode()) == tuple(pairs)


@pytest.mark.parametrize("body", [b"a=%", b"a=%zz", b"a=%ff", b"a=b\r\n", b"a=b c", b"a=\xc3\xa9", b"a=\0"])
def test_what_is_no_form_is_ambiguous(body):
    found = form(body)
    assert isinstance(found, Refusal)
    assert found.code is Code.AMBIGUOUS_INPUT
    assert "query" not in found.detail


@given(st.text(alphabet=string.printable))
def test_any_text_is_a_form_or_refused(text):
    assert isinstance(form(text.encode()), (tuple, Refusal))


def test_the_name_of_a_form():
    assert media_type(call((b"content-type", FORM.encode())), (FORM,)) == FORM


def test_a_form_has_so_many_fields_at_most():
    assert form(b"&".join([b"a=1"] * MAX_FIELDS)) == (("a", "1"),) * MAX_FIELDS
    found = form(b"&" * MAX_FIELDS)
    assert isinstance(found, Refusal)
    assert found.code is Code.BODY_TOO_LARGE
