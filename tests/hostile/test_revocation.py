"""B18: nothing survives an order, an end, or the end of what it was delegated from (egress.md, section 5)."""

import hashlib
import time

import pytest

from proxy.errors import Code
from proxy.identity.principal import TaskState
from proxy.identity.revocation import Kind, Order
from tests.hostile.assertions import inside, say
from tests.hostile.callers import (
    as_connect,
    as_url,
    calls,
    delegate,
    events,
    house,
    revoke,
    silent,
    tunnel,
    until,
)
from tests.hostile.standing import HOSTS, Gate, standing
from tests.support.rawclient import basic
from tests.support.upstream import Upstream
from tests.support.world import World


def digest(token: str) -> str:
    return hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()


def token_id(w: World, task: str) -> str:
    """The id of the token that a call of this task was made with, as its record has it."""
    return next(r.raw["who"]["auth"][0]["token_id"] for r in w.decisions if r.task == task)


async def by_file(w: World, kind: Kind, identity: str) -> None:
    """As ``gatepass revoke`` does: another process writes to the task file."""
    w.store.revoke(Order(kind, identity, "drill", "cli", time.time_ns()))


REACHED = {
    "agent": lambda w, c: revoke(w, Kind.AGENT, "b"),
    "task": lambda w, c: revoke(w, Kind.TASK, c.task),
    "token by id": lambda w, c: revoke(w, Kind.TOKEN, token_id(w, c.task)),
    "token by digest": lambda w, c: revoke(w, Kind.TOKEN, digest(c.token)),
    "key": lambda w, c: revoke(w, Kind.KEY, w.keyring.session_key.key_id),
    "issuer": lambda w, c: revoke(w, Kind.ISSUER, w.keyring.issuer),
    "all": lambda w, c: revoke(w, Kind.ALL, "*"),
    "agent above": lambda w, c: revoke(w, Kind.AGENT, "a"),
    "task above": lambda w, c: revoke(w, Kind.TASK, w.started.task.id),
    "task, from another process": lambda w, c: by_file(w, Kind.TASK, c.task),
    "token, from another process": lambda w, c: by_file(w, Kind.TOKEN, digest(c.token)),
    "the end": lambda w, c: w.sidecar.book.end(c.task, "over"),
    "the end of what is above": lambda w, c: w.sidecar.book.end(w.started.task.id, "over"),
}
EVERYBODY = {"key", "issuer", "all"}


@pytest.mark.parametrize("order", REACHED)
async def test_b18_nothing_that_stands_survives(tmp_path, order):
    """Idle, streaming, half-sent or waiting: cut, recorded as cut, and silent towards the API."""
    gate, up = Gate(), Upstream(*HOSTS)
    code = Code.TASK_ENDED if "end" in order else Code.REVOKED
    async with house(tmp_path, "a", "b", "c", upstream=up, resolver=gate) as w:
        child = await delegate(w, w.started.token, "b")
        bystander = w.another_task(agent="c")
        authorization = basic("task", child.token)
        async with (
            tunnel(w, basic("task", bystander.token)) as theirs,
            standing(w, gate, authorization, child.token) as stands,
        ):
            await REACHED[order](w, child)
            await stands.cut(code)
            if order not in EVERYBODY:
                await theirs.send(inside(w, "/theirs"))
                assert (await theirs.read_response()).status == 200
        for data in (as_url(w, authorization, "/late"), as_connect(w, authorization)):
            answer = await say(w, data)
            assert (answer.status, answer.json()["code"]) == (403, code)
            last = calls(w)[-1]
            assert (last.id, last.code, last.agent) == (answer.json()["record"], code, "b")
        assert not any(got.path == "/late" for got in up.requests)
        silent(w, (), [child.token])
        if code is Code.REVOKED:
            (told,) = events(w, "revocation")
            assert told["connections_cut"] >= 9


@pytest.mark.parametrize("by", ["id", "digest"])
async def test_b18_a_stolen_token_leaves_no_other_behind(tmp_path, by):
    """Whoever has it delegates in time, and again from there: both fall with the token."""
    async with house(tmp_path, "a", "b", "c") as w:
        child = await delegate(w, w.started.token, "b")
        below = await delegate(w, child.token, "c")
        assert await connects(w, below.token) == (200, "")
        stolen = digest(w.started.token) if by == "digest" else token_id(w, w.started.task.id)
        await revoke(w, Kind.TOKEN, stolen)
        for token in (w.started.token, child.token, below.token):
            assert await connects(w, token) == (403, Code.REVOKED)
        assert w.store.get(w.started.task.id).task.state is TaskState.OPEN


ORDERS = {
    "agent": lambda w, task: (Kind.AGENT, "a"),
    "task": lambda w, task: (Kind.TASK, task.id),
    "token": lambda w, task: (Kind.TOKEN, digest(w.started.token)),
    "key": lambda w, task: (Kind.KEY, w.keyring.session_key.key_id),
    "issuer": lambda w, task: (Kind.ISSUER, w.keyring.issuer),
    "all": lambda w, task: (Kind.ALL, "*"),
}


async def connects(w: World, token: str) -> tuple[int, str]:
    async with await w.client() as client:
        answer = await client.open_tunnel(w.authority, basic("task", token))
        return answer.status, "" if answer.status == 200 else answer.json()["code"]


@pytest.mark.parametrize("order", ORDERS)
async def test_b18_an_order_outlives_the_sidecar_until_it_is_lifted(tmp_path, order):
    """A token that was believed a moment ago, so that it was remembered, is refused; also after a restart."""
    refused = (403, Code.REVOKED)
    async with house(tmp_path, "a") as w:
        token, other = w.started.token, w.another_task(agent="a").token
        kind, identity = ORDERS[order](w, w.started.task)
        assert [await connects(w, token) for _ in range(2)] == [(200, "")] * 2
        await revoke(w, kind, identity)
        assert await connects(w, token) == refused
        await w.restart()
        assert await connects(w, token) == refused
        assert await connects(w, other) == ((200, "") if order in {"task", "token"} else refused)
        lifted = await w.sidecar.parts.consequences.lift(kind, identity, "control:test")
        assert lifted == (order != "task")
        goes_on = order in {"token", "key", "issuer"}  # what an order ended does not open again
        assert await connects(w, token) == ((200, "") if goes_on else refused)
        assert await connects(w, w.another_task(agent="a").token) == (200, "")
        await until(lambda: len(events(w, "revocation.lifted")) == lifted)


@pytest.mark.parametrize("order", ORDERS)
async def test_b18_warm_connections_to_the_api_are_closed_although_nobody_is_connected(tmp_path, order):
    async with house(tmp_path, "a") as w:
        async with tunnel(w, basic("task", w.started.token)) as client:
            await client.send(inside(w, "/"))
            assert (await client.read_response()).status == 200
        await w.settled()
        (warm,) = w.upstream.connections
        assert not warm.closed.is_set()
        await revoke(w, *ORDERS[order](w, w.started.task))
        await w.upstream.until(warm.closed.is_set)
        assert w.upstream.bytes_received == warm.count
