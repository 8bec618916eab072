"""Ends that come between two steps: while a decision is being recorded, a name resolved, an answer read."""

import asyncio
import socket

from proxy.audit.verify import Verified, verify
from proxy.credential.secret import Secret
from proxy.store.tiles import Tiles
from tests.engine.lines import ends, line, plain_world, until
from tests.engine.ports import BEARER, HELD, YES, Journal, Says, engine
from tests.support import demo_rules
from tests.support.rawclient import RawClient, basic


class Waits:
    """A credential provider, or a resolver, that takes its time."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def fetch(self, binding, task):
        self.asked.set()
        await self.go.wait()
        return Secret("token", b"live")

    async def resolve(self, name):
        self.asked.set()
        await self.go.wait()
        return ("127.0.0.1",)


async def test_a_task_that_ends_while_its_first_call_is_being_recorded_sends_nothing():
    journal = Journal()
    journal.held = asyncio.Event()
    async with engine(journal=journal) as e, await e.client() as one:
        await one.send(e.head("/"))
        await until(lambda: any(connection.busy for connection in e.server._running.values()))
        e.book.end("one")
        e.server.end_task("one")  # nobody knows yet that the connection is this task's
        journal.held.set()
        answer = await one.read_response()
        assert (answer.status, answer.json()["code"]) == (403, "task_ended")
        await until(lambda: len(e.outcomes) == 1)
        assert e.decisions == [("allow", "", None)]
        assert e.outcomes == [("refused", "task_ended", 403)]
        assert e.upstream.connections == []


async def test_a_task_that_ends_while_its_credential_is_being_fetched_sends_nothing():
    purse = Waits()
    async with (
        engine(pdp=Says(YES), credentials=purse, holdings=[HELD]) as e,
        await e.client() as one,
    ):
        await one.send(e.head("/", BEARER))
        await purse.asked.wait()
        e.book.end("one")
        e.server.end_task("one")
        purse.go.set()
        assert (await one.read_response()).json()["code"] == "task_ended"
        await until(lambda: len(e.outcomes) == 1)
        assert e.outcomes == [("refused", "task_ended", 403)]
        assert e.upstream.connections == []


async def test_a_call_that_waits_for_a_resolver_when_gatepass_stops_has_an_outcome(tmp_path):
    resolver = Waits()
    async with plain_world(tmp_path, resolver=resolver) as w, line(w) as one:
        await one.client.send(one.head("/"))
        await resolver.asked.wait()
        await w.sidecar.drain(0.05)
        assert await one.client.at_end()
        assert ends(w) == [("cut", "draining", None)]
        assert w.alarms == []
        result = verify(Tiles(w.state / "log"), w.sidecar.log.vkey)
        assert isinstance(result, Verified)
        assert result.unsigned == 0
        resolver.go.set()


async def test_a_call_that_waits_for_its_credential_when_gatepass_stops_has_an_outcome():
    purse = Waits()
    async with (
        engine(pdp=Says(YES), credentials=purse, holdings=[HELD]) as e,
        await e.client() as one,
    ):
        await one.send(e.head("/", BEARER))
        await purse.asked.wait()
        await e.server.drain(0.05)
        await e.enforcer.settled()
        assert e.outcomes == [("cut", "draining", None)]
        assert e.upstream.connections == []


async def slow_reader(address: tuple[str, int]) -> RawClient:
    """A client whose kernel takes little, and that reads nothing ahead itself."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.settimeout(0)
    await asyncio.get_running_loop().sock_connect(plain, address)
    return RawClient(*await asyncio.open_connection(sock=plain, limit=1024))


async def test_an_answer_that_is_still_on_its_way_to_a_slow_reader_survives_the_drain(tmp_path):
    size, asked = 90_000, 0
    async with plain_world(tmp_path) as w, line(w) as pattern, await slow_reader(w.address) as one:

        def left() -> int:
            wires = w.sidecar.server._deadlines.wires
            return sum(wire._transport.get_write_buffer_size() for wire in wires)

        while not left():
            asked += 1
            await one.send(pattern.head(f"/bytes?n={size}"))
            await until(lambda now=asked: len(w.outcomes) == now)
        draining = asyncio.ensure_future(w.sidecar.drain(20))
        await until(lambda: not w.sidecar.server._running)
        answers = [await one.read_response() for _ in range(asked)]
        assert [len(answer.body) for answer in answers] == [size] * asked
        assert await one.at_end()
        await draining


async def test_refusals_that_nobody_reads_do_not_pile_up():
    """A pipeline of refused requests, and no answer is read: the connection waits, others go on."""
    async with engine(opened=False) as e, await slow_reader(e.server.addresses[0]) as one:
        many = e.head("/") * 400

        def buffered() -> int:
            return max(wire._transport.get_write_buffer_size() for wire in e.deadlines.wires)

        while buffered() < 128 * 1024:
            one.writer.write(many)
            await asyncio.sleep(0)
        before = -1
        while before != len(e.journal.entries):  # until it stands still
            before = len(e.journal.entries)
            for _ in range(50):
                await asyncio.sleep(0)
            one.writer.write(many)
        assert buffered() < 512 * 1024
        assert (await e.call("/", agent="two")).status == 403
        one.abort()


async def test_the_operator_is_told_once_that_a_broken_log_refuses_everything():
    journal = Journal()
    async with engine(journal=journal) as e:
        journal.broken = True
        assert [(await e.call("/")).status for _ in range(3)] == [503] * 3
        assert e.alarms == ["the disk is full: every call is refused until gatepass is restarted"]
        journal.broken = False


async def test_a_connection_that_changes_its_agent_counts_for_the_new_one(tmp_path):
    agents = [demo_rules.agent(), demo_rules.agent("two")]
    policies = [demo_rules.permit("one"), demo_rules.permit("two", who="two")]
    limits = {"connections_per_agent": 1}
    async with plain_world(tmp_path, agents=agents, policies=policies, limits=limits) as w:
        two = w.another_task(agent="two")
        async with line(w) as one, line(w, started=two) as other:
            assert [(await one.call("/")).status, (await other.call("/")).status] == [200, 200]
            one.authorization = basic("task", two.token)
            answer = await one.call("/")
            assert (answer.status, answer.json()["code"]) == (429, "tunnels_exceeded")
