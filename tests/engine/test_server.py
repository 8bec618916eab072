"""Listeners and the drain: no new connections, running calls end, idle ones close, the log covers everything."""

import asyncio
import socket

import pytest

from proxy.audit.verify import Verified, verify
from proxy.engine.server import Listener
from proxy.identity.arrival import Fixed
from proxy.store.tiles import Tiles
from tests.engine.lines import Elsewhere, ends, line, plain_world, until
from tests.engine.ports import engine
from tests.support.behaviours import pattern
from tests.support.rawclient import RawClient
from tests.support.upstream import Upstream
from tests.support.world import World, world


def verified(w: World) -> Verified:
    result = verify(Tiles(w.state / "log"), w.sidecar.log.vkey)
    assert isinstance(result, Verified), result
    return result


@pytest.mark.parametrize("tls", [False, True])
async def test_a_drain_lets_a_running_call_end(tmp_path, tls):
    async with world(tmp_path, upstream=Upstream("api.test", tls=tls)) as w, line(w) as busy, line(w) as idle:
        assert (await idle.call("/")).status == 200
        await busy.client.send(busy.head("/slow"))
        await w.upstream.until(lambda: len(w.upstream.requests) == 2)
        draining = asyncio.ensure_future(w.sidecar.drain(20))
        assert await idle.client.at_end()
        with pytest.raises(ConnectionRefusedError):
            await RawClient.connect(w.address)
        assert not draining.done()
        w.upstream.release.set()
        assert (await busy.client.read_response()).body == b"at last"
        assert await busy.client.at_end()
        await draining
        assert ends(w) == [("complete", "", 200)] * 2
        assert w.records[-1].kind == "shutdown"
        assert verified(w).size == len(w.records)
        assert verified(w).unsigned == 0


async def test_a_call_that_does_not_end_is_cut_at_the_deadline(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/slow"))
        await w.upstream.until(lambda: bool(w.upstream.requests))
        await w.sidecar.drain(0.1)
        assert await one.client.at_end()
        assert ends(w) == [("cut", "draining", None)]
        assert w.records[-1].kind == "shutdown"
        assert verified(w).unsigned == 0


async def test_a_drain_takes_no_further_request_of_a_pipeline(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/slow") + one.head("/next"))
        await w.upstream.until(lambda: bool(w.upstream.requests))
        draining = asyncio.ensure_future(w.sidecar.drain(20))
        await until(lambda: all(c.stopping for c in w.sidecar.server._running.values()))
        w.upstream.release.set()
        assert (await one.client.read_response()).status == 200
        assert await one.client.at_end()
        await draining
        assert [record.path for record in w.decisions] == ["/slow"]
        assert [request.target for request in w.upstream.requests] == ["/slow"]


async def test_a_streaming_download_ends_before_the_drain_does(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/bytes?n=20000000"))
        head = await one.client.read_head()
        draining = asyncio.ensure_future(w.sidecar.drain(20))
        assert await one.client.body(head).read() == pattern(20_000_000)
        await draining
        assert ends(w) == [("complete", "", 200)]


class Held:
    """A resolver that never answers."""

    def __init__(self) -> None:
        self.asked, self.never = asyncio.Event(), asyncio.Event()

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked.set()
        await self.never.wait()
        return ()


async def test_a_call_that_waits_for_a_name_is_ended_with_its_outcome(tmp_path):
    resolver = Held()
    async with plain_world(tmp_path, resolver=resolver) as w, line(w) as one:
        await one.client.send(one.head("/"))
        await resolver.asked.wait()
        await w.sidecar.drain(0.1)
        assert await one.client.at_end()
        assert ends(w) == [("cut", "draining", None)]
        assert w.records[-1].kind == "shutdown"
        resolver.never.set()


async def test_a_call_in_an_unanswered_handshake_is_ended_with_its_outcome(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        nowhere = Elsewhere(Upstream("api.test"), silent.getsockname()[1])
        async with world(tmp_path, upstream=nowhere) as w, line(w) as one:
            await one.client.send(one.head("/"))
            accepted, _ = await asyncio.to_thread(silent.accept)
            with accepted:
                accepted.settimeout(10)
                assert await asyncio.to_thread(accepted.recv, 65536)  # the ClientHello
                await w.sidecar.drain(0.1)
                assert ends(w) == [("cut", "draining", None)]
                with pytest.raises(ConnectionResetError):
                    accepted.recv(1)


async def test_a_half_sent_head_does_not_hold_the_drain(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/")[:-2])
        await until(lambda: bool(w.sidecar.server._running))
        async with asyncio.timeout(5):
            await w.sidecar.drain(30)
        assert await one.client.at_end()
        assert w.decisions == []


async def test_so_many_connections_and_no_more():
    async with engine(connections=2) as e:
        async with await e.client() as one, await e.client() as two:
            for client in (one, two):
                await client.send(e.head("/"))
                assert (await client.read_response()).status == 200
            async with await e.client() as third:
                assert await third.at_end()
            assert len(e.alarms) == 1
            assert "limits.connections" in e.alarms[0]
        await until(lambda: not e.server._running)
        assert (await e.call("/")).status == 200
        assert len(e.upstream.requests) == 3


async def test_a_failure_that_nobody_foresaw_ends_its_connection_alone():
    """The connections' clock fails; the operator is told, the client is not left waiting."""
    failing = False

    def now() -> float:
        if failing:
            raise ZeroDivisionError("the clock")
        return asyncio.get_running_loop().time()

    async with engine(now=now) as e, await e.client() as one, await e.client() as two:
        for client in (one, two):
            await client.send(e.head("/"))
            assert (await client.read_response()).status == 200
        failing = True
        await one.send(e.head("/"))  # is awaited already; the next wait asks the clock
        assert await one.at_end()
        await until(lambda: len(e.alarms) == 1)
        assert "ZeroDivisionError" in e.alarms[0]
        failing = False
        await two.send(e.head("/"))
        assert (await two.read_response()).status == 200


async def test_an_address_that_is_taken_leaves_nothing_listening():
    async with engine() as e:
        taken = e.server.addresses[0]
        before = len(e.server._servers)
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await e.server.listen([Listener("127.0.0.1", 0, None), Listener(*taken, Fixed("one", "one"))])
        assert len(e.server._servers) == before + 1
        await until(lambda: not e.server._servers[-1].is_serving())


async def test_its_own_addresses_are_known():
    async with engine() as e:
        assert e.server.own() == frozenset(e.server.addresses)
        e.server.addresses.append(("0.0.0.0", 1))
        assert {("127.0.0.1", 1), ("::1", 1), ("0.0.0.0", 1), ("localhost", 1)} <= e.server.own()


async def test_a_request_to_itself_is_refused(tmp_path):
    async with plain_world(tmp_path) as w, await w.client() as client:
        host, port = w.address
        await client.send(
            f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Proxy-Authorization: {w.authorization}\r\n\r\n".encode()
        )
        assert (await client.read_response()).json()["code"] == "self_connect"
