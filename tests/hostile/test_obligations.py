"""What a rule wants gone is gone, however it is written; what it wants kept small stays small (E)."""

import contextlib
import json
import ssl

import pytest

from proxy.errors import Code
from tests.hostile.assertions import failed, refused
from tests.hostile.reading import FORM, JSON, all_refused, arrived, post
from tests.support.call import Call
from tests.support.upstream import Upstream
from tests.support.wire import response
from tests.support.world import World, world

FIELDS = (
    '@id("clean") @drop_fields("/user/email, /a~1b, /m~0n, /list/*/secret, /1") @redact_fields("/messages/*/name")'
    ' permit(principal, action in Action::"write", resource);'
)
HEADERS = (
    '@id("bare") @drop_headers("x-debug, cookie") @redact_headers("x-user")'
    ' permit(principal, action in [Action::"read", Action::"write"], resource);'
)
CAP = '@id("small") @max_response("64") permit(principal, action in Action::"read", resource);'


def keeping(*paths: str) -> tuple[Upstream, list[bytes]]:
    """An API, and the content of every call that has arrived at it."""
    came: list[bytes] = []

    async def keep(call: Call) -> None:
        came.append(b"".join([piece async for piece in call.body]))
        call.received.trailers = call.body.trailers
        await call.send(response(200))

    up = Upstream("api.test")
    for path in paths:
        up.on(path, keep)
    return up, came


HIDDEN = [
    (JSON, b'{"user":{"email":"x"},"user":{"email":"y"}}'),
    (JSON, b'{"user":{"email":"x","\\u0065mail":"y"}}'),
    (JSON, b'{"user":{"id":1},"\\u0075ser":{"email":"y"}}'),
    (JSON, b'{"User":{"email":"x"}}'),
    (JSON, b'{"user":{"EMAIL":"x"}}'),
    (JSON, b'{"u\\u017fer":{"email":"x"}}'),
    (JSON, b'{"user.email":"x"}'),
    (JSON, b'{"user[]":{"email":"x"}}'),
    (JSON, b'{"messages":[{"Name":"Ada"}]}'),
    (JSON, b'{"user":{"email":"x"}}{}'),
    (JSON, b'\xef\xbb\xbf{"user":{"email":"x"}}'),
    (JSON, '{"user":{"email":"x"}}'.encode("utf-16")),
    (JSON, b'{"user":{"id":"\\ud800"}}'),
    (JSON, b'{"user":NaN}'),
    (JSON, b'{"x":0.1000000000000000055511151231257827}'),
    (JSON, b'{"x":%s}' % (b"9" * 5_000)),
    (JSON, b'{"x":%s}' % (b"[" * 50_000)),
    (JSON, b"user[email]=x"),
    (FORM, b"user[email]=x"),
    (FORM, b'{"a":"&user[email]=x&"}'),
    (FORM, b'{"user":{"email":"x"}}'),
    ("Content-Type: multipart/form-data; boundary=x", b'{"a":"\\r\\n--x\\r\\n"}'),
    ("Content-Type: text/plain", b'{"user":{"email":"x"}}'),
    ("Content-Type: application/json; charset=utf-7", b'{"+AHUAcwBlAHI-":{"email":"x"}}'),
    ("Content-Type: application/json; charset=utf-16", b'{"user":{"email":"x"}}'),
    (JSON + "\r\nContent-Encoding: gzip", b'{"user":{"email":"x"}}'),
    ("X-None: 1", b'{"user":{"email":"x"}}'),
]


