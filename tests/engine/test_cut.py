"""Cutting whoever an order reaches: at once, only them, with an outcome each, and the last one waited for."""

import asyncio

import pytest

from proxy.engine.cutting import PATIENCE
from proxy.errors import Code, Refusal
from tests.engine.lines import until
from tests.engine.ports import engine
from tests.support.upstream import Upstream
from tests.support.wire import Malformed

WHY = Refusal(Code.REVOKED, "the agent one is revoked")


def is_one(principal) -> bool:
    return principal.agent.id == "one"


async def streaming(e, agent: str):
    client = await e.client(agent)
    await client.send(e.head("/bytes?n=1000000000"))
    head = await client.read_head()
    return client, client.body(head)


async def test_open_streams_are_cut_and_those_of_others_are_not():
    async with engine() as e:
        theirs = [await streaming(e, "one") for _ in range(20)]
        other, body = await streaming(e, "two")
        await until(lambda: len(e.server._running) == 21)
        start = asyncio.get_running_loop().time()
        cutting = e.server.cut(is_one, WHY)
        assert cutting.connections == 20
        await cutting.done()
        assert asyncio.get_running_loop().time() - start < 5
        assert e.outcomes == [("cut", "revoked", 200)] * 20
        for client, rest in theirs:
            with pytest.raises((ConnectionError, Malformed)):
                await rest.read()
            await client.close()
        async for _ in body:
            break
        await other.close()


async def test_an_idle_connection_is_cut_and_one_that_nobody_knows_is_not():
    async with engine() as e, await e.client() as idle, await e.client() as silent:
        await idle.send(e.head("/"))
        assert (await idle.read_response()).status == 200
        await until(lambda: len(e.server._running) == 2)
        cutting = e.server.cut(is_one, WHY)
        assert cutting.connections == 1
        await cutting.done()
        assert await idle.at_end()
        assert not silent.reader.at_eof()
        assert e.outcomes == [("complete", "", 200)]


async def test_none_reached_is_done_at_once():
    async with engine() as e:
        cutting = e.server.cut(lambda _: True, WHY)
        assert cutting.connections == 0
        await cutting.done()


class Held:
    """A resolver that answers only when it is let."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked.set()
        await self.go.wait()
        return ("127.0.0.1",)


async def test_one_that_waits_for_a_name_ends_at_once_and_never_dials():
    resolver = Held()
    async with engine(resolver=resolver) as e, await e.client() as one:
        await one.send(e.head("/"))
        await resolver.asked.wait()
        cutting = e.server.cut(is_one, WHY)
        assert cutting.connections == 1
        async with asyncio.timeout(PATIENCE / 2):
            await cutting.done()
        assert await one.at_end()
        assert e.outcomes == [("cut", "revoked", None)]
        resolver.go.set()
        assert (await e.call("/", agent="two")).status == 200  # which looks up the same name, and dials
        assert len(e.upstream.connections) == 1
        assert e.alarms == []


class Mute(Upstream):
    """It takes connections, and says nothing of TLS before ``release``."""

    async def _open(self, connection, sock):
        await self.release.wait()
        return await super()._open(connection, sock)


async def test_one_that_dials_ends_at_once():
    async with engine(upstream=Mute("api.test")) as e, await e.client() as one:
        await one.send(e.head("/").replace(b"http://", b"https://"))
        await e.upstream.until(lambda: len(e.upstream.connections) == 1)
        await until(lambda: len(e.deadlines.wires) == 2)
        cutting = e.server.cut(is_one, WHY)
        async with asyncio.timeout(PATIENCE / 2):
            await cutting.done()
        assert e.outcomes == [("cut", "revoked", None)]
        await until(lambda: not e.deadlines.wires)
        e.upstream.release.set()
        await e.upstream.until(e.upstream.connections[0].closed.is_set)
        assert e.upstream.bytes_received == 0
