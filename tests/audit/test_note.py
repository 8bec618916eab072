import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit import Malformed
from proxy.audit.note import Note, Signature, Signer, Vkey

A, B = Signer("a.example/log", b"\x01" * 32), Signer("b.example/log", b"\x02" * 32)
IMPOSTOR = Signer("a.example/log", b"\x03" * 32)
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"))).map(lambda text: text + "\n")


@given(TEXTS)
def test_a_note_reads_back_and_holds(text):
    note = A.sign(text)
    assert Note.parse(note.format()) == note
    assert note.signers([A.vkey]) == (A.vkey,)


@given(TEXTS, st.integers(0), st.integers(1, 255))
def test_no_altered_octet_holds(text, place, bits):
    data = bytearray(A.sign(text).format())
    data[place % len(data)] ^= bits
    try:
        note = Note.parse(bytes(data))
    except Malformed:
        return
    assert note.signers([A.vkey]) == ()


@given(st.sampled_from([b"", b"t\n", b"\n", b"t\n\n\xe2\x80\x94 "]), st.binary(max_size=60))
def test_what_parses_prints_the_same(start, rest):
    data = start + rest
    try:
        note = Note.parse(data)
    except Malformed:
        return
    assert note.format() == data


def test_text_may_hold_empty_lines():
    note = A.sign("one\n\ntwo\n")
    assert Note.parse(note.format()).text == "one\n\ntwo\n"


def test_unknown_lines_are_ignored_but_not_enough():
    both = Note("t\n", A.sign("t\n").signatures + B.sign("t\n").signatures)
    assert both.signers([A.vkey]) == (A.vkey,)
    assert both.signers([A.vkey, B.vkey]) == (A.vkey, B.vkey)
    assert both.signers([]) == ()
    assert both.signers([IMPOSTOR.vkey]) == ()


def test_a_known_key_that_fails_condemns_the_note():
    bad = Signature(A.vkey.name, A.vkey.id, b"\x00" * 64)
    note = Note("t\n", (*B.sign("t\n").signatures, bad))
    assert note.signers([B.vkey]) == (B.vkey,)
    assert note.signers([A.vkey, B.vkey]) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"t\n",
        b"t\n\n",
        b"t\n\n- a c2ln\n",
        "t\n\n— a c2lnMQ==".encode(),
        "t\n\n— a c2lnMQ==\nrest".encode(),
        "t\n\n— a+b c2lnMTIzNA==\n".encode(),
        "t\n\n—  c2lnMTIzNA==\n".encode(),
        "t\n\n— a c2ln\n".encode(),
        "t\n\n— a c2lnMTIzNB==\n".encode(),
        "t\n\n— a c2ln MTI=\n".encode(),
        "t\r\n\n— a c2lnMTIzNA==\n".encode(),
        "t\x00\n\n— a c2lnMTIzNA==\n".encode(),
        "t\x7f\n\n— a c2lnMTIzNA==\n".encode(),
        b"\xff\n\n\xe2\x80\x94 a c2lnMTIzNA==\n",
        ("t\n\n" + "— a c2lnMTIzNA==\n" * 65).encode(),
        ("t" * 1_000_001 + "\n\n— a c2lnMTIzNA==\n").encode(),
    ],
)
def test_what_is_no_note(data):
    with pytest.raises(Malformed):
        Note.parse(data)


def test_many_signatures_are_accepted():
    assert len(Note.parse(("t\n\n" + "— a c2lnMTIzNA==\n" * 16).encode()).signatures) == 16


@given(st.binary(min_size=32, max_size=32))
def test_a_key_reads_back(seed):
    vkey = Signer("n", seed).vkey
    assert Vkey.parse(str(vkey)) == vkey


GOOD = str(A.vkey)
NAME, ID, KEY = GOOD.split("+", 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        GOOD + "\n",
        " " + GOOD,
        f"{NAME}+00000000+{KEY}",
        f"{NAME}+{ID.upper()}+{KEY}",
        f"other+{ID}+{KEY}",
        f"{NAME}+{ID}+{KEY[:-4]}",
        f"{NAME}+{ID}+{base64.b64encode(b'4' * 33).decode()}",
        f"+{ID}+{KEY}",
        f"{NAME}+{ID}+!",
    ],
)
def test_what_is_no_key(text):
    with pytest.raises(Malformed):
        Vkey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\n"])
def test_what_is_no_key_name(name):
    with pytest.raises(ValueError, match="not a key name"):
        Signer(name, b"\x01" * 32)


@pytest.mark.parametrize("text", ["", "no newline", "bell\x07\n"])
def test_what_cannot_be_signed(text):
    with pytest.raises(ValueError, match="not a note"):
        A.sign(text)


def test_a_key_that_is_no_point_verifies_nothing():
    assert not Vkey("a", b"\xff" * 31).verifies(b"\x00" * 64, b"")


def test_a_signer_has_no_text():
    assert "010101" not in repr(A)
