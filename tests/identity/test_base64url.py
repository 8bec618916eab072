"""base64url: one spelling for every string of octets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.base64url import decode, encode


@given(st.binary(max_size=200))
def test_what_was_encoded_is_decoded(octets):
    assert decode(encode(octets)) == octets


@given(st.text(alphabet="ABab01-_=+/ \n.ü", max_size=12).map(str.encode))
def test_what_is_decoded_has_no_other_spelling(text):
    octets = decode(text)
    assert octets is None or encode(octets) == text


@pytest.mark.parametrize(
    "text", [b"A", b"AAAAA", b"AA==", b"AA=", b"AB", b"AAB", b"+A", b"/A", b"A A", b"AA\n", b"\xff"]
)
def test_other_spellings_are_none(text):
    assert decode(text) is None


def test_the_empty_spelling_is_no_octets():
    assert decode(b"") == b""
