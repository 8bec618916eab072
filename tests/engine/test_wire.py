"""A wire over real sockets, plain and under TLS: order, back-pressure, and every way to end."""

import asyncio
import socket
import ssl
import struct

import pytest

from proxy.engine import wire as wires
from proxy.engine.wire import HIGH_WATER, Wire
from proxy.engine.wire_error import Cut, Expired, Gone, WireError
from tests.engine.lines import until
from tests.engine.wires import Clock, against_socket, client_context, everything, pair, server_context

TLS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
BIG = bytes(range(256)) * 32768  # 8 MiB: more than any socket buffer here


async def push(wire: Wire, data: bytes) -> None:
    for at in range(0, len(data), 65536):
        wire.write(data[at : at + 65536])
        await wire.drain()
    wire.end()


@pytest.mark.parametrize("tls", [False, True])
async def test_octets_arrive_in_order_and_each_direction_ends_on_its_own(tls):
    async with pair(tls=tls) as (server, client):
        sent, got, back = await asyncio.gather(
            push(client, BIG), everything(server), client_reads(client, server)
        )
        assert got == BIG
        assert back == b"not before the end"
        assert (client.sent, sent) == (len(BIG), None)


async def client_reads(client: Wire, server: Wire) -> bytes:
    await until(lambda: not server.idle)
    await until(lambda: server.eof)
    server.write(b"not before the end")  # the other direction is still open
    server.end()
    return await everything(client)


@pytest.mark.parametrize("version", TLS)
async def test_close_notify_ends_one_direction_of_tls_only(version):
    async with pair(tls=True, version=version) as (server, client):
        client.write(b"question")
        client.end()
        assert await everything(server) == b"question"
        server.write(b"answer")
        server.end()
        assert await everything(client) == b"answer"


@pytest.mark.parametrize("tls", [False, True])
async def test_it_reads_ahead_so_much_and_no_more(tls):
    async with pair(tls=tls) as (server, client):
        pushing = asyncio.ensure_future(push(client, BIG))
        await until(lambda: not server._reading)
        await until(lambda: not client.writable)
        assert server._size <= HIGH_WATER + 256 * 1024  # what one event of the loop may bring
        assert client._transport.get_write_buffer_size() <= HIGH_WATER + 65536 + 4096
        assert not pushing.done()
        assert await everything(server) == BIG
        await pushing


async def test_a_peer_that_takes_nothing_ends_the_wait_at_the_deadline():
    """Were the wait taken for done, everything would be queued in memory from then on."""
    clock = Clock()
    async with against_socket(clock) as (wire, _):
        wire.deadline = clock.time + 5
        pushing = asyncio.ensure_future(push(wire, BIG * 4))
        await until(lambda: not wire.writable)
        clock.time += 4.9
        wire._deadlines.sweep()
        await asyncio.sleep(0)
        assert not pushing.done()
        clock.time += 0.2
        wire._deadlines.sweep()
        with pytest.raises(Expired):
            await pushing
        assert not wire.writable


async def test_a_closed_wire_whose_peer_takes_nothing_is_aborted_in_the_end():
    clock = Clock()
    async with against_socket(clock) as (wire, peer):
        while wire.writable:
            wire.write(BIG[:HIGH_WATER])
            await asyncio.sleep(0)
        wire.close()
        wire._deadlines.sweep()
        assert wire in wire._deadlines.wires
        clock.time += wires.FAREWELL + 1
        wire._deadlines.sweep()
        await until(lambda: wire not in wire._deadlines.wires)
        peer.settimeout(10)
        taken = 0
        try:
            while data := await asyncio.to_thread(peer.recv, 1 << 20):
                taken += len(data)
        except ConnectionResetError:
            taken += 0
        assert taken < wire.sent


async def test_a_closed_wire_delivers_what_is_queued():
    async with pair() as (server, client):
        reading = asyncio.ensure_future(everything(server))
        for at in range(0, len(BIG), 1 << 20):
            client.write(BIG[at : at + (1 << 20)])
        client.close()
        assert await reading == BIG


async def test_what_is_aborted_is_reset():
    async with against_socket() as (wire, peer):
        wire.write(b"half")
        peer.settimeout(10)
        assert await asyncio.to_thread(peer.recv, 4) == b"half"
        wire.abort()
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(peer.recv, 1)


