"""One admitted call on its way: what goes up, and every shape in which an answer comes down."""

import gc
import hashlib

import pytest

from proxy.engine.relay import Transfer
from tests.engine.lines import WAYS, ends, line, plain_world, refusals, untouched
from tests.support.behaviours import pattern, raw
from tests.support.upstream import Upstream
from tests.support.wire import response
from tests.support.world import SECRET, world


def transfers() -> int:
    return sum(isinstance(known, Transfer) for known in gc.get_objects())


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_goes_up_as_it_was_written_and_its_answer_comes_down(tmp_path, way):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        answer = await one.call(
            "/x?y=1", "x-Odd-Case: 1", "X-twice: a", "X-twice: b", method="POST", body=b"hello"
        )
        assert answer.status == 200
        told = answer.json()
        assert (told["method"], told["target"], told["length"]) == ("POST", "/x?y=1", 5)
        assert told["headers"] == [
            ["Host", w.authority],
            ["x-Odd-Case", "1"],
            ["X-twice", "a"],
            ["X-twice", "b"],
            ["Content-Length", "5"],
        ]
        await w.settled()
        assert ends(w) == [("complete", "", 200)]
        (outcome,) = w.outcomes
        what = outcome.raw["what"]
        assert what["bytes_up"] == w.upstream.bytes_received
        assert what["bytes_down"] == len(answer.head.raw) + len(answer.body)
        assert what["upstream"]["ip"] == "127.0.0.1"
        assert bool(what["upstream"]["tls"]) is (way == "tls")


@pytest.mark.parametrize("way", WAYS)
async def test_many_calls_on_one_connection_are_each_recorded(tmp_path, way):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        for number in range(10):
            assert (await one.call(f"/{number}")).json()["target"] == f"/{number}"
        await w.settled()
        assert [record.path for record in w.decisions] == [f"/{number}" for number in range(10)]
        assert ends(w) == [("complete", "", 200)] * 10
        assert len(w.upstream.connections) == 1
        assert [o.raw["what"]["upstream"]["reused"] for o in w.outcomes] == [False] + [True] * 9


async def test_a_call_that_has_ended_is_forgotten_without_the_collector(tmp_path):
    """Calls in reference cycles would pile up until garbage is collected, each with its content."""
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.call("/")
        gc.collect()
        gc.disable()
        try:
            before = transfers()
            for _ in range(10):
                await one.call("/", method="POST", body=b"hello")
            await w.settled()
            assert transfers() <= before + 1  # the last one's
        finally:
            gc.enable()


async def test_the_credential_goes_up_and_the_placeholder_does_not(tmp_path):
    async with world(tmp_path) as w:
        answer = await w.call("/", headers=[f"Authorization: Bearer {w.placeholder}"])
        assert ["Authorization", f"Bearer {SECRET}"] in answer.json()["headers"]
        assert w.placeholder.encode() not in w.upstream.received


@pytest.mark.parametrize("way", ["absolute", "tls"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/bytes?n=1000", 200),
        ("HEAD", "/chunked", 200),
        ("GET", "/status?code=204", 204),
        ("GET", "/status?code=304", 304),
        ("HEAD", "/status?code=404", 404),
    ],
)
async def test_answers_without_a_body_leave_the_connection_usable(tmp_path, way, method, path, status):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        w.upstream.on("/chunked", raw(b"HTTP/1.1 200 K\r\nTransfer-Encoding: chunked\r\n\r\n", close=False))
        for _ in range(2):
            answer = await one.call(path, method=method)
            assert (answer.status, answer.body) == (status, b"")
        assert (await one.call("/bytes?n=10")).body == pattern(10)
        assert len(w.upstream.connections) == 1


