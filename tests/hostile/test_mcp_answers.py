"""Lists of tools in answers of MCP: none shows what could not be called, however it comes (E)."""

import contextlib
import gzip
import json
import ssl

import pytest

from tests.hostile.reading import JSON, allow, post, serving
from tests.support.call import Call
from tests.support.upstream import Upstream
from tests.support.wire import response
from tests.support.world import World, world

OPERATIONS = {"safe": {"tool": "safe", "group": "read"}, "danger": {"tool": "danger", "group": "admin"}}
RULES = [allow("some", "api.safe", "api.mcp.list", "api.mcp.session")]
ASK = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
TOOLS = [{"name": "safe"}, {"name": "danger"}]
LIST = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": TOOLS}}).encode()
HALF, REST = LIST[:40], LIST[40:]
EVENTS = b"text/event-stream"


def answering(kind: bytes, body: bytes, size: int = 0, *headers: tuple[bytes, bytes]) -> Upstream:
    """A server that answers everything with this content, in chunks of ``size`` octets if that is not 0."""

    async def handler(call: Call) -> None:
        await call.take()
        named = [(b"Content-Type", kind)] if kind else []
        if not size:
            await call.send(response(200, body, *named, *headers))
            return
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: %s\r\n\r\n" % kind
        await call.send(head)
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            await call.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await call.send(b"0\r\n\r\n")

    return Upstream("api.test", default=handler)


def speaking(tmp_path, up: Upstream):
    return world(
        tmp_path, upstream=up, services=serving(OPERATIONS, endpoints={"/mcp": "mcp"}), policies=RULES
    )


async def came(w: World, *headers: str, method: str = "POST") -> bytes:
    """Every octet that comes of the answer, also of one that is cut off."""
    body = ASK if method == "POST" else b""
    async with w.tunnel() as client:
        lines = [f"{method} /mcp HTTP/1.1", f"Host: {w.authority}", "Accept: text/event-stream", *headers]
        if body:
            lines += [JSON, f"Content-Length: {len(body)}"]
        lines.append("Connection: close")
        await client.send("\r\n".join([*lines, "", ""]).encode() + body)
        octets = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await client.read_some():
                octets += piece
    await w.settled()
    return octets


STREAMS = {
    "plain": b"event: message\ndata: " + LIST + b"\n\n",
    "cr": b"event: message\rdata: " + LIST + b"\r\r",
    "crlf": b"event: message\r\ndata: " + LIST + b"\r\n\r\n",
    "mixed-ends": b"event: message\r\ndata: " + LIST + b"\n\r",
    "bom": b"\xef\xbb\xbfdata: " + LIST + b"\n\n",
    "no-space": b"data:" + LIST + b"\n\n",
    "two-lines": b"data: " + LIST.replace(b", ", b",\ndata: ") + b"\n\n",
    "comments-between": b": keep\ndata: " + LIST.replace(b", ", b",\n: data: {}\nid: 7\ndata:") + b"\n\n",
    "data-without-a-colon": b"data\ndata: " + LIST + b"\ndata\n\n",
    "fields-around": b"retry: 1\nid: 1\ndata: " + LIST + b"\nevent: message\n\n",
    "unknown-fields": b"Data: {}\nx: y\ndata: " + LIST + b"\n\n",
    "not-the-first": b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n' * 3
    + b"data: "
    + LIST
    + b"\n\n",
    "unfinished": b"data: " + LIST,
    "unfinished-line": b"data: " + LIST + b"\n",
    "escaped-names": b"data: "
    + LIST.replace(b"tools", b"t\\u006fols").replace(b"danger", b"d\\u0061nger")
    + b"\n\n",
    "batch": b"data: [" + LIST + b"," + LIST + b"]\n\n",
    "nothing-before": b"\n\n\n\ndata: " + LIST + b"\n\n",
}


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize("stream", [pytest.param(body, id=f"E-{name}") for name, body in STREAMS.items()])
async def test_no_event_shows_it(tmp_path, stream, size):
    async with speaking(tmp_path, answering(EVENTS, stream, size)) as w:
        octets = await came(w)
        assert octets.startswith(b"HTTP/1.1 200 ")
        body = octets.replace(b"\\u0061", b"a")
        assert b"safe" in _unchunked(body)
        assert b"danger" not in _unchunked(body)
        assert w.outcomes[0].result == "complete"


def _unchunked(octets: bytes) -> bytes:
    """What is not framing, roughly: good enough to look for a word in."""
    head, _, body = octets.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return body
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        out, body = out + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return out


UNREADABLE = {
    "half-a-list": b'data: {"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"danger"}]\n\n',
    "two-documents": b"data: " + LIST + b"\ndata: " + LIST + b"\n\n",
    "names-twice": b'data: {"result":{"tools":[],"tools":[{"name":"danger"}]}}\n\n',
    "no-list": b'data: {"result":{"tools":{"danger":{"name":"danger"}}}}\n\n',
    "utf-16": b"data: " + LIST.decode().encode("utf-16-le") + b"\n\n",
    "behind-words": b"data: )]}'" + LIST + b"\n\n",
    "line-separator": b"data: 1\xe2\x80\xa8data: " + LIST + b"\n\n",
    "separator-in-a-comment": b": x\xe2\x80\xa9data: " + LIST + b"\n\n",
    "separator-in-a-name": b"event: x\xc2\x85data: " + LIST + b"\ndata: {}\n\n",
    "separator-in-an-id": b"id: 1\x1c\x1cdata: " + LIST + b"\x1c\x1c\ndata: {}\n\n",
    "vertical-tab": b"data: \x0bdata: " + LIST + b"\n\n",
}