async def test_e_content_from_which_a_field_cannot_be_taken_for_certain_never_leaves(tmp_path):
    up, came = keeping("/x")
    async with world(tmp_path, upstream=up, policies=[FIELDS]) as w:

        async def send(case):
            kind, body = case
            return await post(w, "/x", body, *kind.split("\r\n"))

        await all_refused(w, Code.OBLIGATION_UNMET, HIDDEN, send)
        assert came == []


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        pytest.param({"user": {"email": "x", "id": 1}}, {"user": {"id": 1}}, id="plain"),
        pytest.param({"user": [{"email": "x"}]}, {"user": [{"email": "x"}]}, id="an-array-has-no-email"),
        pytest.param({"a/b": 1, "a": {"b": 2}}, {"a": {"b": 2}}, id="slash"),
        pytest.param({"m~n": 1, "m~0n": 2}, {"m~0n": 2}, id="tilde"),
        pytest.param({"list": [{"secret": 1}, {"secret": [2]}, 3]}, {"list": [{}, {}, 3]}, id="every-item"),
        pytest.param({"list": {"k": {"secret": 1}}}, {"list": {"k": {}}}, id="every-member"),
        pytest.param(["a", "b", "c"], ["a", "c"], id="an-index"),
        pytest.param({"1": "a", "01": "b"}, {"01": "b"}, id="a-name-like-an-index"),
        pytest.param(
            {"messages": [{"name": {"x": 1}}]}, {"messages": [{"name": "[redacted]"}]}, id="redacted"
        ),
        pytest.param({"x": {"user": {"email": "x"}}}, {"x": {"user": {"email": "x"}}}, id="elsewhere"),
    ],
)
async def test_what_a_pointer_names_is_gone_and_nothing_else(tmp_path, sent, left):
    up, came = keeping("/x")
    async with world(tmp_path, upstream=up, policies=[FIELDS]) as w:
        body = json.dumps(sent).replace("email", "\\u0065mail").encode()
        assert (await post(w, "/x", body, JSON)).status == 200
        assert json.loads(came[0]) == left
        assert dict(w.upstream.requests[0].headers)[b"Content-Length"] == str(len(came[0])).encode()


async def test_e_chunks_are_put_together_before_anything_is_taken_out(tmp_path):
    up, came = keeping("/x")
    async with world(tmp_path, upstream=up, policies=[FIELDS]) as w, w.tunnel() as client:
        head = f"POST /x HTTP/1.1\r\nHost: {w.authority}\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head.encode())
        for octet in b'{"user":{"email":"ada"},"k":1}':
            await client.send(b"1\r\n%c\r\n" % octet)
        await client.send(b"0\r\n\r\n")
        assert (await client.read_response()).status == 200
        assert came == [b'{"user":{},"k":1}']


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["X-Debug: 1", "x-debug: 2", "X-DEBUG: 3"], id="E-copies"),
        pytest.param(["X_Debug: 1", "x_debug: 2"], id="E-underscores"),
        pytest.param(["Cookie: a=1", "cookie: b=2", "COOKIE:c=3"], id="E-cookies"),
        pytest.param(["X-Debug:", "X-Debug: \t x"], id="E-blank"),
    ],
)
async def test_headers_go_in_whatever_spelling(tmp_path, headers):
    async with world(tmp_path, policies=[HEADERS]) as w:
        answer = await w.call("/", headers=[*headers, "X-Kept: yes", "X-User: ada", "x_user: bob"])
        assert answer.status == 200
        assert answer.json()["headers"] == [
            ["Host", w.authority],
            ["X-Kept", "yes"],
            ["X-User", "[redacted]"],
            ["x_user", "[redacted]"],
        ]


@pytest.mark.parametrize("reads", [True, False], ids=["content-is-read", "content-streams"])
async def test_c5_a_trailer_is_no_way_around(tmp_path, reads):
    up, came = keeping("/x")
    async with (
        world(tmp_path, upstream=up, policies=[HEADERS, *([FIELDS] if reads else [])]) as w,
        w.tunnel() as client,
    ):
        head = f"POST /x HTTP/1.1\r\nHost: {w.authority}\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
        trailers = "X-Debug: 1\r\nX_DEBUG: 2\r\nX-User: ada\r\nX-Sum: 7\r\n"
        await client.send(f"{head}2\r\n{{}}\r\n0\r\n{trailers}\r\n".encode())
        assert (await client.read_response()).status == 200
        assert came == [b"{}"]
        assert up.requests[0].trailers == ((b"X-User", b"[redacted]"), (b"X-Sum", b"7"))


