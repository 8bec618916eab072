"""What the API does wrong: the agent is told, or sees that its answer was cut, and the outcome names it."""

import asyncio
import socket

import pytest

from tests.engine.lines import Elsewhere, ends, line, plain_world, truncated
from tests.support.behaviours import paced, raw
from tests.support.call import Call
from tests.support.certificates import Certificate
from tests.support.upstream import Upstream
from tests.support.world import world


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("path", ["/vanish", "/abort"])
async def test_an_api_that_goes_without_an_answer(tmp_path, tls, path):
    async with world(tmp_path, upstream=Upstream("api.test", tls=tls)) as w, line(w) as one:
        answer = await one.call(path)
        assert (answer.status, answer.json()["code"]) == (502, "upstream_closed")
        assert answer.json()["record"] == w.decisions[0].id
        assert len(w.upstream.requests) == 1  # on a new connection nothing is tried twice
        assert (await one.call("/")).status == 200  # the client's connection goes on
        await w.settled()
        assert ends(w)[0] == ("upstream_error", "upstream_closed", 502)


async def test_an_api_that_refuses_connections(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    nowhere = Elsewhere(Upstream("api.test", tls=False), port)
    async with world(tmp_path, upstream=nowhere) as w, line(w) as one:
        answer = await one.call("/")
        assert (answer.status, answer.json()["code"]) == (502, "connect_failed")
        await w.settled()
        assert [record.effect for record in w.decisions] == ["allow"]
        assert answer.json()["record"] == w.decisions[0].id
        assert ends(w) == [("upstream_error", "connect_failed", 502)]


@pytest.mark.parametrize("kind", [kind for kind in Certificate if kind is not Certificate.GOOD])
async def test_a_certificate_that_does_not_hold(tmp_path, kind):
    upstream = Upstream("api.test", certificate=kind)
    async with world(tmp_path, upstream=upstream) as w:
        answer = await w.call("/", method="POST", body=b"secret body")
        assert (answer.status, answer.json()["code"]) == (502, "tls_cert")
        await w.settled()
        assert ends(w) == [("upstream_error", "tls_cert", 502)]
        assert answer.json()["record"] == w.decisions[0].id
        assert upstream.bytes_received == 0


async def test_an_api_that_does_not_speak_tls(tmp_path):
    async def nonsense(reader, writer):
        writer.write(b"HTTP/1.1 400 Plain\r\n\r\n")
        await reader.read()
        writer.close()

    plain = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = plain.sockets[0].getsockname()[1]
    async with plain, world(tmp_path, upstream=Elsewhere(Upstream("api.test"), port)) as w:
        answer = await w.call("/")
        assert (answer.status, answer.json()["code"]) == (502, "tls_upstream")
        await w.settled()
        assert ends(w) == [("upstream_error", "tls_upstream", 502)]


@pytest.mark.parametrize(
    "script",
    [
        b"HTTP/1.1 200 K\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 K\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 K\r\nContent-Length: +5\r\n\r\nabcde",
        b"HTTP/1.1 200 K\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 K\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 K\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 K\r\nX: a\nSet-Cookie: b\r\n\r\n",
        b"HTTP/1.1 200 K\r\nX: a\rSet-Cookie: b\r\n\r\n",
        b"HTTP/1.1 200 K\r\nBad Name: b\r\n\r\n",
        b"HTTP/1.1 200 K\r\n folded: b\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/2.0 200 K\r\n\r\n",
        b"HTTP/1.1 999 K\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"HTTP/1.1 200 K\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 K\r\n" + b"X: a\r\n" * 300 + b"\r\n",
    ],
)
async def test_an_answer_that_can_be_read_in_two_ways(tmp_path, script):
    async with plain_world(tmp_path) as w, line(w) as one:
        w.upstream.on("/bad", raw(script))
        answer = await one.call("/bad")
        assert (answer.status, answer.json()["code"]) == (502, "upstream_protocol")
        assert answer.json()["record"] == w.decisions[0].id
        assert (await one.call("/")).status == 200
        assert [r.connection.index for r in w.upstream.requests] == [0, 1]  # the connection is not used again
        await w.settled()
        assert ends(w) == [("upstream_error", "upstream_protocol", 502), ("complete", "", 200)]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"Content-Length: 10", "upstream_closed"),
        (b"Transfer-Encoding: chunked", "upstream_closed"),
        (b"Transfer-Encoding: chunked", "upstream_protocol"),
    ],
)
async def test_an_answer_that_dies_in_the_middle_is_seen_to_be_cut(tmp_path, tls, head, code):
    gate = asyncio.Event()
    async with world(tmp_path, upstream=Upstream("api.test", tls=tls)) as w, line(w) as one:
        first = b"HTTP/1.1 200 K\r\n" + head + b"\r\n\r\n5\r\nabcde\r\n"[: None if b"ch" in head else 9]
        w.upstream.on("/dies", paced(first, b"" if code == "upstream_closed" else b"zz\r\n", gate=gate))
        await one.client.send(one.head("/dies"))
        await w.upstream.until(lambda: bool(w.upstream.requests))
        gate.set()
        await truncated(one)
        await w.settled()
        assert ends(w) == [("upstream_error", code, 200)]


async def test_an_answer_that_only_closing_ends_is_reset_when_it_is_cut(tmp_path):
    """To an HTTP/1.0 client an orderly end would complete the body."""

    async def dies(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 K\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        await call.release.wait()
        call.close = True

    async with plain_world(tmp_path) as w, line(w) as one:
        w.upstream.on("/dies", dies)
        await one.client.send(one.head("/dies", version="1.0"))
        await one.client.read_head()
        assert await one.client.read_exactly(5) == b"abcde"
        w.upstream.release.set()
        with pytest.raises(ConnectionResetError):
            await one.client.read_some()


async def test_an_api_that_says_nothing_in_time(tmp_path):
    async with plain_world(tmp_path, egress={"first_byte_timeout": 0.3}) as w, line(w) as one:
        answer = await one.call("/slow")
        assert (answer.status, answer.json()["code"]) == (504, "upstream_timeout")
        assert (await one.call("/")).status == 200
        await w.settled()
        assert ends(w) == [("upstream_error", "upstream_timeout", 504), ("complete", "", 200)]


async def test_an_answer_that_stops_is_cut_and_nothing_is_written_into_it(tmp_path):
    gate = asyncio.Event()
    async with plain_world(tmp_path, egress={"idle_timeout": 0.3}) as w, line(w) as one:
        head = b"HTTP/1.1 200 K\r\nContent-Length: 1000\r\n\r\n"
        w.upstream.on("/stops", paced(head + b"abc", b"", gate=gate))
        await one.client.send(one.head("/stops"))
        assert await truncated(one) == b"abc"
        await w.settled()
        assert ends(w) == [("upstream_error", "upstream_timeout", 200)]
        assert len(w.decisions) == 1
