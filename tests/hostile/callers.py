"""Callers with identities of their own, what they ask the desk, and what is asserted of who is turned away.

As ``assertions``, but for many callers: the token that was presented is looked for as well, and calls to
the desk are counted apart from those that want to leave.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.record import Record
from proxy.engine.reasons import DESK_RULE
from proxy.errors import MEANING, Code
from proxy.identity.revocation import Kind, Order
from proxy.store.reader import entries
from proxy.wiring_tasks import Started
from tests.hostile.assertions import clean, holds, inside, say, untouched
from tests.support import demo_rules
from tests.support.demo_rules import Entry
from tests.support.rawclient import RawClient, Response, basic
from tests.support.upstream import Upstream
from tests.support.world import World, world

DESK = "http://gatepass.internal"


@dataclass(frozen=True)
class Child:
    """A task that somebody was handed at the desk."""

    task: str
    agent: str
    token: str
    placeholders: Mapping[str, str]


@contextlib.asynccontextmanager
async def house(directory: Path, *names: str, **given) -> AsyncIterator[World]:
    """A world of these agents (or entries of ``agents.yaml``); all may do everything at ``api``.

    The task that has begun is of the first of them.
    """
    agents = [name if isinstance(name, Mapping) else demo_rules.agent(name) for name in names]
    policies = given.pop("policies", None)
    if policies is None:
        policies = [permit_all(str(agent["id"])) for agent in agents]
    async with world(directory, agents=[demo_rules.agent(), *agents], policies=policies, **given) as w:
        if agents:
            w.started = w.another_task(agent=str(agents[0]["id"]))
        yield w


def permit_all(agent: str, on: str = "api") -> str:
    return demo_rules.permit(f"{agent}-{on}", who=agent, actions=("read", "write", "delete"), on=on)


def with_ceiling(name: str, **ceiling: object) -> Entry:
    return {**demo_rules.agent(name), "ceiling": ceiling}


def two_services(up: Upstream) -> list[Entry]:
    """``api`` as always, and ``rest`` at another name of the same upstream."""
    reached = {"ports": [up.port], "schemes": ["https"]}
    return [
        demo_rules.service("api", up.hosts[0], **reached),
        demo_rules.service("rest", "rest.test", **reached),
    ]


# -- requests --


def as_url(w: World, authorization: str, path: str = "/", *headers: str) -> bytes:
    """An absolute-form request to the API's own port."""
    lines = [f"GET http://{w.authority}{path} HTTP/1.1", f"Host: {w.authority}"]
    lines += [f"Proxy-Authorization: {authorization}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def as_connect(w: World, authorization: str) -> bytes:
    """A CONNECT to the API."""
    lines = [f"CONNECT {w.authority} HTTP/1.1", f"Host: {w.authority}"]
    return "\r\n".join([*lines, f"Proxy-Authorization: {authorization}", "", ""]).encode("latin-1")


def to_desk(token: str, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """A request to the desk."""
    lines = [f"{method} {DESK}{target} HTTP/1.1", "Host: gatepass.internal"]
    lines += [f"Proxy-Authorization: {basic('task', token)}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(w: World, token: str, target: str, *, method: str = "GET", body: object = None) -> Response:
    """Ask the desk, on a connection of its own."""
    data = b"" if body is None else json.dumps(body).encode()
    return await say(w, to_desk(token, target, method=method, body=data))


async def delegate(w: World, token: str, to: str, **wanted: object) -> Child:
    """Hand the task of ``token`` on, which must succeed."""
    answer = await ask(
        w, token, "/delegate", method="POST", body={"agent": to, "purpose": "a part of it", **wanted}
    )
    assert answer.status == 201, answer
    told = answer.json()
    return Child(told["task"], told["agent"], told["token"], told["placeholders"])


def other_task(w: World, agent: str, **given: object) -> Started:
    return w.another_task(agent=agent, **given)


@contextlib.asynccontextmanager
async def tunnel(w: World, authorization: str) -> AsyncIterator[RawClient]:
    """Inside TLS to the API, as whoever ``authorization`` is."""
    async with await w.client() as client:
        answer = await client.open_tunnel(w.authority, authorization)
        assert answer.status == 200, answer
        await client.start_tls(w.upstream.hosts[0], cafile=w.keyring.ca_path)
        yield client


async def through(w: World, token: str, path: str = "/", *headers: str, method: str = "GET") -> Response:
    """One call through a tunnel of its own, as the task of ``token``."""
    async with tunnel(w, basic("task", token)) as client:
        await client.send(inside(w, path, *headers, method=method))
        return await client.read_response(to_head=method == "HEAD")


# -- orders --


async def revoke(w: World, kind: Kind, identity: str, reason: str = "drill") -> None:
    """As an operator's order in this process; to the last byte."""
    report = await w.sidecar.parts.consequences.revoke(
        Order(kind, identity, reason, "control:test", time.time_ns())
    )
    assert report is not None


async def until(condition: Callable[[], bool], within: float = 20) -> None:
    """Wait until what others do is seen."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)


# -- what is on record --


def calls(w: World) -> list[Record]:
    """The decisions on calls that wanted to leave."""
    return [record for record in w.decisions if record.rule != DESK_RULE]


def desk_outcomes(w: World) -> list[tuple[str, str]]:
    """How the calls to the desk ended: result and code."""
    asked = {record.id for record in w.decisions if record.rule == DESK_RULE}
    return [(record.result, record.code) for record in w.outcomes if record.decision_id in asked]


def events(w: World, kind: str) -> list[Mapping[str, object]]:
    """The bodies of all events of a kind."""
    return [record.raw["body"] for record in w.records if record.kind == kind]  # type: ignore[misc]


def silent(w: World, shown: Iterable[bytes], tokens: Iterable[str]) -> None:
    """None of these tokens in what was ``shown``, nor in any record."""
    for data in (*shown, *entries(w.state / "log")):
        for token in tokens:
            assert not token or not holds(data, token), f"a token can be read in {data[:2000]!r}"


async def turned_away(
    w: World, answer: Response, code: Code, *, agent: str = "", token: str = "", nobody: bool = True
) -> Record:
    """The one call on record was refused with ``code``: of ``agent``, with nothing that left (a) to (d).

    ``nobody``: the upstream was never touched at all.
    """
    told = json.loads(answer.body)
    assert (answer.status, told["code"]) == (MEANING[code].status, code), answer
    (record,) = calls(w)
    assert (record.effect, record.code, record.status) == ("deny", code, answer.status)
    assert (record.agent, told["record"]) == (agent, record.id), record
    assert (answer.get("proxy-authenticate") is not None) == (answer.status == 407)
    clean(w, answer.head.raw, answer.body)
    silent(w, (answer.head.raw, answer.body), (token,))
    if nobody:
        await untouched(w)
    return record
