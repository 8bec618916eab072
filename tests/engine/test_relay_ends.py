"""Calls that end before their answer does: the agent goes, its task ends, gatepass itself fails."""

import asyncio

import pytest

from tests.engine.lines import ends, line, plain_world, until, untouched
from tests.support.call import Call
from tests.support.resolver import ScriptedResolver
from tests.support.upstream import Upstream
from tests.support.wire import Malformed
from tests.support.world import world


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_goes_takes_its_call_with_it(tmp_path, tls):
    async def waits(call: Call) -> None:
        await call.take()
        assert not await call.received.connection.read()

    async with world(tmp_path, upstream=Upstream("api.test", tls=tls)) as w:
        w.upstream.on("/waits", waits)
        async with line(w) as one:
            await one.client.send(one.head("/waits"))
            await w.upstream.until(lambda: bool(w.upstream.requests))
            one.client.abort()
            await w.settled()
        assert ends(w) == [("client_gone", "", None)]
        await w.upstream.until(w.upstream.connections[0].closed.is_set)


async def test_the_end_of_a_task_cuts_its_running_call(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/sse"))
        await one.client.read_head()
        await w.sidecar.book.end(w.started.task.id, "over")
        async with asyncio.timeout(10):
            with pytest.raises((ConnectionError, Malformed)):
                await one.client.body(await one.client.read_head()).read()
        await w.settled()
        assert ends(w) == [("cut", "task_ended", 200)]


class Held:
    """A resolver that answers when the test says so."""

    def __init__(self) -> None:
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked.set()
        await self.answer.wait()
        return ("127.0.0.1",)


async def test_a_task_that_ends_during_the_look_up_sends_nothing(tmp_path):
    resolver = Held()
    async with plain_world(tmp_path, resolver=resolver) as w, line(w) as one:
        await one.client.send(one.head("/x"))
        await resolver.asked.wait()
        await w.sidecar.book.end(w.started.task.id, "over")
        assert await one.client.at_end()
        resolver.answer.set()
        await w.settled()
        assert ends(w) == [("cut", "task_ended", None)]
        assert w.upstream.bytes_received == 0


async def test_a_client_that_goes_during_the_look_up_sends_nothing(tmp_path):
    resolver = Held()
    async with plain_world(tmp_path, resolver=resolver) as w:
        async with line(w) as one:
            await one.client.send(one.head("/x"))
            await resolver.asked.wait()
            one.client.abort()
        await until(lambda: all(wire.closed for wire in w.sidecar.server._deadlines.wires))
        resolver.answer.set()
        await w.settled()
        assert ends(w) == [("client_gone", "", None)]
        assert w.upstream.bytes_received == 0


async def test_a_failure_of_ours_while_relaying_is_an_answer_and_an_outcome(tmp_path):
    class Exploding:
        async def resolve(self, name: str) -> tuple[str, ...]:
            raise ZeroDivisionError(name)

    async with plain_world(tmp_path, resolver=Exploding()) as w, line(w) as one:
        answer = await one.call("/x")
        assert (answer.status, answer.json()["code"]) == (500, "internal")
        await w.settled()
        assert ends(w) == [("cut", "internal", 500)]
        assert ["ZeroDivisionError" in alarm for alarm in w.alarms] == [True]
        assert untouched(w)


async def test_a_name_that_turns_out_private_is_refused_with_its_record(tmp_path):
    resolver = ScriptedResolver({"api.test": [("10.0.0.1",)]})
    async with plain_world(tmp_path, resolver=resolver) as w, line(w) as one:
        answer = await one.call("/x")
        assert (answer.status, answer.json()["code"]) == (403, "dest_private")
        await w.settled()
        assert ends(w) == [("refused", "dest_private", 403)]
        assert untouched(w)
