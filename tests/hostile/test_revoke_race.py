"""B18: in no interleaving does a request get through after the order has returned.

Everybody calls without a pause, in every way, while orders come. API, sidecar and test share one event
loop. Once an order has returned, one exchange with the API on a connection of the test's own lets the API
read whatever was on its way by then; whatever of the revoked callers it reads later was sent later.
"""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from proxy.errors import Code
from proxy.identity.revocation import Kind
from tests.hostile.assertions import inside
from tests.hostile.callers import as_url, delegate, house, revoke
from tests.hostile.test_revocation import by_file, digest
from tests.support.rawclient import RawClient, basic
from tests.support.upstream import Upstream
from tests.support.wire import Malformed
from tests.support.world import World

GONE = (OSError, EOFError, Malformed, ssl.SSLError)
OVER = {Code.REVOKED, Code.TASK_ENDED}
ROOTS = ("a", "b", "c", "d", "e")
WORKERS = 3


@dataclass
class Caller:
    """One task and whoever calls under it; ``below`` was delegated from it, and falls with it."""

    name: str
    task: str
    token: str
    below: list["Caller"] = field(default_factory=list)
    refused: asyncio.Event = field(default_factory=asyncio.Event)

    def everyone(self) -> list["Caller"]:
        return [self, *self.below]


@dataclass
class Race:
    """Callers at work, and what the API had seen of each when the order against it had returned."""

    w: World
    chance: random.Random
    seen: dict[str, int] = field(default_factory=dict)

    def arrived(self, caller: Caller) -> int:
        return sum(got.path.startswith(f"/{caller.name}/") for got in self.w.upstream.requests)

    async def work(self, caller: Caller) -> None:
        """Call until it is refused for good; what is cut is tried again."""
        work = self.in_tunnels if self.w.upstream.tls else self.by_url
        while not caller.refused.is_set():
            try:
                await work(caller)
            except GONE:
                continue

    async def by_url(self, caller: Caller) -> None:
        """A connection for each call: who it is of is known from its only request, and from nothing before."""
        async with await self.w.client() as client:
            path = f"/{caller.name}/{self.chance.randrange(1 << 30)}"
            await client.send(as_url(self.w, basic("task", caller.token), path, "Connection: close"))
            await self.take(client, caller)

    async def in_tunnels(self, caller: Caller) -> None:
        async with await self.w.client() as client:
            answer = await client.open_tunnel(self.w.authority, basic("task", caller.token))
            if answer.status != 200:
                assert answer.json()["code"] in OVER, answer
                caller.refused.set()
                return
            await client.start_tls("api.test", cafile=self.w.keyring.ca_path)
            for _ in range(self.chance.randrange(1, 6)):
                await self.call(client, caller, f"/{caller.name}/{self.chance.randrange(1 << 30)}")

    async def call(self, client: RawClient, caller: Caller, path: str) -> None:
        if self.chance.random() < 0.3:  # a body, in two pieces
            await client.send(inside(self.w, path, "Content-Length: 6", method="POST") + b"abc")
            await asyncio.sleep(0)
            await client.send(b"def")
        else:
            await client.send(inside(self.w, path))
        await self.take(client, caller)

    async def take(self, client: RawClient, caller: Caller) -> None:
        answer = await client.read_response()
        if answer.status != 200:
            assert answer.json()["code"] in OVER, answer
            caller.refused.set()

    async def order(self, caller: Caller, give: Callable[[], Awaitable[object]]) -> None:
        """Give an order; when it has returned, whoever it reaches is refused, and the API hears no more."""
        await give()
        await self.exchange()
        for one in caller.everyone():
            self.seen[one.name] = self.arrived(one)
        for one in caller.everyone():
            async with await self.w.client() as client:
                answer = await client.open_tunnel(self.w.authority, basic("task", one.token))
                assert (answer.status, answer.json()["code"]) in {(403, code) for code in OVER}, one.name

    async def exchange(self) -> None:
        """One exchange of the test's own with the API."""
        async with await RawClient.connect(self.w.upstream.address) as client:
            if self.w.upstream.tls:
                await client.start_tls("api.test", cadata=self.w.upstream.ca_pem)
            await client.send(inside(self.w, "/barrier"))
            assert (await client.read_response()).status == 200


def orders(w: World) -> list[Callable[[Caller], Callable[[], Awaitable[object]]]]:
    """Every way to take a right away that returns only when it holds."""
    return [
        lambda c: lambda: revoke(w, Kind.TASK, c.task),
        lambda c: lambda: revoke(w, Kind.AGENT, c.name),
        lambda c: lambda: w.sidecar.book.end(c.task, "over"),
    ]


