"""Chunked bodies, wherever the wire cuts them, and never more than llhttp would accept."""

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import Code
from proxy.http.chunked import LAST, ChunkedDecoder, encode, format_trailers

TRAILERS = ((b"X-Sum", b"1"), (b"x-Empty", b""))


def decode(*pieces: bytes, max_trailer: int = 8192) -> tuple[ChunkedDecoder, bytes]:
    decoder = ChunkedDecoder(max_trailer)
    body = b"".join(part for piece in pieces for part in decoder.feed(piece))
    return decoder, body


def test_one_body_under_every_split():
    wire = b"4;x=1\r\nWiki\r\nA\r\npedia in\r\n\r\n00\r\nX-Sum: 1\r\nx-Empty:\r\n\r\nGET / HTTP/1.1\r\n"
    for cut in range(len(wire) + 1):
        for second in range(cut, len(wire) + 1):
            decoder, body = decode(wire[:cut], wire[cut:second], wire[second:])
            assert (body, decoder.error, decoder.done) == (b"Wikipedia in\r\n", None, True)
            assert (decoder.trailers, decoder.rest) == (TRAILERS, b"GET / HTTP/1.1\r\n")
    decoder, body = decode(*(wire[at : at + 1] for at in range(len(wire))))
    assert (body, decoder.rest) == (b"Wikipedia in\r\n", b"GET / HTTP/1.1\r\n")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.binary(max_size=9), st.data())
def test_round_trip(pieces, rest, data):
    wire = b"".join(map(encode, pieces)) + format_trailers(TRAILERS) + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    ends = [*cuts, len(wire)]
    decoder, body = decode(*(wire[start:end] for start, end in zip([0, *cuts], ends, strict=True)))
    assert body == b"".join(pieces)
    assert (decoder.done, decoder.error, decoder.trailers, decoder.rest) == (True, None, TRAILERS, rest)


def test_formatting():
    assert encode(b"") == b""
    assert encode(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert format_trailers(()) == LAST == b"0\r\n\r\n"
    assert format_trailers(((b"A", b"b"),)) == b"0\r\nA: b\r\n\r\n"


def test_a_large_chunk_passes_without_being_copied():
    decoder = ChunkedDecoder()
    assert decoder.feed(b"100000\r\n") == []
    block = b"x" * 65536
    for _ in range(16):
        [piece] = decoder.feed(block)
        assert piece is block
    assert decoder.feed(b"\r\n0\r\n\r\n") == []
    assert decoder.done


@pytest.mark.parametrize(
    "wire",
    [
        *(b"\r\n", b"x\r\n", b"0x2\r\nab\r\n", b"-1\r\n", b"+2\r\nab\r\n", b" 2\r\nab\r\n", b"2 \r\nab\r\n"),
        *(b"2\t\r\nab\r\n", b"2 ;a\r\nab\r\n", b"2; a\r\nab\r\n", b"2;\r\nab\r\n", b"2;a=\r\nab\r\n"),
        *(
            b"2\nab\r\n",
            b"2\r\nab\n",
            b"2;a\nb\r\nab\r\n",
            b"2;a\rb\r\nab\r\n",
            b"2\r\r\nab\r\n",
            b'2;a="\r\nab\r\n',
        ),
        *(b"2\r\nabc\r\n", b"2\r\nabX\n", b"2\r\nab0\r\n\r\n", b"2\r\na\r\n\r\n", b"2\r\nab\r\r\n"),
        *(b"1" * 16 + b"\r\n", b"0" * 16 + b"\r\n", b"f" * 17 + b"\r\n", b"\xb2\r\nab\r\n"),
        *(b"2;" + b"a" * 300 + b"\r\nab\r\n", b"2;" + b"a" * 300, b"2_0\r\n"),
        *(
            b"0\n\r\n",
            b"0\r\n\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA\r\n\r\n",
            b"0\r\n A: b\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
        ),
        *(b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\n: b\r\n\r\n", b"0\r\nA: \x00\r\n\r\n", b"0\r\nA: b\rc\r\n\r\n"),
    ],
)
def test_refuses_what_servers_read_in_two_ways(wire):
    for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
        decoder, _ = decode(*pieces)
        assert decoder.error is not None
        assert decoder.error.code is Code.MALFORMED
        assert not decoder.done
        assert decoder.feed(b"0\r\n\r\n") == []
        assert not decoder.done


def test_the_code_of_a_refusal_says_whose_body_it_is():
    decoder = ChunkedDecoder(code=Code.UPSTREAM_PROTOCOL)
    decoder.feed(b"x\r\n")
    assert decoder.error is not None
    assert decoder.error.code is Code.UPSTREAM_PROTOCOL


def test_trailers_have_a_limit():
    assert decode(b"0\r\nA: b\r\nC: d\r\n\r\n", max_trailer=12)[0].done
    assert decode(b"0\r\nA: b\r\nC: d\r\n\r\n", max_trailer=11)[0].error is not None
    assert decode(b"0\r\nA: " + b"b" * 20, max_trailer=11)[0].error is not None
    endless = decode(b"0\r\n", *[b"A: b\r\n"] * 10, max_trailer=50)[0]
    assert endless.error is not None


def test_nothing_is_done_before_the_end():
    for wire in (
        b"",
        b"2",
        b"2\r",
        b"2\r\n",
        b"2\r\nab",
        b"2\r\nab\r",
        b"0\r\n",
        b"0\r\n\r",
        b"0\r\nA: b\r\n",
    ):
        decoder, _ = decode(wire)
        assert (decoder.done, decoder.error) == (False, None)


def test_what_comes_after_the_end_adds_up():
    decoder, _ = decode(LAST + b"GE", b"T ", b"/")
    assert decoder.rest == b"GET /"


class Collect:
    def __init__(self) -> None:
        self.body = b""
        self.complete = False

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete = True


def llhttp(wire: bytes) -> tuple[bytes, bool]:
    seen = Collect()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + wire)
    except httptools.HttpParserError:
        return seen.body, False
    return seen.body, seen.complete


GRAIN = st.sampled_from(
    [
        b"0\r\n",
        b"\r\n",
        b"2\r\nab\r\n",
        b"2\r\nab",
        b"A: b\r\n",
        b"\n",
        b"\r",
        b"2",
        b";a",
        b";a=b",
        b'="c"',
        b" ",
        b"0",
        b"x",
        b"-",
        b"1\r\n",
        b"Host: x\r\n",
        b"\t",
        b"a",
        b"\x00",
        b"0x1\r\n",
        b"002\r\nab\r\n",
        b":",
        b"\x80",
    ]
)


@given(st.lists(GRAIN, max_size=8).map(b"".join))
@example(b"2;a\r\nab\r\n0\r\nA: b\r\n\r\n")
def test_llhttp_reads_everything_accepted_here_in_the_same_way(wire):
    decoder, body = decode(wire)
    if decoder.done:
        message = wire[: len(wire) - len(decoder.rest)]
        assert llhttp(message) == (body, True)


@given(st.lists(GRAIN, max_size=8).map(b"".join))
def test_how_it_is_cut_never_matters(wire):
    whole, body = decode(wire)
    bytewise, same = decode(*(wire[at : at + 1] for at in range(len(wire))))
    assert (whole.done, whole.error is None, whole.trailers) == (
        bytewise.done,
        bytewise.error is None,
        bytewise.trailers,
    )
    assert body == same
    if whole.done:
        assert whole.rest == bytewise.rest
