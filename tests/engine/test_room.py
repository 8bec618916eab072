"""Content that rules read is held in memory, and only so much of it for each agent."""

import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.room import Room
from proxy.policy.decision import Allow
from proxy.policy.obligation import Obligations
from tests.engine.lines import until
from tests.engine.ports import Engine, Says, engine
from tests.support.rawclient import RawClient, Response

READ = Says(Allow(("read",), Obligations(drop_fields=frozenset({"/secret"}))))
BODY = json.dumps({"text": "a" * 60_000}).encode()
JSON = "Content-Type: application/json"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.booleans()), max_size=30))
def test_no_agent_holds_more_than_its_room_and_each_has_its_own(steps):
    room, held = Room(20), {"a": 0, "b": 0}
    for agent, octets, taking in steps:
        if taking:
            fits = held[agent] + octets <= 20
            assert room.take(agent, octets) is fits
            held[agent] += octets if fits else 0
        else:
            given_back = min(octets, held[agent])
            room.give_back(agent, given_back)
            held[agent] -= given_back
        assert {name: room.held(name) for name in held} == held


async def send(e: Engine, client: RawClient, octets: int = len(BODY)) -> None:
    head = e.head("/echo", JSON, f"Content-Length: {len(BODY)}", method="POST")
    await client.send(head + BODY[:octets])


async def call(e: Engine, agent: str = "one") -> Response:
    async with await e.client(agent) as client:
        await send(e, client)
        return await client.read_response()


async def test_who_holds_too_much_is_refused_and_nobody_else():
    room = Room(100_000)
    async with engine(pdp=READ, room=room) as e:
        async with await e.client() as slow:
            await send(e, slow, 59_000)
            await until(lambda: room.held("one") == 59_000)
            refused = await call(e)
            assert (refused.status, refused.json()["code"]) == (429, "tunnels_exceeded")
            assert refused.get("retry-after") == "1"
            assert (await call(e, "two")).status == 200
            assert room.held("one") == 59_000
            slow.abort()
        await until(lambda: room.held("one") == 0)
        assert (await call(e)).status == 200


async def test_a_connection_that_is_kept_holds_nothing():
    room = Room()
    async with engine(pdp=READ, room=room) as e, await e.client() as client:
        for _ in range(2):
            await send(e, client)
            assert (await client.read_response()).status == 200
            await until(lambda: room.held("one") == 0)
