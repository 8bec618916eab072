"""Operators at the control API of a served sidecar: with the local admin token, and with an issuer's."""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio

from tests.support.demo_rules import service
from tests.support.free_port import free_port
from tests.support.issuer import SmallIssuer
from tests.support.rawclient import basic
from tests.system.process import until
from tests.system.served import Served, agent, issuer, served, session, small_issuer, told

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPS = "https://login.example.org"
OPERATORS = [{"issuer": "ops", "claims": {"groups": "egress-admins"}}]


class Reply(NamedTuple):
    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]


class Desk:
    """A served sidecar and its operators' API; ``ops`` issues the operators' tokens."""

    def __init__(self, w: Served, ops: SmallIssuer) -> None:
        self.w, self.ops = w, ops

    @property
    def url(self) -> str:
        assert self.w.sidecar.control is not None
        return self.w.sidecar.control["url"]

    @property
    def admin(self) -> str:
        assert self.w.sidecar.control is not None
        return Path(self.w.sidecar.control["token_file"]).read_text().strip()

    def operator(self, **claims: object) -> str:
        return self.ops.mint(sub="ada", **{"groups": ["all", "egress-admins"], **claims}).decode()

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        token: str | None = "admin",
        **headers: str,
    ) -> Reply:
        if token is not None:
            headers["Authorization"] = f"Bearer {self.admin if token == 'admin' else token}"
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.request(method, self.url + path, json=body) as answer,
        ):
            return Reply(answer.status, json.loads(await answer.read()), answer.headers)

    async def start(self, agent_id: str = "coder", **more: object) -> Mapping[str, Any]:
        reply = await self.call("POST", "/v1/tasks", {"agent": agent_id, **more})
        assert reply.status == 201, reply
        return reply.body

    async def status(self, token: str, path: str = "/x") -> tuple[int, str]:
        answer = await self.w.ask(path, basic("task", token))
        return answer.status, "" if answer.status == 200 else str(told(answer)["code"])

    async def event(self, kind: str, **body: str) -> Mapping[str, Any]:
        """The latest record of this kind that says this, once there is one."""

        def found() -> list[Mapping[str, Any]]:
            said = (record.raw["body"] for record in self.w.events(kind))
            return [one for one in said if body.items() <= one.items()]

        await until(lambda: bool(found()))
        return found()[-1]


@contextlib.asynccontextmanager
async def staffed(directory: Path, **more: Any) -> AsyncIterator[Desk]:
    ops = small_issuer(OPS, "gatepass-control", "ada")
    keys = directory / "ops.json"
    keys.write_bytes(ops.document())
    control = {"address": "127.0.0.1:0", "operators": OPERATORS} | more.pop("control", {})
    async with served(
        directory,
        [agent("coder", session()), agent("helper", session())],
        identity={"issuers": [issuer("ops", OPS, "gatepass-control", keys=keys)]},
        control=control,
        **more,
    ) as w:
        yield Desk(w, ops)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """One for all tests that end only what they have started."""
    async with staffed(tmp_path_factory.mktemp("control")) as running:
        yield running


async def test_the_admin_starts_a_task_and_its_token_works(desk: Desk):
    begun = await desk.start(purpose="issue 7", ttl="15m", ticket="OPS-7", scopes=["repo:read"])
    bearer = f"Authorization: Bearer {begun['variables']['API_TOKEN']}"
    answer = await desk.w.curl(desk.w.through("task", begun["token"]), "/begun", "-H", bearer)
    assert answer.status == 200
    task = desk.w.decision("/begun").raw["who"]["task"]
    assert (task["ticket"], task["approver"], task["scopes"]) == ("OPS-7", "admin", ["repo:read"])
    opened = await desk.event("task.open", task=begun["task"])
    assert opened["by"] == "control:admin"
    shown = (await desk.call("GET", f"/v1/tasks/{begun['task']}")).body
    assert (shown["state"], shown["purpose"]) == ("open", "issue 7")
    assert begun["task"] in [
        task["id"] for task in (await desk.call("GET", "/v1/tasks?state=open")).body["tasks"]
    ]


async def test_an_operator_of_an_issuer_starts_and_ends_one(desk: Desk):
    reply = await desk.call("POST", "/v1/tasks", {"agent": "coder"}, token=desk.operator())
    assert reply.status == 201
    assert (await desk.status(reply.body["token"], "/ops"))[0] == 200
    assert desk.w.decision("/ops").raw["who"]["task"]["approver"] == "ops:ada"
    task = reply.body["task"]
    assert (await desk.event("task.open", task=task))["by"] == "control:ops:ada"
    ended = await desk.call("POST", f"/v1/tasks/{task}/end", {"reason": "done"}, token=desk.operator())
    assert (ended.status, ended.body["ended_tasks"]) == (200, 1)
    assert await desk.status(reply.body["token"]) == (403, "task_ended")
    record = await desk.event("task.end", task=task)
    assert (record["by"], record["detail"]) == ("control:ops:ada", "ended: done")


