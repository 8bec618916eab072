"""A switched connection: frames untouched both ways, until either side, the task or the sidecar ends it."""

import asyncio
import base64
import os
import ssl

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from tests.engine.lines import Line, ends, line, plain_world, refusals, untouched
from tests.support.behaviours import raw
from tests.support.call import Call
from tests.support.upstream import Upstream
from tests.support.websocket import BINARY, CLOSE, PING, PONG, TEXT, Frame, accept_key, read_frame
from tests.support.world import World, world

KEY = base64.b64encode(b"0123456789abcdef")
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY.decode()}",
)
MASK = b"mask"


def joined(w: World) -> connect:
    """The library, through the sidecar as its proxy."""
    host, port = w.address
    tls = w.upstream.tls
    return connect(
        f"{'wss' if tls else 'ws'}://{w.authority}/websocket",
        proxy=f"http://task:{w.started.token}@{host}:{port}",
        ssl=ssl.create_default_context(cafile=w.keyring.ca_path) if tls else None,
        max_size=None,
        open_timeout=20,
        close_timeout=20,
    )


async def switched(one: Line, path: str = "/websocket", more: bytes = b"") -> None:
    """Upgrade this connection; ``more`` is sent along with the request."""
    await one.client.send(one.head(path, *UPGRADE) + more)
    head = await one.client.read_head()
    assert head.start[1] == b"101", head
    assert head.get("sec-websocket-accept") == accept_key(KEY)
    assert (head.get("upgrade"), head.get("connection")) == (b"websocket", b"Upgrade")


@pytest.mark.parametrize("tls", [False, True])
async def test_a_real_client_talks_both_ways_and_closes(tmp_path, tls):
    async with world(tmp_path, upstream=Upstream("api.test", tls=tls)) as w:
        async with joined(w) as socket:
            big = os.urandom(1_000_000)
            for message in ("hello", big, "", "grüße" * 1000):
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping())
        assert (socket.close_code, socket.protocol.close_rcvd.code) == (1000, 1000)
        await w.settled()
        assert ends(w) == [("complete", "", 101)]
        (outcome,) = w.outcomes
        assert outcome.raw["what"]["bytes_up"] == w.upstream.bytes_received
        assert outcome.raw["what"]["bytes_down"] > len(big)
        assert [record.effect for record in w.decisions] == ["allow"]


async def test_frames_are_not_touched(tmp_path):
    """Flags, fragments, pings in between, and what comes along with the handshake."""
    async with world(tmp_path) as w, line(w) as one:
        frames = [
            Frame(TEXT, b"comp", rsv1=True),
            Frame(BINARY, b"frag", fin=False),
            Frame(PING, b"in between"),
            Frame(0, b"ment"),
            Frame(BINARY, os.urandom(70_000)),
        ]
        await switched(one, more=frames[0].encode(MASK))
        for frame in frames[1:]:
            await one.client.send(frame.encode(MASK))
        for frame in frames:
            got = await read_frame(one.client.reader)
            opcode = PONG if frame.opcode == PING else frame.opcode
            assert got == Frame(opcode, frame.payload, fin=frame.fin, rsv1=frame.rsv1)
        assert b"".join(frame.encode(MASK) for frame in frames) in w.upstream.received
        head = w.upstream.requests[0].head
        assert (head.get("upgrade"), head.get("connection")) == (b"websocket", b"Upgrade")


async def test_the_api_may_close(tmp_path):
    async def closes(call: Call) -> None:
        key = call.received.head.get("sec-websocket-key") or b""
        await call.send(
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept_key(key)
            + b"\r\n\r\n"
            + Frame(TEXT, b"at once").encode()  # in one piece with the answer's head
            + Frame(CLOSE, b"\x03\xe8").encode()
        )
        assert (await read_frame(call.received.connection)).opcode == CLOSE
        call.close = True

    async with world(tmp_path) as w:
        w.upstream.on("/websocket", closes)
        async with joined(w) as socket:
            assert await socket.recv() == "at once"
            with pytest.raises(websockets.ConnectionClosedOK):
                await socket.recv()
        await w.settled()
        assert ends(w) == [("complete", "", 101)]


