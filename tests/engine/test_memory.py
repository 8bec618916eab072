"""Streaming with back-pressure: a GiB either way, and slow peers, do not grow the sidecar's memory."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.lines import ends, line, plain_world, until
from tests.support.behaviours import BLOCK
from tests.support.call import Call
from tests.support.rawclient import RawClient, basic
from tests.support.upstream import Upstream
from tests.support.world import World, world
from tests.system.deployed import Deployed, deployed

GIB = 1 << 30
GROWTH = 20 << 20
FLOOD = 128 << 20
MARKS = 2 << 20  # two wires, each with its marks for reading and writing, and what one event may add


def memory(w: Deployed, what: str) -> int:
    """Octets of ``VmRSS`` or of its peak, ``VmHWM``."""
    status = Path(f"/proc/{w.sidecar.process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(what + ":"))


async def connected(w: Deployed) -> RawClient:
    client = await RawClient.connect(w.sidecar.address)
    token = w.variables["HTTPS_PROXY"].rpartition("@")[0].rpartition("/")[2]
    user, _, password = token.partition(":")
    answer = await client.open_tunnel(f"api.test:{w.upstream.port}", basic(user, password))
    assert answer.status == 200, answer
    await client.start_tls("api.test", cafile=w.directory / "state" / "ca.pem")
    return client


async def download(w: Deployed, client: RawClient, size: int) -> None:
    await client.send(f"GET /bytes?n={size} HTTP/1.1\r\nHost: api.test:{w.upstream.port}\r\n\r\n".encode())
    left = int((await client.read_head()).get("content-length") or b"")
    assert left == size
    while left:
        left -= len(await client.read_some(1 << 20))


async def upload(w: Deployed, client: RawClient, size: int) -> None:
    head = f"PUT /count HTTP/1.1\r\nHost: api.test:{w.upstream.port}\r\nContent-Length: {size}\r\n\r\n"
    await client.send(head.encode())
    for _ in range(size // len(BLOCK)):
        await client.send(BLOCK)
    assert (await client.read_response()).body == b"%d" % size


async def count(call: Call) -> None:
    """Counts, because a digest of a GiB takes longer than its transport."""
    total = 0
    async for piece in call.body:
        total += len(piece)
    call.received.complete = True
    await call.send(b"HTTP/1.1 200 K\r\nContent-Length: %d\r\n\r\n%d" % (len(str(total)), total))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("transfer", [download, upload])
async def test_a_gib_leaves_no_trace_in_memory(tmp_path, transfer):
    async with deployed(tmp_path) as w:
        w.upstream.on("/count", count)
        async with await connected(w) as client:
            await transfer(w, client, 1 << 20)  # warm: the leaf, the connection, the buffers
            before = memory(w, "VmRSS")
            await transfer(w, client, GIB)
            assert memory(w, "VmHWM") - before < GROWTH


# -- slow peers --


def held(w: World) -> int:
    """Octets in the sidecar's own buffers."""
    wires = w.sidecar.server._deadlines.wires
    return sum(wire._size + wire._transport.get_write_buffer_size() for wire in wires)


async def standstill(progress: Callable[[], int]) -> int:
    """Wait until something stops growing, and return how far it came."""
    quiet, before = 0, -1
    while quiet < 20:
        quiet = quiet + 1 if progress() == before else 0
        before = progress()
        await asyncio.sleep(0.01)
    return before


@pytest.mark.parametrize("way", ["absolute", "tls"])
async def test_a_slow_reader_holds_the_api_back(tmp_path, way):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        sent = 0

        async def floods(call: Call) -> None:
            nonlocal sent
            await call.take()
            await call.send(b"HTTP/1.1 200 K\r\nContent-Length: %d\r\n\r\n" % FLOOD)
            while sent < FLOOD:
                await call.send(BLOCK)
                sent += len(BLOCK)

        w.upstream.on("/flood", floods)
        await one.client.send(one.head("/flood"))
        head = await one.client.read_head()
        one.client.writer.transport.pause_reading()
        assert await standstill(lambda: sent) < FLOOD
        assert held(w) < MARKS
        one.client.writer.transport.resume_reading()
        got = 0
        async for piece in one.client.body(head):
            got += len(piece)
        assert got == FLOOD
        assert (await one.call("/")).status == 200


@pytest.mark.parametrize("way", ["absolute", "tls"])
async def test_a_slow_api_holds_the_agent_back(tmp_path, way):
    async def waits(call: Call) -> None:
        await call.release.wait()
        await count(call)

    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        w.upstream.on("/waits", waits)
        sent = 0

        async def pours() -> None:
            nonlocal sent
            await one.client.send(one.head("/waits", f"Content-Length: {FLOOD}", method="PUT"))
            while sent < FLOOD:
                await one.client.send(BLOCK)
                sent += len(BLOCK)

        pouring = asyncio.ensure_future(pours())
        assert await standstill(lambda: sent) < FLOOD
        assert held(w) < MARKS
        w.upstream.release.set()
        await pouring
        assert (await one.client.read_response()).body == b"%d" % FLOOD
        assert (await one.call("/")).status == 200


async def test_a_reader_that_takes_nothing_is_cut_in_the_end(tmp_path):
    async with plain_world(tmp_path, limits={"body_timeout": 0.5}) as w, line(w) as one:
        await one.client.send(one.head(f"/bytes?n={FLOOD}"))
        await one.client.read_head()
        one.client.writer.transport.pause_reading()
        await w.settled()
        assert ends(w) == [("client_gone", "", 200)]
        assert w.outcomes[0].raw["what"]["bytes_down"] < FLOOD
        assert len(w.decisions) == 1
        await until(lambda: not w.sidecar.server._running)


async def test_pipelined_requests_whose_answers_nobody_takes_wait(tmp_path):
    """A client that only asks must not have its answers piled up in memory."""
    async with plain_world(tmp_path) as w, line(w) as one:
        one.client.writer.transport.pause_reading()
        asked = one.head("/bytes?n=65536") * 1000
        pouring = asyncio.ensure_future(one.client.send(asked))
        done = await standstill(lambda: len(w.upstream.requests))
        assert 0 < done < 1000
        assert held(w) < MARKS
        one.client.writer.transport.resume_reading()
        for _ in range(1000):
            assert len((await one.client.read_response()).body) == 65536
        await pouring
