import hashlib
import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.credential.placeholder import LENGTH, PATTERN, Found, StreamScanner, digest, find, mint, redact

ONE = mint(bytes(range(24))).encode()
TWO = mint(b"\xff" * 32).encode()
FALSE = ONE[:-1] + (b"0" if ONE[-1:] != b"0" else b"1")

RANDOM = st.binary(min_size=24, max_size=32)
# Text made of the letters of the prefix, so that false starts are common.
NOISE = st.lists(
    st.sampled_from([b"g", b"p", b"_", b"gp_", b"gp_A", b"x", b" ", FALSE, ONE[:40]]), max_size=6
).map(b"".join)


@given(RANDOM)
def test_a_minted_one_is_found(randomness):
    placeholder = mint(randomness).encode()
    assert len(placeholder) == LENGTH == 41
    assert PATTERN.fullmatch(placeholder)
    assert find(placeholder) == [placeholder]
    assert re.fullmatch(rb"[A-Za-z0-9_]+", placeholder)  # nothing that a URL or a header would encode


@given(st.sets(RANDOM.filter(lambda data: len(data) == 24), min_size=2, max_size=2))
def test_other_randomness_is_another_placeholder(pair):
    one, other = pair
    limit = 62**32
    if int.from_bytes(one, "big") % limit != int.from_bytes(other, "big") % limit:
        assert mint(one) != mint(other)


def test_too_little_randomness_is_refused():
    with pytest.raises(ValueError, match="24 random octets"):
        mint(bytes(23))


def test_the_checksum_is_looked_at():
    assert find(FALSE) == []
    assert redact(FALSE.decode()) == FALSE.decode()


def test_a_false_start_does_not_hide_the_real_one():
    # 38 legal characters that end with "gp", then "_" and the rest: the matches overlap by two octets.
    hidden = b"gp_" + b"A" * 36 + ONE
    assert find(hidden) == [ONE]
    assert ONE.decode() not in redact(hidden.decode())


def test_the_digest_is_sha256():
    assert digest(ONE) == hashlib.sha256(ONE).hexdigest()


def test_every_one_is_found_also_twice():
    assert find(b"a" + ONE + TWO + b"&" + ONE) == [ONE, TWO, ONE]
    assert find(b"") == find(b"gp_") == []


@given(NOISE, NOISE)
def test_redaction_leaves_everything_else(before, after):
    text = (before + b"/" + TWO + b"/" + after).decode()
    shown = redact(text)
    assert TWO.decode() not in shown
    assert f"/gp_[sha256:{digest(TWO)[:8]}]/" in shown
    assert redact(shown) == shown


@given(st.text())
def test_text_without_one_stays(text):
    assert redact(text) == text


def test_redaction_survives_lone_surrogates():
    assert redact("\ud800" + ONE.decode()) == "\ud800gp_[sha256:" + digest(ONE)[:8] + "]"


def chunks(data, cuts):
    points = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in pairwise(points)]


def scan(pieces):
    scanner, out = StreamScanner(), []
    for piece in pieces:
        result = scanner.feed(piece)
        if isinstance(result, Found):
            return b"".join(out), result
        out.append(result)
    return b"".join(out) + scanner.finish(), None


CUTS = st.lists(st.integers(0, 300), max_size=8)


@given(NOISE, NOISE, CUTS)
@example(b"gp_" + b"A" * 36, b"", [36, 38, 40])
def test_a_placeholder_is_found_over_any_chunk_border(before, after, cuts):
    data = before + ONE + after
    sent, found = scan(chunks(data, cuts))
    assert found == Found(digest(ONE))
    assert data.startswith(sent)
    assert len(sent) <= data.index(ONE)  # not one octet of it has left


@given(st.binary(max_size=100) | NOISE, CUTS)
def test_everything_else_arrives_unchanged(data, cuts):
    if find(data):
        return
    assert scan(chunks(data, cuts)) == (data, None)


@pytest.mark.parametrize("size", range(LENGTH))
def test_at_most_a_beginning_is_held_back(size):
    scanner = StreamScanner()
    assert scanner.feed(b"body " + ONE[:size]) == b"body "
    assert scanner.feed(b" more") == ONE[:size] + b" more"
    assert scanner.finish() == b""


@pytest.mark.parametrize("tail", [b"gp-", b"gpx", b"gp_-", b"gp_" + b"A" * 37 + b" ", b"x", b"_"])
def test_nothing_is_held_back_without_a_reason(tail):
    scanner = StreamScanner()
    assert scanner.feed(b"body" + tail) == b"body" + tail
    assert scanner.finish() == b""
    assert scanner.feed(b"") == b""