async def test_a_304_keeps_the_length_it_describes(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        script = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 77\r\n\r\n'
        w.upstream.on("/same", raw(script, close=False))
        answer = await one.call("/same")
        assert (answer.get("content-length"), answer.get("etag"), answer.body) == ("77", '"a"', b"")
        assert (await one.call("/")).status == 200


@pytest.mark.parametrize("way", ["absolute", "tls"])
async def test_chunked_both_ways_with_trailers(tmp_path, way):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        head = one.head("/x", "Transfer-Encoding: chunked", "Trailer: X-T", method="PUT")
        await one.client.send(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\nConnection: close\r\n\r\n")
        told = (await one.client.read_response()).json()
        assert (told["length"], told["sha256"]) == (5, hashlib.sha256(b"abcde").hexdigest())
        assert told["trailers"] == [["X-T", "1"]]  # and not the one that would steer the connection
        answer = await one.call("/trailers")
        assert (answer.body, answer.get("trailer")) == (b"hello", "X-Digest, X-Count")
        assert answer.trailers == ((b"X-Digest", b"abc"), (b"X-Count", b"5"))
        assert (await one.call("/chunked?n=100000&size=777")).body == pattern(100_000)
        assert len(w.upstream.connections) == 1


async def test_a_body_that_closing_ends_becomes_chunked(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        answer = await one.call("/until-close")
        assert (answer.body, answer.get("transfer-encoding")) == (b"until close", "chunked")
        assert (await one.call("/")).status == 200  # on the same downstream connection
        assert [r.connection.index for r in w.upstream.requests] == [0, 1]


@pytest.mark.parametrize("path", ["/until-close", "/trailers"])
async def test_for_an_http_1_0_client_closing_ends_what_has_no_length(tmp_path, path):
    async with plain_world(tmp_path) as w, line(w) as one:
        answer = await one.call(path, "Connection: keep-alive", version="1.0")
        assert answer.get("transfer-encoding") is None
        assert answer.get("trailer") is None
        assert answer.get("connection") == "close"
        assert answer.body in (b"until close", b"hello")
        assert w.upstream.requests[0].version == "HTTP/1.1"


@pytest.mark.parametrize("keep", [True, False])
async def test_an_http_1_0_client_keeps_its_connection_only_if_it_asks(tmp_path, keep):
    async with plain_world(tmp_path) as w, line(w) as one:
        headers = ["Connection: keep-alive"] if keep else []
        answer = await one.call("/", *headers, version="1.0")
        assert answer.get("connection") == ("keep-alive" if keep else "close")
        if keep:
            assert (await one.call("/", *headers, version="1.0")).status == 200
        else:
            assert await one.client.at_end()


async def test_a_client_that_asks_to_close_is_closed_on(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        answer = await one.call("/", "Connection: close")
        assert answer.get("connection") == "close"
        assert await one.client.at_end()


async def test_early_hints_come_through_and_http_1_0_is_spared_them(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        answer = await one.call("/early-hints")
        assert [head.start[1] for head in answer.informational] == [b"103"]
        assert answer.informational[0].get("link") == b"</style.css>; rel=preload"
        assert answer.body == b"hinted"
        assert (await one.call("/early-hints", version="1.0")).informational == ()


async def test_sixteen_interim_answers_are_too_many(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        for number, status in ((15, 200), (16, 502)):
            script = b"HTTP/1.1 103 Early Hints\r\n\r\n" * number + response(200, b"late")
            w.upstream.on("/hints", raw(script, close=False))
            answer = await one.call("/hints")
            assert (len(answer.informational), answer.status) == (number, status)
        await w.settled()
        assert ends(w) == [("complete", "", 200), ("upstream_error", "upstream_protocol", 502)]


async def test_an_upgrade_nobody_asked_for_is_refused(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        w.upstream.on("/", raw(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"))
        answer = await one.call("/")
        assert (answer.status, answer.json()["code"]) == (502, "upstream_protocol")


@pytest.mark.parametrize("way", ["absolute", "tls"])
async def test_continue_comes_after_the_decision_and_before_the_body(tmp_path, way):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        head = one.head("/x", "Expect: 100-continue", "Content-Length: 5", method="POST")
        await one.client.send(head)
        assert (await one.client.read_head()).start[1] == b"100"
        assert [(record.effect, record.path) for record in w.decisions] == [("allow", "/x")]
        await one.client.send(b"hello")
        answer = await one.client.read_response()
        assert (answer.json()["length"], answer.informational) == (5, ())
        assert w.upstream.requests[0].head.get("expect") is None


async def test_a_refused_expectation_gets_no_continue_and_its_body_is_not_read(tmp_path):
    async with plain_world(tmp_path, policies=[]) as w, line(w) as one:
        await one.client.send(one.head("/x", "Expect: 100-continue", "Content-Length: 5", method="POST"))
        answer = await one.client.read_response()
        assert (answer.status, answer.informational) == (403, ())
        assert await one.client.at_end()
        assert refusals(w) == [("default_deny", 403)]
        assert untouched(w)