async def test_a_revocation_cuts_a_stream_and_says_how_fast(desk: Desk):
    begun = await desk.start("helper")
    async with desk.w.tunnel(basic("task", begun["token"])) as client:
        await client.send(f"GET /sse HTTP/1.1\r\nHost: {desk.w.authority}\r\n\r\n".encode())
        body = aiter(client.body(await client.read_head()))
        assert await anext(body) + await client.read_exactly(2) == b"data: first\n\n\r\n"
        order = {"kind": "agent", "id": "helper", "reason": "it went wild"}
        token, ordered = desk.operator(), time.monotonic()
        report = (await desk.call("POST", "/v1/revocations", order, token=token)).body
        within_us = (time.monotonic() - ordered) * 1_000_000
        assert await client.at_end()
    assert report["connections"] == 1
    assert 0 < report["to_last_byte_us"] < within_us
    record = await desk.event("revocation", id="helper")
    assert (record["ordered_by"], record["reason"]) == ("control:ops:ada", "it went wild")
    assert record["to_last_byte_us"] == report["to_last_byte_us"]
    answer = await desk.w.ask("/no", basic("task", begun["token"]))
    assert (answer.status, told(answer)["code"]) == (403, "revoked")
    assert "it went wild" in told(answer)["detail"]
    assert (await desk.call("POST", "/v1/tasks", {"agent": "helper"})).status == 400

    held = (await desk.call("GET", "/v1/revocations")).body["revocations"]
    assert [(one["kind"], one["id"]) for one in held] == [("agent", "helper")]
    assert (await desk.call("DELETE", "/v1/revocations/agent/helper", token=desk.operator())).status == 200
    assert (await desk.event("revocation.lifted", id="helper"))["by"] == "control:ops:ada"
    again = await desk.start("helper")
    assert (await desk.status(again["token"]))[0] == 200


@pytest.mark.parametrize(
    ("who", "status", "code"),
    [
        ("nobody", 401, "unauthenticated"),
        ("wrong", 401, "unauthenticated"),
        ("an agent", 401, "unauthenticated"),
        ("another audience", 401, "unauthenticated"),
        ("another group", 403, "forbidden"),
        ("a web page", 403, "web_page"),
        ("a name", 421, "wrong_host"),
    ],
)
async def test_who_is_no_operator(desk: Desk, who: str, status: int, code: str):
    tokens: Mapping[str, str | None] = {
        "nobody": None,
        "wrong": "0" * 64,
        "another audience": desk.operator(aud="gatepass"),
        "another group": desk.operator(groups=["all"]),
    }
    token = (await desk.start())["token"] if who == "an agent" else tokens.get(who, "admin")
    headers = {"a web page": {"Origin": "https://evil.test"}, "a name": {"Host": "evil.test"}}.get(who, {})
    for method, path, body in (
        ("GET", "/v1/tasks", None),
        ("POST", "/v1/revocations", {"kind": "all", "reason": "x"}),
    ):
        reply = await desk.call(method, path, body, token=token, **headers)
        assert (reply.status, reply.body["code"]) == (status, code)
        assert ("WWW-Authenticate" in reply.headers) == (status == 401)
    assert (await desk.call("GET", "/healthz", token=None)).body == {"status": "ok"}
    assert (await desk.call("GET", "/v1/revocations")).body["revocations"] == []


async def test_a_restart_keeps_tasks_and_orders(tmp_path: Path):
    async with staffed(tmp_path) as desk:
        kept, revoked, ended = [await desk.start() for _ in range(3)]
        order = {"kind": "task", "id": revoked["task"], "reason": "no"}
        assert (await desk.call("POST", "/v1/revocations", order)).body["ended_tasks"] == 1
        await desk.call("POST", "/v1/revocations", {"kind": "agent", "id": "helper", "reason": "no"})
        await desk.call("POST", f"/v1/tasks/{ended['task']}/end", {})
        admin = desk.admin

        await desk.w.restart()

        assert desk.admin == admin
        assert await desk.status(kept["token"], "/kept") == (200, "")
        assert await desk.status(revoked["token"]) == (403, "revoked")
        assert await desk.status(ended["token"]) == (403, "task_ended")
        held = (await desk.call("GET", "/v1/revocations")).body["revocations"]
        assert ("agent", "helper", "control:admin") in [
            (one["kind"], one["id"], one["ordered_by"]) for one in held
        ]
        states = {one["id"]: one["state"] for one in (await desk.call("GET", "/v1/tasks")).body["tasks"]}
        assert states == {
            kept["task"]: "open",
            revoked["task"]: "revoked",
            ended["task"]: "ended",
        }


async def test_no_agent_reaches_it_through_the_proxy(tmp_path: Path):
    """Not even where the operator opened the destination for agents."""
    port = free_port()
    hosts = {"operators.test": ["127.0.0.1"]}
    opened = [("operators.test", port), ("127.0.0.1", port)]
    control = {"address": f"127.0.0.1:{port}"}
    itself = service("operators", "operators.test", ports=[port], schemes=["http"])
    more = {"services": [itself], "hosts": hosts, "private": opened}
    async with staffed(tmp_path, control=control, **more) as desk:
        proxy = desk.w.through("task", (await desk.start())["token"])
        bearer = f"Authorization: Bearer {desk.admin}"
        said = {}
        for host in ("127.0.0.1", "operators.test", "localhost"):
            answer = await desk.w.curl(proxy, f"http://{host}:{port}/v1/tasks", "-H", bearer)
            said[host] = told(answer)["code"]
        assert said == {
            "127.0.0.1": "self_connect",
            "operators.test": "loop",
            "localhost": "dest_loopback",
        }