@pytest.mark.parametrize("tls", [False, True])
async def test_after_our_end_nothing_is_written_and_nothing_raises(tls):
    async with pair(tls=tls) as (server, client):
        client.end()
        client.write(b"late")
        client.end()
        assert await everything(server) == b""
        server.write(b"still open")
        server.close()
        server.write(b"late")
        server.end()
        assert await everything(client) == b"still open"
        client.close()
        client.close()
        await until(lambda: client.closed and server.closed)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_peer_that_vanishes_is_gone_after_what_it_said(tls):
    async with pair(tls=tls) as (server, client):
        told = []
        server.on_gone = lambda: told.append("gone")
        client.write(b"last words")
        if tls:
            client._transport.write_eof()  # without close_notify
        else:
            await until(lambda: not server.idle)
            client.abort()
        await until(lambda: bool(told))
        assert not server.idle
        assert await server.read() == b"last words"
        for _ in range(2):
            with pytest.raises(Gone) as gone:
                await server.read()
            assert gone.value.wire is server
        server.abort()
        await until(lambda: server.closed)
        assert told == ["gone"]  # once


async def test_an_orderly_end_is_not_gone():
    async with pair(tls=True) as (server, client):
        told = []
        server.on_gone = lambda: told.append("gone")
        client.end()
        assert await everything(server) == b""
        server.close()
        await until(lambda: server.closed)
        assert told == []


async def test_the_first_error_stays_and_only_a_time_out_can_be_forgiven():
    async with pair() as (server, _):
        server.forgive()
        server.fail(Expired)
        server.fail(Cut)
        with pytest.raises(Expired):
            await server.read()
        server.forgive()
        server.fail(Cut)
        server.forgive()
        with pytest.raises(Cut):
            await server.read()


async def test_cut_wakes_whoever_waits():
    async with pair() as (server, client):
        reading = asyncio.ensure_future(server.read())
        await asyncio.sleep(0)
        server.cut()
        with pytest.raises(Cut):
            await reading
        with pytest.raises(WireError):
            await client.read()
        server.write(b"into the void")
        assert server.closed


async def test_a_deadline_counts_once():
    clock = Clock()
    async with pair(now=clock) as (server, _):
        server.deadline = clock.time
        server._deadlines.sweep()
        server.forgive()
        clock.time += 100
        server._deadlines.sweep()
        assert server.idle


# -- handshakes --


async def test_a_handshake_takes_octets_that_were_read_already():
    async with pair() as (server, client):
        connecting = asyncio.ensure_future(client.secure(client_context(), server_name="api.test"))
        first = await server.read()
        await asyncio.gather(server.secure(server_context(), first=first), connecting)
        client.write(b"hello")
        assert await server.read() == b"hello"
        assert server.tls is not None
        assert server.tls.version() == "TLSv1.3"


async def test_a_handshake_with_the_wrong_name_fails_on_both_sides():
    async with pair() as (server, client):
        accepting = asyncio.ensure_future(server.secure(server_context()))
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.secure(client_context(), server_name="other.test")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await accepting


async def test_a_handshake_whose_peer_leaves():
    async with pair() as (server, client):
        accepting = asyncio.ensure_future(server.secure(server_context()))
        client.end()
        with pytest.raises(Gone):
            await accepting


async def test_a_handshake_whose_peer_is_slow():
    clock = Clock()
    async with pair(now=clock) as (server, _):
        server.deadline = clock.time + 1
        accepting = asyncio.ensure_future(server.secure(server_context()))
        await asyncio.sleep(0)
        clock.time += 2
        server._deadlines.sweep()
        with pytest.raises(Expired):
            await accepting


async def test_octets_that_are_no_tls():
    async with pair() as (server, client):
        accepting = asyncio.ensure_future(server.secure(server_context()))
        client.write(b"\x16\x03\x01\x00\x05hello")
        with pytest.raises(ssl.SSLError):
            await accepting
        assert (await client.read()).startswith(b"\x15\x03")  # the alert that says why


async def test_an_end_to_a_peer_that_has_just_reset_is_no_failure_of_ours():
    """The kernel knows of the reset before the loop does; the next wait says that the peer is gone."""
    async with against_socket() as (wire, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        wire.end()
        with pytest.raises(Gone):
            await wire.read()
