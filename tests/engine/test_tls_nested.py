"""TLS in TLS over a real connection: order, sizes, and every way to end, of either layer."""

import asyncio
import contextlib
import ssl

import pytest

from proxy.engine.wire import HIGH_WATER, Wire
from proxy.engine.wire_error import Expired, Gone
from tests.engine.lines import until
from tests.engine.svids import BOTH_LOOPS
from tests.engine.wires import Clock, client_context, everything, pair, server_context

pytestmark = pytest.mark.asyncio(loop_factories=BOTH_LOOPS)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BIG = bytes(range(256)) * 32768  # 8 MiB


@contextlib.asynccontextmanager
async def nested(outer=V13, inner=V13):
    async with pair(tls=True, version=outer) as (server, client):
        await asyncio.gather(
            server.secure(server_context(version=inner)),
            client.secure(client_context(), server_name="api.test"),
        )
        yield server, client


async def push(wire: Wire, data: bytes) -> None:
    for at in range(0, len(data), 65536):
        wire.write(data[at : at + 65536])
        await wire.drain()
    wire.end()


@pytest.mark.parametrize(("outer", "inner"), [(V13, V13), (V12, V13), (V13, V12), (V12, V12)])
async def test_both_directions_stream_at_once_and_end_one_by_one(outer, inner):
    async with nested(outer, inner) as (server, client):
        assert server.tls.version() == inner.name.replace("_", ".")
        _, _, up, down = await asyncio.gather(
            push(client, BIG), push(server, BIG[::-1]), everything(server), everything(client)
        )
        assert up == BIG
        assert down == BIG[::-1]
        assert client.sent == server.sent == len(BIG)


async def test_an_end_leaves_the_other_direction_open():
    async with nested() as (server, client):
        client.write(b"question")
        client.end()
        assert await everything(server) == b"question"
        server.write(b"answer")
        server.end()
        server.close()
        assert await everything(client) == b"answer"


async def test_it_reads_ahead_so_much_and_no_more():
    async with nested() as (server, client):
        pushing = asyncio.ensure_future(push(client, BIG))
        await until(lambda: not server._reading)
        await until(lambda: not client.writable)
        assert server._size <= HIGH_WATER + 256 * 1024
        assert await everything(server) == BIG
        await pushing


async def test_what_was_read_already_belongs_to_the_inner_handshake():
    async with pair(tls=True) as (server, client):
        connecting = asyncio.ensure_future(client.secure(client_context(), server_name="api.test"))
        first = await server.read()
        await asyncio.gather(server.secure(server_context(), first=first), connecting)
        server.write(b"hello")
        assert await client.read() == b"hello"


async def test_an_inner_handshake_that_fails_leaves_the_alert_inside():
    async with pair(tls=True) as (server, client):
        accepting = asyncio.ensure_future(server.secure(server_context()))
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.secure(client_context(), server_name="other.test")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await accepting
        client.write(b"never in the clear")
        assert await everything(server) == b""


async def test_octets_that_are_no_inner_tls_are_answered_inside_the_outer():
    async with pair(tls=True) as (server, client):
        accepting = asyncio.ensure_future(server.secure(server_context()))
        client.write(b"\x16\x03\x01\x00\x05hello")
        with pytest.raises(ssl.SSLError):
            await accepting
        assert (await client.read()).startswith(b"\x15\x03")


@pytest.mark.parametrize("layer", ["tcp", "outer"])
async def test_an_inner_layer_that_is_cut_off_is_gone_after_what_it_said(layer):
    async with nested() as (server, client):
        told = []
        server.on_gone = lambda: told.append("gone")
        client.write(b"last words")
        if layer == "outer":
            client._transport.write(client._tls._under.goodbye())  # the inner one says nothing
        client._transport.write_eof()
        await until(lambda: bool(told))
        assert await server.read() == b"last words"
        with pytest.raises(Gone):
            await server.read()
        assert told == ["gone"]


async def test_an_inner_end_is_an_end_whatever_becomes_of_the_outer():
    async with nested() as (server, client):
        told = []
        server.on_gone = lambda: told.append("gone")
        client.write(b"all of it")
        inner = super(type(client._tls), client._tls).goodbye()
        client._transport.write(client._tls._under.encrypt(inner))
        client._transport.write_eof()
        assert await everything(server) == b"all of it"
        assert told == []


async def test_a_peer_that_leaves_in_the_inner_handshake():
    async with pair(tls=True) as (server, client):
        accepting = asyncio.ensure_future(server.secure(server_context()))
        client.end()
        with pytest.raises(Gone):
            await accepting


async def test_a_broken_outer_record_ends_it():
    async with nested() as (server, client):
        client.write(b"sound")
        client._transport.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert await server.read() == b"sound"
        with pytest.raises(Gone):
            await server.read()
        server.write(b"into the void")
        server.end()
        server.close()


async def test_a_slow_inner_handshake_is_late():
    clock = Clock()
    async with pair(tls=True, now=clock) as (server, _):
        server.deadline = clock.time + 1
        accepting = asyncio.ensure_future(server.secure(server_context()))
        await asyncio.sleep(0)
        clock.time += 2
        server._deadlines.sweep()
        with pytest.raises(Expired):
            await accepting
