"""Nothing waits for the end of a message: events, early answers, uploads and half-closed connections."""

import asyncio
import ssl

import pytest

from tests.engine.lines import ends, line, plain_world
from tests.support.behaviours import paced
from tests.support.call import Call
from tests.support.upstream import Upstream
from tests.support.world import world


@pytest.mark.parametrize("way", ["absolute", "tls"])
async def test_each_event_arrives_before_the_next_one_is_made(tmp_path, way):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        await one.client.send(one.head("/sse", "Accept: text/event-stream"))
        head = await one.client.read_head()
        assert head.get("content-type") == b"text/event-stream"
        pieces = aiter(one.client.body(head))
        async with asyncio.timeout(10):
            assert await anext(pieces) == b"data: first\n\n"
        w.upstream.release.set()
        async with asyncio.timeout(10):
            assert await anext(pieces) == b"data: second\n\n"
            assert [piece async for piece in pieces] == []
        await w.settled()
        assert ends(w) == [("complete", "", 200)]


async def test_octets_of_a_length_body_arrive_as_they_come(tmp_path):
    gate = asyncio.Event()
    async with plain_world(tmp_path) as w, line(w) as one:
        head = b"HTTP/1.1 200 K\r\nContent-Length: 6\r\n\r\n"
        w.upstream.on("/slow", paced(head + b"abc", b"def", gate=gate))
        await one.client.send(one.head("/slow"))
        await one.client.read_head()
        assert await one.client.read_exactly(3) == b"abc"
        gate.set()
        assert await one.client.read_exactly(3) == b"def"


@pytest.mark.parametrize("way", ["absolute", "tls"])
async def test_an_early_answer_arrives_while_the_upload_still_runs(tmp_path, way):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        await one.client.send(one.head("/early", "Content-Length: 1000000", method="POST") + b"x" * 1000)
        answer = await one.client.read_response()
        assert (answer.status, answer.body) == (413, b"too much")
        await one.client.send(b"x" * 1000)  # it is read, so that the answer is not lost, and goes nowhere
        assert await one.client.at_end()
        await w.settled()
        assert ends(w) == [("complete", "", 413)]


async def test_an_answer_may_stream_while_its_request_does(tmp_path):
    async def mirror(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 K\r\nTransfer-Encoding: chunked\r\n\r\n")
        async for piece in call.body:
            await call.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        await call.send(b"0\r\n\r\n")
        call.received.complete = True

    async with world(tmp_path) as w, line(w) as one:
        w.upstream.on("/mirror", mirror)
        await one.client.send(one.head("/mirror", "Transfer-Encoding: chunked", method="POST"))
        pieces = None
        for word in (b"one", b"two", b"three"):
            await one.client.send(b"%x\r\n%s\r\n" % (len(word), word))
            if pieces is None:
                pieces = aiter(one.client.body(await one.client.read_head()))
            async with asyncio.timeout(10):
                assert await anext(pieces) == word
        await one.client.send(b"0\r\n\r\n")
        async with asyncio.timeout(10):
            assert [piece async for piece in pieces] == []
        assert (await one.call("/")).status == 200
        assert len(w.upstream.connections) == 1


async def test_a_client_may_end_its_direction_after_its_request(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/slow"))
        one.client.half_close()
        await w.upstream.until(lambda: bool(w.upstream.requests))
        w.upstream.release.set()
        assert (await one.client.read_response()).body == b"at last"
        assert await one.client.at_end()
        await w.settled()
        assert ends(w) == [("complete", "", 200)]


async def test_a_client_may_say_close_notify_after_its_request(tmp_path):
    """The client is OpenSSL between two buffers, because asyncio cannot half-close TLS."""
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=w.keyring.ca_path)
        tls = context.wrap_bio(incoming, outgoing, server_hostname="api.test")

        async def until(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        await client.send(outgoing.read())
                    if data := await client.read_some():
                        incoming.write(data)
                    else:
                        incoming.write_eof()

        await until(tls.do_handshake)
        tls.write(f"GET /slow HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        await client.send(outgoing.read())
        client.half_close()
        await w.upstream.until(lambda: bool(w.upstream.requests))
        w.upstream.release.set()
        answer = b""
        while not answer.endswith(b"at last"):
            answer += await until(lambda: tls.read(65536))
        assert answer.startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ssl.SSLZeroReturnError):  # it says good-bye in turn
            await until(lambda: tls.read(1) or pytest.fail("octets after the answer"))
        await w.settled()
        assert ends(w) == [("complete", "", 200)]
