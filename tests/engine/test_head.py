"""Heads: cut out exactly, wherever the octets are torn, and parsed in one way only."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.head import (
    HeadTooLarge,
    MalformedHead,
    Reading,
    format_request_head,
    format_response_head,
    parse_request,
    parse_response,
)
from proxy.errors import Code, Refusal
from proxy.http.message import RequestHead, ResponseHead
from tests.engine.wires import fed

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789-_", min_size=1, max_size=20).map(str.encode)
VALUES = st.text("abcXYZ019 \t;,=/\"'\xe4\xff", max_size=40).map(lambda text: text.strip().encode("latin-1"))
# Fields that llhttp itself reads; whether they may stand together is not this file's business.
STEERING = {b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"proxy-connection"}
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(
    lambda pairs: tuple(pair for pair in pairs if pair[0].lower() not in STEERING)
)


def read(*pieces: bytes, limit: int = 1000) -> tuple[bytes | None, bytes]:
    """The head in ``pieces``, and what is left after it."""

    async def reads() -> tuple[bytes | None, bytes]:
        reading = Reading(fed(*pieces, end=True))
        head = await reading.head(limit)
        left = reading.take_rest()
        while more := await reading.some():
            left += more
        return head, left

    return asyncio.run(reads())


@given(st.binary(max_size=50), st.lists(st.integers(1, 200), max_size=8))
def test_it_is_cut_out_exactly_wherever_it_is_torn(rest, cuts):
    octets = GET + rest
    places = [0, *sorted({cut for cut in cuts if cut < len(octets)}), len(octets)]
    pieces = [octets[start : places[at + 1]] for at, start in enumerate(places[:-1])]
    assert read(*pieces) == (GET, rest)


def test_pipelined_heads_come_one_by_one():
    async def reads() -> list[bytes | None]:
        reading = Reading(fed(GET * 2 + GET[:5], GET[5:], end=True))
        return [await reading.head(1000) for _ in range(4)]

    assert asyncio.run(reads()) == [GET, GET, GET, None]


def test_one_empty_line_before_it_is_skipped_and_no_second():
    assert read(b"\r\n" + GET) == (GET, b"")
    assert read(b"\r", b"\n", GET) == (GET, b"")
    assert read(b"\r\n\r\n" + GET)[0] != GET
    assert read(b"\r\n") == (None, b"")
    assert read() == (None, b"")


@pytest.mark.parametrize("pieces", [(b"x" * 2000,), (b"x" * 600, b"x" * 600), (b"x" * 2000 + b"\r\n\r\n",)])
def test_it_may_be_so_large(pieces):
    with pytest.raises(HeadTooLarge):
        read(*pieces)


def test_the_limit_is_exact():
    head = b"x" * 96 + b"\r\n\r\n"
    assert read(head, limit=96) == (head, b"")
    with pytest.raises(HeadTooLarge):
        read(head, limit=95)


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n",
        b"\nGET",
        b"GET / HTTP/1.1\r\nHost",
    ],
)
def test_what_cannot_end_well_is_malformed(octets):
    with pytest.raises(MalformedHead):
        read(octets)


def test_octets_given_back_come_first():
    async def reads() -> bytes:
        reading = Reading(fed(b"c", end=True))
        reading.unread(b"b")
        reading.unread(b"a")
        assert reading.rest == b"ab"
        return await reading.some() + await reading.some() + await reading.some()

    assert asyncio.run(reads()) == b"abc"


# -- requests --


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    st.text("abc/%20?=&-._~", min_size=1, max_size=30),
    HEADERS,
)
def test_a_request_is_parsed_as_it_was_written(method, path, headers):
    target = b"/" + path.encode()
    assert parse_request(format_request_head(method, target, headers)) == RequestHead(
        method, target, "1.1", headers
    )


def test_an_http_1_0_request_keeps_its_version():
    assert parse_request(b"GET / HTTP/1.0\r\n\r\n") == RequestHead("GET", b"/", "1.0", ())


def test_connect_and_upgrade_are_heads_like_others():
    head = parse_request(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")
    assert head == RequestHead("CONNECT", b"a:443", "1.1", ((b"Host", b"a:443"),))
    head = parse_request(b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert isinstance(head, RequestHead)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"GET / HTTP/1.2", Code.MALFORMED),
        (b"GET / HTTP/0.9", Code.MALFORMED),
        (b"GET / HTTP/2.0", Code.MALFORMED),
        (b"GET / HTTP/3.1", Code.MALFORMED),
        (b"GET / http/1.1", Code.MALFORMED),
        (b"GET / RTSP/1.0", Code.MALFORMED),
        (b"SOURCE / ICE/1.0", Code.MALFORMED),
        (b"GET /", Code.MALFORMED),
        (b"GET  / HTTP/1.1", Code.MALFORMED),
        (b"GET /  HTTP/1.1", Code.MALFORMED),
        (b"GET / x HTTP/1.1", Code.MALFORMED),
        (b"GET\t/ HTTP/1.1", Code.MALFORMED),
        (b" GET / HTTP/1.1", Code.MALFORMED),
        (b"GET / HTTP/1.1 ", Code.MALFORMED),
        (b"G\xc3\xa4T / HTTP/1.1", Code.MALFORMED),
        (b"GET /\x00 HTTP/1.1", Code.MALFORMED),
        (b"GETS / HTTP/1.1", Code.METHOD_UNSUPPORTED),
        (b"get / HTTP/1.1", Code.METHOD_UNSUPPORTED),
    ],
)
def test_request_lines_that_servers_would_read_differently(line, code):
    refusal = parse_request(line + b"\r\nHost: a\r\n\r\n")
    assert isinstance(refusal, Refusal)
    assert refusal.code is code


@pytest.mark.parametrize(
    "field",
    [
        b"X : a",
        b" X: a",
        b"X",
        b": a",
        b"X: a\x00b",
        b"X: a\r\n b",
        b"Content-Length: 1\r\nContent-Length: 2",
    ],
)
def test_request_fields_that_servers_would_read_differently(field):
    assert isinstance(parse_request(b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\n"), Refusal)


@given(st.binary(max_size=200))
def test_any_octets_are_a_head_or_a_refusal(octets):
    assert isinstance(parse_request(octets + b"\r\n\r\n"), RequestHead | Refusal)
    assert isinstance(parse_response(octets + b"\r\n\r\n"), ResponseHead | Refusal)


# -- responses --


@given(
    st.integers(200, 599), st.text("abc XYZ", max_size=20).map(lambda text: text.strip().encode()), HEADERS
)
def test_a_response_is_parsed_as_it_was_written(status, reason, headers):
    raw = format_response_head(status, reason, headers)
    assert parse_response(raw) == ResponseHead(status, reason, "1.1", headers)


def test_other_responses_that_are_well_formed():
    assert parse_response(b"HTTP/1.0 200\r\n\r\n") == ResponseHead(200, b"", "1.0", ())
    switching = parse_response(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert isinstance(switching, ResponseHead)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.2 200 K",
        b"HTTP/2 200 K",
        b"HTTP/1.1 99 K",
        b"HTTP/1.1 600 K",
        b"HTTP/1.1 2000 K",
        b"HTTP/1.1  200 K",
        b"ICY 200 OK",
        b"HTTP/1.1 200 a\x00b",
        b"http/1.1 200 K",
        b"",
    ],
)
def test_status_lines_that_are_none(line):
    refusal = parse_response(line + b"\r\nX: a\r\n\r\n")
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.UPSTREAM_PROTOCOL
