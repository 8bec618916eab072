"""C: requests that can be read in two ways, over raw sockets (RFC 9112; egress.md, section 5)."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import (
    absolute,
    clean,
    everything,
    failed,
    inside,
    refused,
    say,
    say_inside,
)
from tests.support.world import world

CHUNKS = "5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n"
LARGE = str(2**64)


def post(w, *lines: str, body: str = "", version: str = "1.1", target: str = "/") -> bytes:
    head = [f"POST {target} HTTP/{version}", f"Host: {w.authority}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body.encode("latin-1")


FRAMING = [
    pytest.param(["Content-Length: 4", "Transfer-Encoding: chunked"], id="C1-cl-te"),
    pytest.param(["Transfer-Encoding: chunked", "Content-Length: 4"], id="C1-te-cl"),
    pytest.param(["Transfer-Encoding: chunked", "Content-Length: 0"], id="C1-te-cl-zero"),
    pytest.param(["Content-Length: 5", "Content-Length: 6"], id="C2-differ"),
    pytest.param(["Content-Length: 5", "Content-Length: 5"], id="C2-twice"),
    pytest.param(["Content-Length: 5, 5"], id="C2-list"),
    *(
        pytest.param([f"Content-Length: {value}"], id=f"C2-{value or 'empty'}")
        for value in ("+5", "-5", "0x5", "5 5", "", LARGE, "9" * 30, "5.0", "5,", "0_5", "\xb2")
    ),
    pytest.param(["Content-Length: 5 "], id="C2-trailing-space"),
    pytest.param(["Content-Length : 5"], id="C2-space-before-colon"),
    pytest.param(["Content-Length:\x0b5"], id="C2-vt"),
    *(
        pytest.param([f"Transfer-Encoding: {value}"], id=f"C3-{value!r}")
        for value in (
            "chunked, identity",
            "identity",
            "identity, chunked",
            "xchunked",
            "chunked, chunked",
            "gzip, chunked",
            "chunked;q=1",
            '"chunked"',
            "chunked\x0b",
            "\x0bchunked",
            "chunked\x00",
            "chunked,",
            "",
        )
    ),
    pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], id="C3-two-lines"),
    pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], id="C3-two-codings"),
    pytest.param(["Transfer-Encoding : chunked"], id="C3-space-before-colon"),
    pytest.param(["Transfer-Encoding:", " chunked"], id="C3-folded"),
    pytest.param(["X: y", "\tTransfer-Encoding: chunked"], id="C6-obs-fold"),
    pytest.param(["Transfer\x00-Encoding: chunked"], id="C6-nul-in-name"),
    pytest.param(["X: a\nTransfer-Encoding: chunked"], id="C6-bare-lf"),
    pytest.param(["X: a\rTransfer-Encoding: chunked"], id="C6-bare-cr"),
    pytest.param(["X: a\x00b"], id="C6-nul"),
    pytest.param(["X: a\x01b"], id="C6-control"),
    pytest.param(["X: a\x7fb"], id="C6-del"),
    pytest.param([": value"], id="C6-no-name"),
    pytest.param(["no colon"], id="C6-no-colon"),
    pytest.param(["X y: z"], id="C6-space-in-name"),
    pytest.param(["X\xe9: z"], id="C6-latin1-name"),
    pytest.param(["(X): z"], id="C6-not-a-token"),
]


@pytest.mark.parametrize("lines", FRAMING)
async def test_two_readings_are_refused_and_the_connection_closed(tmp_path, lines):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(post(w, *lines, body=CHUNKS + SMUGGLED))
        answer = await client.read_response()
        await refused(w, answer, Code.MALFORMED)
        assert await client.at_end()


@pytest.mark.parametrize("lines", FRAMING[::7])
async def test_the_same_outside_of_tunnels(tmp_path, lines):
    async with world(tmp_path) as w:
        head = absolute(w, f"http://{w.authority}/", *lines, method="POST").decode("utf-8")
        await refused(w, await say(w, (head + CHUNKS).encode("latin-1")), Code.MALFORMED)


async def test_c3_transfer_encoding_in_http_1_0(tmp_path):
    async with world(tmp_path) as w:
        data = post(w, "Transfer-Encoding: chunked", body=CHUNKS, version="1.0")
        await refused(w, await say_inside(w, data), Code.MALFORMED)


@pytest.mark.parametrize(
    "value", [pytest.param("\tchunked", id="C3-tab"), pytest.param("CHUNKED", id="C3-case")]
)
async def test_a_coding_that_is_spelled_otherwise_is_respelled(tmp_path, value):
    """The table refuses a tab; RFC 9110 calls it white space, and the API gets the one plain spelling."""
    async with world(tmp_path) as w:
        answer = await say_inside(w, post(w, f"Transfer-Encoding:{value}", body=CHUNKS))
        assert answer.status == 200
        assert [v for n, v in answer.json()["headers"] if n.lower() == "transfer-encoding"] == ["chunked"]
        assert answer.json()["length"] == 5


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("fffffffffffffffff\r\nx\r\n0\r\n\r\n", id="C4-overflow"),
        pytest.param("-5\r\nhello\r\n0\r\n\r\n", id="C4-negative"),
        pytest.param("0x5\r\nhello\r\n0\r\n\r\n", id="C4-hex-prefix"),
        pytest.param("5 \r\nhello\r\n0\r\n\r\n", id="C4-space"),
        pytest.param(" 5\r\nhello\r\n0\r\n\r\n", id="C4-space-before"),
        pytest.param("5\r\nhello0\r\n\r\n", id="C4-no-crlf-after-data"),
        pytest.param("5\r\nhelloXX0\r\n\r\n", id="C4-other-octets-after-data"),
        pytest.param("5\r\nhello\n0\r\n\r\n", id="C4-lf-after-data"),
        pytest.param("5\nhello\r\n0\r\n\r\n", id="C4-lf-after-size"),
        pytest.param("5;a\nb\r\nhello\r\n0\r\n\r\n", id="C4-lf-in-extension"),
        pytest.param("5;\r\nhello\r\n0\r\n\r\n", id="C4-empty-extension"),
        pytest.param("5;" + "a" * 5000 + "\r\nhello\r\n0\r\n\r\n", id="C4-long-extension"),
        pytest.param("\r\nhello\r\n0\r\n\r\n", id="C4-no-size"),
        pytest.param("5\r\r\nhello\r\n0\r\n\r\n", id="C4-cr"),
        pytest.param("5\r\nhello\r\n0\r\nX : y\r\n\r\n", id="C5-space-before-colon"),
        pytest.param("5\r\nhello\r\n0\r\n folded\r\n\r\n", id="C5-fold"),
        pytest.param("5\r\nhello\r\n0\r\nX: " + "y" * 9000 + "\r\n\r\n", id="C5-large"),
    ],
)
async def test_c4_chunks_have_one_reading(tmp_path, body):
    """The head is decided first; the body fails before any of the request is sent: its outcome says so."""
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(post(w, "Transfer-Encoding: chunked", body=body + SMUGGLED))
        answer = await client.read_response()
        await failed(w, answer, Code.MALFORMED)
        assert await client.at_end()
        assert w.upstream.bytes_received == 0


async def test_c4_chunk_extensions_end_here(tmp_path):
    async with world(tmp_path) as w:
        body = '5;name=value;q="a;b"\r\nhello\r\n0;x\r\n\r\n'
        answer = await say_inside(w, post(w, "Transfer-Encoding: chunked", body=body))
        assert answer.json()["length"] == 5
        assert b"value" not in w.upstream.received


async def test_c5_trailers_that_steer_are_dropped(tmp_path):
    steering = [
        "Authorization: Bearer x",
        "Host: other.test",
        "Content-Length: 99",
        "Transfer-Encoding: chunked",
        "Proxy-Authorization: Basic eDp5",
        "Cookie: a=b",
        "X-Forwarded-For: 127.0.0.1",
        "X-HTTP-Method-Override: DELETE",
        "Content-Encoding: gzip",
    ]
    async with world(tmp_path) as w:
        trailers = "\r\n".join([*steering, "X-Digest: abc"])
        body = f"5\r\nhello\r\n0\r\n{trailers}\r\n\r\n"
        answer = await say_inside(w, post(w, "Transfer-Encoding: chunked", body=body))
        assert answer.json()["trailers"] == [["X-Digest", "abc"]]
        clean(w, answer.body)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("GET / HTTP/1.1\n", id="C6-lf"),
        pytest.param("GET  / HTTP/1.1\r\n", id="C6-two-spaces"),
        pytest.param("GET /  HTTP/1.1\r\n", id="C6-two-spaces-after"),
        pytest.param("GET\t/\tHTTP/1.1\r\n", id="C6-tabs"),
        pytest.param(" GET / HTTP/1.1\r\n", id="C6-space-first"),
        pytest.param("GET /\r\n", id="C6-http09"),
        pytest.param("GET / HTTP/2.0\r\n", id="C6-http2"),
        pytest.param("GET / HTTP/1.2\r\n", id="C6-http12"),
        pytest.param("GET / HTTP/0.9\r\n", id="C6-http09-version"),
        pytest.param("GET / http/1.1\r\n", id="C6-lower-version"),
        pytest.param("GET / HTTP/1.1 \r\n", id="C6-space-last"),
        pytest.param("GET / RTSP/1.0\r\n", id="C6-rtsp"),
        pytest.param("GET / HTTP/01.1\r\n", id="C6-leading-zero"),
        pytest.param("G@T / HTTP/1.1\r\n", id="C6-method"),
        pytest.param("\r\n\r\n\r\nGET / HTTP/1.1\r\n", id="C6-crlf-flood"),
        pytest.param("\nGET / HTTP/1.1\r\n", id="C6-leading-lf"),
        pytest.param("GET / HTTP/1.1\r\r\n", id="C6-two-cr"),
        pytest.param("GET /\x00 HTTP/1.1\r\n", id="C6-nul"),
        pytest.param("GET /\xe9 HTTP/1.1\r\n", id="C8-raw-latin1"),
        pytest.param("GET /\xc3\xa9 HTTP/1.1\r\n", id="C8-raw-utf8"),
        pytest.param("GET /a b HTTP/1.1\r\n", id="C8-space"),
    ],
)
async def test_c6_request_lines(tmp_path, line):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(f"{line}Host: {w.authority}\r\n\r\n{SMUGGLED}".encode("latin-1"))
        answer = await client.read_response()
        await refused(w, answer, Code.MALFORMED)
        assert await client.at_end()


@pytest.mark.parametrize("method", ["get", "Get", "FOO", "TRACE", "PROPFIND", "SOURCE", "M-SEARCH"])
async def test_c6_methods(tmp_path, method):
    async with world(tmp_path) as w, w.tunnel() as client:
        await client.send(inside(w, "/", method=method))
        await refused(w, await client.read_response(), Code.METHOD_UNSUPPORTED)


async def test_c7_the_url_and_the_host_header(tmp_path):
    """The table says 400; DESIGN.md's invariant 4 makes every disagreement of names a 421."""
    async with world(tmp_path) as w:
        answer = await say(w, absolute(w, f"http://{w.authority}/", host="other.test"))
        await refused(w, answer, Code.AUTHORITY_MISMATCH)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/a#fragment", id="C8-fragment"),
        pytest.param("/a\\b", id="C8-backslash"),
        pytest.param("\\\\evil.example\\a", id="C8-unc"),
        pytest.param("http:/\\evil.example/", id="C8-mixed-slashes"),
    ],
)
async def test_c8_targets(tmp_path, target):
    async with world(tmp_path) as w:
        answer = await say_inside(w, inside(w, target))
        assert answer.json()["code"] in {Code.TARGET_MALFORMED, Code.MALFORMED}
        await refused(w, answer, Code(answer.json()["code"]))


