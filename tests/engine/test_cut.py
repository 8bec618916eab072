"""Cutting whoever an order reaches: at once, only them, with an outcome each, and the last one waited for."""

import asyncio

import pytest

from proxy.errors import Code, Refusal
from tests.engine.lines import until
from tests.engine.ports import engine
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
    """A resolver that never answers."""

    def __init__(self) -> None:
        self.asked, self.never = asyncio.Event(), asyncio.Event()

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked.set()
        await self.never.wait()
        return ()


async def test_one_that_waits_for_a_name_ends_with_its_outcome():
    resolver = Held()
    async with engine(resolver=resolver) as e, await e.client() as one:
        await one.send(e.head("/"))
        await resolver.asked.wait()
        cutting = e.server.cut(is_one, WHY)
        assert cutting.connections == 1
        assert await one.at_end()
        async with asyncio.timeout(20):
            await cutting.done()
        assert e.outcomes == [("cut", "revoked", None)]