async def callers(w: World) -> list[Caller]:
    """A task of each root, and one that it has handed on."""
    made = []
    for name in ROOTS:
        root = w.another_task(agent=name)
        child = await delegate(w, root.token, f"{name}2")
        below = Caller(f"{name}2", child.task, child.token)
        made.append(Caller(name, root.task.id, root.token, [below]))
    return made


@pytest.mark.parametrize("tls", [True, False], ids=["tunnels", "urls"])
@pytest.mark.parametrize("seed", range(5))
async def test_no_request_gets_through_after_the_order_has_returned(tmp_path, seed, tls):
    chance, up = random.Random(seed), Upstream("api.test", tls=tls)
    async with house(tmp_path, *ROOTS, *(f"{name}2" for name in ROOTS), upstream=up) as w:
        race, everyone = Race(w, chance), await callers(w)
        async with asyncio.TaskGroup() as group:
            for caller in [one for root in everyone for one in root.everyone()]:
                for _ in range(WORKERS):
                    group.create_task(race.work(caller))
            for caller in chance.sample(everyone, len(everyone)):
                more = len(w.upstream.requests) + chance.randrange(40)
                await w.upstream.until(lambda more=more: len(w.upstream.requests) >= more)
                await race.order(caller, chance.choice(orders(w))(caller))
        await w.settled()
        await w.upstream.until(lambda: all(each.closed.is_set() for each in w.upstream.connections))
        for caller in [one for root in everyone for one in root.everyone()]:
            assert race.arrived(caller) == race.seen[caller.name], caller.name
            allowed = [
                record
                for record in w.decisions
                if record.effect == "allow" and record.path.startswith(f"/{caller.name}/")
            ]
            assert race.arrived(caller) <= len(allowed)
            assert {record.task for record in allowed} <= {caller.task}
        assert len(w.upstream.requests) > sum(1 for _ in everyone)
        assert w.alarms == []


@pytest.mark.parametrize("seed", range(2))
async def test_orders_about_evidence_race_like_any_other(tmp_path, seed):
    """All callers of one key at once: nothing more arrives of anybody."""
    chance = random.Random(seed)
    up = Upstream("api.test", tls=bool(seed))
    async with house(tmp_path, *ROOTS, *(f"{name}2" for name in ROOTS), upstream=up) as w:
        race, everyone = Race(w, chance), await callers(w)
        whole = Caller("all", "", everyone[0].token, [one for root in everyone for one in root.everyone()])
        give = [
            lambda: revoke(w, Kind.KEY, w.keyring.session_key.key_id),
            lambda: revoke(w, Kind.ISSUER, w.keyring.issuer),
        ][seed]
        async with asyncio.TaskGroup() as group:
            for caller in whole.below:
                group.create_task(race.work(caller))
            await w.upstream.until(lambda: len(w.upstream.requests) >= 40)
            await race.order(whole, give)
        await w.settled()
        await w.upstream.until(lambda: all(each.closed.is_set() for each in w.upstream.connections))
        assert {one.name: race.arrived(one) for one in whole.below} == {
            name: seen for name, seen in race.seen.items() if name != "all"
        }


async def test_an_order_of_another_process_holds_once_it_is_acknowledged(tmp_path):
    """``gatepass revoke`` waits for the word of every sidecar before it returns."""
    async with house(tmp_path, "a", "a2") as w:
        token = w.started.token
        race, caller = Race(w, random.Random(1)), Caller("a", w.started.task.id, token)

        async def give() -> None:
            await by_file(w, Kind.TOKEN, digest(token))
            seq = max(kept.seq for kept in [w.store.changes(0, 0)])
            async with asyncio.timeout(20):
                while any(follower.seq < seq for follower in w.store.followers()):
                    await asyncio.sleep(0.002)

        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(race.work(caller))
            await w.upstream.until(lambda: len(w.upstream.requests) >= 20)
            await race.order(caller, give)
        await w.settled()
        await w.upstream.until(lambda: all(each.closed.is_set() for each in w.upstream.connections))
        assert race.arrived(caller) == race.seen["a"]


async def test_a_tunnel_that_is_made_while_the_order_comes_carries_nothing(tmp_path):
    """CONNECT before, everything else after: also where the handshake spans the order."""
    async with house(tmp_path, "a") as w:
        async with await w.client() as client:

            async def the_rest() -> None:
                await shaking
                await client.send(inside(w, "/late"))
                await client.read_response()

            answer = await client.open_tunnel(w.authority, basic("task", w.started.token))
            assert answer.status == 200
            shaking = asyncio.create_task(client.start_tls("api.test", cafile=w.keyring.ca_path))
            await asyncio.sleep(0)
            await revoke(w, Kind.TASK, w.started.task.id)
            with pytest.raises(GONE):
                await the_rest()
        assert w.upstream.connections == []