async def test_one_side_may_finish_after_the_other_has(tmp_path):
    async def finishes(call: Call) -> None:
        await call.send(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        said = await call.received.connection.read()
        await call.send(b"you said " + said)
        call.close = True

    async with plain_world(tmp_path) as w, line(w) as one:
        w.upstream.on("/websocket", finishes)
        await one.client.send(one.head("/websocket", *UPGRADE) + b"good")
        assert (await one.client.read_head()).start[1] == b"101"
        await one.client.send(b" bye")
        one.client.half_close()
        assert await one.client.read_exactly(17) == b"you said good bye"
        assert await one.client.at_end()
        await w.settled()
        assert ends(w) == [("complete", "", 101)]


@pytest.mark.parametrize("tls", [False, True])
async def test_the_end_of_the_task_cuts_it(tmp_path, tls):
    async with world(tmp_path, upstream=Upstream("api.test", tls=tls)) as w:
        socket: ClientConnection
        async with joined(w) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
            w.store.end(w.started.task.id, "over", now=0)  # as another process does it
            async with asyncio.timeout(10):
                with pytest.raises(websockets.ConnectionClosedError):
                    await socket.recv()
        await w.settled()
        assert ends(w) == [("cut", "task_ended", 101)]
        await w.upstream.until(w.upstream.connections[0].closed.is_set)


async def test_the_end_of_the_sidecar_cuts_it(tmp_path):
    async with world(tmp_path) as w, line(w) as one:
        await switched(one)
        await w.sidecar.drain(0)
        assert await one.client.at_end()
        assert ends(w) == [("cut", "draining", 101)]


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_vanishes(tmp_path, tls):
    async with world(tmp_path, upstream=Upstream("api.test", tls=tls)) as w:
        async with line(w) as one:
            await switched(one)
            one.client.abort()
            await w.settled()
        assert ends(w) == [("client_gone", "", 101)]
        await w.upstream.until(w.upstream.connections[0].closed.is_set)


async def test_an_api_that_vanishes(tmp_path):
    async def vanishes(call: Call) -> None:
        await call.send(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await call.received.connection.read(1)
        call.abort()

    async with plain_world(tmp_path) as w, line(w) as one:
        w.upstream.on("/websocket", vanishes)
        await one.client.send(one.head("/websocket", *UPGRADE))
        assert (await one.client.read_head()).start[1] == b"101"
        await one.client.send(b"x")
        assert await one.client.at_end()
        await w.settled()
        assert ends(w) == [("upstream_error", "upstream_closed", 101)]


async def test_an_api_that_does_not_switch_answers_like_any_other(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        answer = await one.call("/bytes?n=3", *UPGRADE)
        assert (answer.status, len(answer.body)) == (200, 3)
        assert (await one.call("/")).status == 200


@pytest.mark.parametrize("protocol", [b"other", b"websocket, other"])
async def test_an_api_that_switches_to_something_else(tmp_path, protocol):
    async with plain_world(tmp_path) as w, line(w) as one:
        script = b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
        w.upstream.on("/websocket", raw(script))
        assert (await one.call("/websocket", *UPGRADE)).status == 502


async def test_an_upgrade_is_decided_like_any_request(tmp_path):
    async with plain_world(tmp_path, policies=[]) as w, line(w) as one:
        answer = await one.call("/websocket", *UPGRADE)
        assert answer.status == 403
        assert await one.client.at_end()
        assert refusals(w) == [("default_deny", 403)]
        assert untouched(w)


async def test_a_slow_reader_holds_the_writer_back(tmp_path):
    """Nothing is buffered beyond the marks: what the client does not take, the API cannot send."""
    sent = 0

    async def floods(call: Call) -> None:
        nonlocal sent
        await call.send(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        for _ in range(4000):
            await call.send(bytes(65536))
            sent += 65536
        call.close = True

    async with plain_world(tmp_path) as w, line(w) as one:
        w.upstream.on("/websocket", floods)
        await one.client.send(one.head("/websocket", *UPGRADE))
        assert (await one.client.read_head()).start[1] == b"101"
        one.client.writer.transport.pause_reading()
        quiet = 0
        while quiet < 20:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.01)
            quiet = quiet + 1 if sent == before else 0
        held = sum(
            wire._size + wire._transport.get_write_buffer_size() for wire in w.sidecar.server._deadlines.wires
        )
        assert held < 2 << 20
        assert sent < 4000 * 65536
        one.client.writer.transport.resume_reading()
        left = 4000 * 65536
        while left:
            left -= len(await one.client.read_some())
