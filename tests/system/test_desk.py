"""The desk at ``http://gatepass.internal/``, asked by the clients that agents are made of.

Each asks who it is and whether it may, hands a narrower task to ``helper``, and prints what it heard. None is
told of a proxy by anything but its environment; Node reaches even an ``http`` URL through CONNECT.
"""

import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.rawclient import basic
from tests.system.deployed import SECRET, seen
from tests.system.served import Served, agent, served, session, told
from tests.system.test_node import NODE, script

pytestmark = pytest.mark.asyncio(loop_scope="module")

DESK = "http://gatepass.internal"
WANTED = {"agent": "helper", "purpose": "read the docs", "ttl": 300, "scopes": ["docs:read"], "depth": 0}

CURL = r"""
set -e
whoami=$(curl -sS --fail "$1/whoami")
may=$(curl -sS --fail -G --data-urlencode "method=GET" --data-urlencode "url=$2" "$1/may")
child=$(curl -sS --fail -H "Content-Type: application/json" -d "$3" "$1/delegate")
printf '[%s,%s,%s]\n' "$whoami" "$may" "$child"
"""
REQUESTS = """
import json, sys, requests
desk, url, wanted = sys.argv[1:]
print(json.dumps([
    requests.get(desk + "/whoami").json(),
    requests.get(desk + "/may", params={"method": "GET", "url": url}).json(),
    requests.post(desk + "/delegate", json=json.loads(wanted)).json(),
]))
"""
HTTPX = """
import json, sys, httpx
desk, url, wanted = sys.argv[1:]
with httpx.Client() as client:
    print(json.dumps([
        client.get(desk + "/whoami").json(),
        client.get(desk + "/may", params={"method": "GET", "url": url}).json(),
        client.post(desk + "/delegate", json=json.loads(wanted)).json(),
    ]))
"""
AIOHTTP = """
import asyncio, json, sys, aiohttp
desk, url, wanted = sys.argv[1:]
async def main():
    async with aiohttp.ClientSession(trust_env=True) as client:
        async with client.get(desk + "/whoami") as answer:
            whoami = await answer.json()
        async with client.get(desk + "/may", params={"method": "GET", "url": url}) as answer:
            may = await answer.json()
        async with client.post(desk + "/delegate", json=json.loads(wanted)) as answer:
            print(json.dumps([whoami, may, await answer.json()]))
asyncio.run(main())
"""
URLLIB = """
import json, sys
from urllib.parse import urlencode
from urllib.request import urlopen
desk, url, wanted = sys.argv[1:]
asked = [desk + "/whoami", desk + "/may?" + urlencode({"method": "GET", "url": url})]
heard = []
for where, body in [*((one, None) for one in asked), (desk + "/delegate", wanted.encode())]:
    with urlopen(where, body) as answer:
        heard.append(json.load(answer))
print(json.dumps(heard))
"""
FETCH = """
const [desk, url, wanted] = process.argv.slice(2);
const json = async (path, more) => (await fetch(desk + path, more)).json();
const type = { "Content-Type": "application/json" };
console.log(JSON.stringify([
  await json("/whoami"),
  await json("/may?" + new URLSearchParams({ method: "GET", url })),
  await json("/delegate", { method: "POST", headers: type, body: wanted }),
]));
"""
SCRIPTS = {"requests": REQUESTS, "httpx": HTTPX, "aiohttp": AIOHTTP, "urllib": URLLIB}