UPGRADE = [
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
]


@pytest.mark.parametrize(
    "duty",
    [
        '@require("interception")',
        '@max_response("64")',
        '@drop_fields("/user/email")',
        '@redact_fields("/user/email")',
    ],
)
async def test_e_a_websocket_is_no_way_around(tmp_path, duty):
    rule = f'@id("r") {duty} permit(principal, action in Action::"read", resource);'
    async with world(tmp_path, policies=[rule]) as w:
        await refused(w, await w.call("/websocket", headers=UPGRADE), Code.OBLIGATION_UNMET)


def answering(head: bytes, *pieces: bytes) -> Upstream:
    """An API that sends these octets, the last of them once the test sets ``release``, and closes."""

    async def handler(call: Call) -> None:
        await call.take()
        await call.send(b"HTTP/1." + head + b"\r\n\r\n" + b"".join(pieces[:-1]))
        await call.release.wait()
        await call.send(pieces[-1])
        call.close = True

    up = Upstream("api.test")
    up.on("/x", handler)
    return up


A60, B5 = b"a" * 60, b"b" * 5


async def rest(w: World) -> bytes:
    """What comes of an answer behind its head, whose last octets are only sent then."""
    async with w.tunnel() as client:
        await client.send(f"GET /x HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
        assert (await client.read_head()).start[1] == b"200"
        w.upstream.release.set()
        came = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await client.read_some():
                came += piece
    await w.settled()
    return came


@pytest.mark.parametrize(
    "up",
    [
        pytest.param(
            lambda: answering(
                b"1 200 OK\r\nTransfer-Encoding: chunked", b"3c\r\n%s\r\n" % A60, b"5\r\n%s\r\n0\r\n\r\n" % B5
            ),
            id="E-chunked",
        ),
        pytest.param(
            lambda: answering(
                b"1 200 OK\r\nTransfer-Encoding: chunked",
                b"".join(b"1\r\na\r\n" for _ in range(60)),
                b"".join(b"1;x=y\r\nb\r\n" for _ in range(5)) + b"0\r\n\r\n",
            ),
            id="E-octet-by-octet",
        ),
        pytest.param(lambda: answering(b"1 200 OK", A60, B5), id="E-until-close"),
        pytest.param(lambda: answering(b"0 200 OK", A60, B5), id="E-http-1.0"),
        pytest.param(lambda: answering(b"0 200 OK\r\nConnection: close", A60, B5), id="E-http-1.0-close"),
        pytest.param(
            lambda: answering(
                b"1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X",
                b"3c\r\n%s\r\n" % A60,
                b"5\r\n%s\r\n0\r\nX: y\r\n\r\n" % B5,
            ),
            id="E-trailers",
        ),
    ],
)
async def test_an_answer_that_grows_too_large_is_cut_before_that(tmp_path, up):
    async with world(tmp_path, upstream=up(), policies=[CAP]) as w:
        came = await rest(w)
        assert b"b" not in came
        assert not came.endswith(b"0\r\n\r\n")
        outcome = w.outcomes[0]
        assert (outcome.result, outcome.code) == ("refused", Code.RESPONSE_TOO_LARGE)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_e_an_answer_that_announces_too_much_is_not_begun(tmp_path, method):
    async with world(tmp_path, policies=[CAP]) as w:
        answer = await w.call("/bytes?n=65", method=method)
        if method == "HEAD":
            assert answer.status == 200  # there is no content, however long it would be
        else:
            await failed(w, answer, Code.RESPONSE_TOO_LARGE)


async def test_e_interim_answers_and_errors_are_no_way_around(tmp_path):
    up = Upstream("api.test")

    async def handler(call: Call) -> None:
        await call.take()
        await call.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + response(500, b"a" * 65))

    up.on("/x", handler)
    async with world(tmp_path, upstream=up, policies=[CAP]) as w:
        await failed(w, await w.call("/x"), Code.RESPONSE_TOO_LARGE)
        assert arrived(w) == ["GET /x"]