@pytest.mark.parametrize(
    "authority",
    [
        pytest.param("user:password@{own}", id="C8-userinfo"),
        pytest.param("{own}@evil.example", id="C8-own-as-userinfo"),
        pytest.param("evil.example\\@{own}", id="C8-backslash-userinfo"),
        pytest.param("evil.example#@{own}", id="C8-fragment-userinfo"),
        pytest.param("{own}%40evil.example", id="C8-encoded-userinfo"),
    ],
)
async def test_c8_urls_with_two_hosts(tmp_path, authority):
    async with world(tmp_path) as w:
        url = f"http://{authority.format(own=w.authority)}/"
        answer = await say(w, absolute(w, url, host=w.authority))
        assert answer.status == 400
        record = await refused(w, answer, Code(answer.json()["code"]))
        assert "password" not in str(record.raw)


@pytest.mark.parametrize("first_denied", [True, False])
async def test_c15_pipelined_requests_are_decided_one_by_one(tmp_path, first_denied):
    """The table closes on a denial. Here a refused request without a body leaves nothing unread that could
    be taken for another one, so the next is decided; one with a body does close."""
    async with world(tmp_path) as w, w.tunnel() as client:
        good, bad = inside(w, "/good"), inside(w, "/bad", host="other.test")
        await client.send(bad + good if first_denied else good + bad)
        statuses = [(await client.read_response()).status for _ in range(2)]
        assert statuses == ([421, 200] if first_denied else [200, 421])
        await w.settled()
        assert sorted(each.effect for each in w.decisions) == ["allow", "deny"]
        assert [each.target for each in w.upstream.requests] == ["/good"]


async def test_c15_a_refused_body_is_not_the_next_request(tmp_path):
    async with world(tmp_path) as w, w.tunnel() as client:
        body = inside(w, "/smuggled").decode()
        await client.send(post(w, f"Content-Length: {len(body)}", body=body, target="/a%00"))
        await refused(w, await client.read_response(), Code.TARGET_MALFORMED)
        assert await everything(client) == b""


async def test_c17_expect_on_a_denied_upload(tmp_path):
    async with world(tmp_path, policies=[]) as w, w.tunnel() as client:
        await client.send(post(w, "Content-Length: 1000000", "Expect: 100-continue"))
        answer = await client.read_response()
        assert answer.informational == ()
        await refused(w, answer, Code.DEFAULT_DENY)
        assert await client.at_end()


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", ""])
async def test_c17_other_expectations(tmp_path, value):
    async with world(tmp_path) as w:
        answer = await say_inside(w, post(w, "Content-Length: 5", f"Expect: {value}", body="hello"))
        await refused(w, answer, Code.HEADER_FORBIDDEN)