class Family:
    """A sidecar, and the variables of a task of ``coder`` that may be delegated."""

    def __init__(self, w: Served, begun: Mapping[str, Any]) -> None:
        self.w = w
        self.task, self.token = str(begun["task"]), str(begun["token"])
        self.variables = dict(begun["variables"]) | w.through("task", self.token)

    async def says(self, *argv: str | Path) -> list[Mapping[str, Any]]:
        """What a program of the agent prints."""
        url = self.w.url("/docs")
        done = await self.w.agent(*argv, DESK, url, json.dumps(WANTED), **self.variables)
        assert done.status == 0, done
        heard: list[Mapping[str, Any]] = json.loads(done.stdout)
        return heard

    async def holds(self, heard: list[Mapping[str, Any]]) -> None:
        """Everything was answered; and the child can do what it was given, until its parent's end."""
        whoami, may, child = heard
        assert (whoami["agent"], whoami["task"]["id"]) == ("coder", self.task)
        assert whoami["evidence"] == ["session"]
        assert (may["allowed"], may["why"]["rule"]) == (True, "api-0")
        assert (child["agent"], child["scopes"], child["depth"]) == ("helper", ["docs:read"], 0)
        path = f"/{child['task']}"
        bearer = f"Authorization: Bearer {child['variables']['API_TOKEN']}"
        answer = await self.w.curl(self.w.through("task", child["token"]), path, "-H", bearer)
        assert answer.status == 200
        assert seen(self.w.upstream, path)[0]["authorization"] == f"Bearer {SECRET}"
        record = self.w.decision(path)
        assert [link["agent"] for link in record.raw["who"]["chain"]] == ["coder", "helper"]
        assert record.raw["who"]["right"]["scopes"] == ["docs:read"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def family(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Family]:
    """One for all tests; whoever ends a task ends one of its own."""
    agents = [agent("coder", session()), agent("helper", session())]
    async with served(tmp_path_factory.mktemp("desk"), agents) as w:
        yield await begun(w)


async def begun(w: Served) -> Family:
    return Family(w, await w.started("coder", "--scope", "docs:read", "--scope", "docs:write"))


@pytest.mark.parametrize("client", SCRIPTS)
async def test_a_python_client_at_the_desk(family: Family, client: str):
    if client in {"requests", "httpx"}:
        pytest.importorskip(client)
    await family.holds(await family.says(sys.executable, "-c", SCRIPTS[client]))


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
async def test_curl_at_the_desk(family: Family):
    await family.holds(await family.says("bash", "-c", CURL, "agent"))


@pytest.mark.skipif(NODE is None, reason="there is no node on this machine")
async def test_fetch_at_the_desk(family: Family, tmp_path: Path):
    await family.holds(await family.says("node", await script(tmp_path, FETCH)))


async def test_what_was_refused_and_why(family: Family):
    """An agent that was refused asks what happened, and is told what to do."""
    proxy = family.w.through("task", family.token)
    refused = await family.w.curl(proxy, family.w.url("/x", "elsewhere.test"))
    assert refused.status == 403
    heard = told(await family.w.curl(proxy, f"{DESK}/blocked"))
    latest = heard["blocked"][0]
    assert (latest["code"], latest["record"]) == (told(refused)["code"], told(refused)["record"])
    assert latest["next"]
    may = told(await family.w.curl(proxy, f"{DESK}/may?method=GET&url=https%3A%2F%2Felsewhere.test%2F"))
    assert (may["allowed"], may["why"]["code"]) == (False, latest["code"])


async def test_nobody_and_nothing_else_is_served(family: Family):
    w = family.w
    for answer, status in (
        (await w.curl(w.through(), f"{DESK}/whoami"), 407),
        (await w.curl(w.through("task", family.token), f"{DESK}/delegate"), 400),
        (await w.curl(w.through("task", family.token), f"{DESK}/v1/tasks"), 400),
        (await w.curl(w.through("task", family.token), f"{DESK}:8080/whoami"), 400),
    ):
        assert answer.status == status, answer
    wider = json.dumps({**WANTED, "scopes": ["docs:delete"]})
    answer = await w.curl(w.through("task", family.token), f"{DESK}/delegate", "-d", wider)
    assert (answer.status, told(answer)["code"]) == (403, "delegation_refused")


async def test_the_end_of_a_task_ends_what_it_handed_on(family: Family):
    """The parent ends its own task while its child is at work: it is told so, and the child is cut."""
    mine = await begun(family.w)
    proxy = mine.w.through("task", mine.token)
    child = told(await mine.w.curl(proxy, f"{DESK}/delegate", "-d", json.dumps(WANTED)))
    async with mine.w.tunnel(basic("task", str(child["token"]))) as client:
        assert (await mine.w.get(client, "/child")).status == 200
        ended = told(await mine.w.curl(proxy, f"{DESK}/end", "-d", '{"reason": "done"}'))
        assert ended == {"task": mine.task, "ended_tasks": 2}
        assert await client.at_end()
    for token in (mine.token, str(child["token"])):
        answer = await mine.w.ask("/late", basic("task", token))
        assert (answer.status, told(answer)["code"]) == (403, "task_ended")
    assert (await family.w.ask("/others", basic("task", family.token))).status == 200
