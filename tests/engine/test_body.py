"""Bodies: each framing read to exactly its end, wherever the octets are torn, and written again."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.body import CHUNKS, PLAIN, BadFraming, Body, Truncated, Writer
from proxy.engine.head import Reading
from proxy.http.message import Chunked, Framing, Headers, Length, NoBody, UntilClose
from tests.engine.wires import fed

TRAILERS: Headers = ((b"X-T", b"1"), (b"X-U", b""))


def written(writer: Writer, pieces: list[bytes], trailers: Headers = ()) -> bytes:
    return b"".join(writer.piece(piece) for piece in pieces if piece) + writer.last(trailers)


def torn(octets: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(octets)}), len(octets)]
    return [octets[start : places[at + 1]] for at, start in enumerate(places[:-1])]


def read(framing: Framing, *pieces: bytes, first: bool = False) -> tuple[bytes, Headers, bytes]:
    """The body, its trailers, and what follows it; ``first``: begin with what is ready."""

    async def reads() -> tuple[bytes, Headers, bytes]:
        reading = Reading(fed(*pieces, end=True))
        got = b""
        if first:
            reading.unread(await reading.some())
            body = Body(reading, framing)
            got = body.ready()
        else:
            body = Body(reading, framing)
        while piece := await body.read():
            got += piece
        assert body.done
        assert body.ready() == b""
        left = b""
        while more := await reading.some():
            left += more
        return got, body.trailers, left

    return asyncio.run(reads())


BODIES = st.lists(st.binary(max_size=40), max_size=5)
CUTS = st.lists(st.integers(0, 300), max_size=8)


@given(BODIES, CUTS, st.binary(max_size=20), st.booleans())
def test_a_length_is_counted_out(pieces, cuts, rest, first):
    body = written(PLAIN, pieces)
    assert read(Length(len(body)), *torn(body + rest, cuts), first=first) == (body, (), rest)


@given(BODIES, CUTS, st.binary(max_size=20), st.sampled_from([(), TRAILERS]), st.booleans())
def test_chunks_are_put_together(pieces, cuts, rest, trailers, first):
    octets = written(CHUNKS, pieces, trailers)
    got = read(Chunked(), *torn(octets + rest, cuts), first=first)
    assert got == (b"".join(pieces), trailers, rest)


@given(BODIES, CUTS)
def test_closing_ends_the_rest(pieces, cuts):
    body = b"".join(pieces)
    assert read(UntilClose(), *torn(body, cuts)) == (body, (), b"")


def test_no_body_takes_nothing():
    assert read(NoBody(), b"next") == (b"", (), b"next")
    assert read(Length(0), b"next") == (b"", (), b"next")


@pytest.mark.parametrize(
    ("framing", "octets"),
    [
        (Length(5), b"abcd"),
        (Length(5), b""),
        (Chunked(), b""),
        (Chunked(), b"5\r\nab"),
        (Chunked(), b"0\r\n"),
    ],
)
def test_an_end_before_the_end_is_truncated(framing, octets):
    with pytest.raises(Truncated):
        read(framing, octets)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    "octets", [b"x\r\n", b"5\nabcde", b"5\r\nabcdeX\r\n", b"-1\r\n", b"0x5\r\nabcde\r\n", b"0\r\nX\r\n\r\n"]
)
def test_bad_chunks(octets, first):
    with pytest.raises(BadFraming):
        read(Chunked(), octets, first=first)


def test_pieces_come_as_they_arrive():
    async def reads() -> list[bytes]:
        wire = fed(b"abc")
        body = Body(Reading(wire), Length(6))
        got = [await body.read()]
        assert not body.done
        wire.data_received(b"def")
        return [*got, await body.read(), await body.read()]

    assert asyncio.run(reads()) == [b"abc", b"def", b""]


def test_the_end_of_chunks_with_and_without_trailers():
    assert CHUNKS.last(()) == b"0\r\n\r\n"
    assert CHUNKS.last(TRAILERS) == b"0\r\nX-T: 1\r\nX-U: \r\n\r\n"
    assert PLAIN.last(TRAILERS) == b""