@pytest.mark.parametrize("stream", [pytest.param(body, id=f"E-{name}") for name, body in UNREADABLE.items()])
async def test_an_event_that_cannot_be_read_is_not_shown(tmp_path, stream):
    async with speaking(
        tmp_path, answering(EVENTS, b'data: {"ok":1}\n\n' + stream + b"data: {}\n\n", 64)
    ) as w:
        octets = await came(w)
        assert b"danger" not in octets.replace(b"\0", b"")
        assert (w.outcomes[0].result, w.outcomes[0].code) == ("refused", "response_unreadable")


@pytest.mark.parametrize(
    ("kind", "body", "headers"),
    [
        pytest.param(b"application/json", gzip.compress(LIST), [(b"Content-Encoding", b"gzip")], id="E-gzip"),
        pytest.param(
            EVENTS, gzip.compress(b"data: " + LIST), [(b"Content-Encoding", b"GZIP")], id="E-gzip-events"
        ),
        pytest.param(b"application/json", LIST, [(b"Content-Encoding", b"identity, br")], id="E-two-codings"),
        pytest.param(b"application/json", b"\xef\xbb\xbf" + LIST, [], id="E-bom"),
        pytest.param(b"application/json", LIST.decode().encode("utf-16"), [], id="E-utf-16"),
        pytest.param(b"application/json", b"\n" + LIST + b"\n" + LIST, [], id="E-two-documents"),
        pytest.param(b"application/json, text/event-stream", LIST, [], id="E-both"),
        pytest.param(b"text/plain", LIST[:-1], [], id="E-text-half"),
        pytest.param(b"", b" " + LIST + b",", [], id="E-nothing-said"),
    ],
)
async def test_an_answer_that_cannot_be_read_is_not_shown(tmp_path, kind, body, headers):
    async with speaking(tmp_path, answering(kind, body, 0, *headers)) as w:
        octets = await came(w)
        assert octets.startswith(b"HTTP/1.1 502 ")
        assert b"danger" not in octets
        assert w.outcomes[0].code == "response_unreadable"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param(b"application/json", b" " + LIST, id="E-json"),
        pytest.param(b"application/json", b"[" + LIST + b"]", id="E-batch"),
        pytest.param(b"APPLICATION/JSON;charset=utf-8", LIST, id="E-capitals"),
        pytest.param(b"application/problem+json", LIST, id="E-suffix"),
        pytest.param(b"text/plain", LIST, id="E-text"),
        pytest.param(b"text/html", b"\r\n\t" + LIST, id="E-html"),
        pytest.param(b"", LIST, id="E-nothing-said"),
        pytest.param(b"text/plain", b"event: message\r\ndata: " + LIST + b"\r\n\r\n", id="E-events-as-text"),
        pytest.param(b"TEXT/EVENT-STREAM; charset=utf-8", b"data: " + LIST + b"\n\n", id="E-events-capitals"),
        pytest.param(b"application/json", LIST.replace(b'"tools"', b'"\\u0074ools"'), id="E-escapes"),
        pytest.param(b"application/json", LIST.replace(b'"danger"', b'["danger"]'), id="E-no-name"),
        pytest.param(
            b"application/json", LIST.replace(b'"name": "danger"', b'"Name": "danger"'), id="E-case"
        ),
    ],
)
async def test_a_list_is_filtered_whatever_it_is_called(tmp_path, kind, body):
    async with speaking(tmp_path, answering(kind, body)) as w:
        octets = await came(w)
        assert octets.startswith(b"HTTP/1.1 200 ")
        assert b"safe" in octets
        assert b"danger" not in octets


@pytest.mark.parametrize("header", ["X-None: 1", "Last-Event-ID: 7"])
async def test_e_a_stream_that_is_resumed_repeats_no_list_unseen(tmp_path, header):
    async with speaking(tmp_path, answering(EVENTS, STREAMS["not-the-first"], 5)) as w:
        octets = _unchunked(await came(w, header, method="GET"))
        assert b"safe" in octets
        assert b"danger" not in octets


async def test_e_nobody_asks_for_what_could_not_be_read(tmp_path):
    async with speaking(tmp_path, answering(b"application/json", LIST)) as w:
        await came(w, "Accept-Encoding: gzip", "accept-encoding: br;q=1.0, *;q=0.1")
        sent = [value for name, value in w.upstream.requests[0].headers if name.lower() == b"accept-encoding"]
        assert sent == [b"identity"]


async def test_what_is_no_list_is_not_touched(tmp_path):
    body = b'{"jsonrpc":"2.0", "id":1 ,"result":{"tools":[{"name":"safe"}]}}'
    async with speaking(tmp_path, answering(b"application/json", body)) as w:
        answer = await post(w, "/mcp", ASK, JSON)
        assert answer.body == body
