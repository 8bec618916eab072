"""``gatepass run``: an agent that behaves and misbehaves, and what is left of it afterwards."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from proxy.audit.record import Record
from tests.support.upstream import Upstream
from tests.system.deployed import CLOSED, SECRET, any_file_holds, configure, read_log, seen, verified
from tests.system.process import Finished, gatepass

AGENT = """
import json, os, sys, urllib.error, urllib.request
api, closed, status = sys.argv[1:]
token = os.environ["API_TOKEN"]

def call(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return [answer.status, answer.read().decode()]
    except urllib.error.HTTPError as refusal:
        with refusal:
            return [refusal.code, json.load(refusal)]

allowed = call(api + "/status", Authorization="Bearer " + token)
denied = call(closed + "/status")
elsewhere = call(closed + "/stolen", Authorization="Bearer " + token)
print(json.dumps({"environment": dict(os.environ), "calls": [allowed, denied, elsewhere]}))
sys.exit(int(status))
"""

WAITING = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as answer:
    print(answer.read().decode())
"""


async def run_agent(config: Path, home: Path, *command: str, **env: str) -> Finished:
    """``gatepass run -- COMMAND``, as somebody whose environment holds the credential."""
    words = ("run", "--config", config, "--agent", "tester", "--purpose", "try it", "--", *command)
    return await gatepass(*words, home=home, API_TOKEN=SECRET, **env)


def decided(log: Path) -> list[Record]:
    return [record for record in read_log(log) if record.kind == "decision"]


@pytest.mark.parametrize("status", [0, 7])
async def test_an_agent_is_governed_from_its_start_to_its_end(tmp_path: Path, status: int):
    async with Upstream("api.test", "closed.test") as upstream:
        config = configure(tmp_path, upstream)
        urls = [f"https://{host}:{upstream.port}" for host in ("api.test", "closed.test")]
        copy = {"COPY_OF_TOKEN": f"Bearer {SECRET}"}
        program = (sys.executable, "-c", AGENT, *urls, str(status))
        done = await run_agent(config, tmp_path / "home", *program, **copy)

        assert done.status == status, done
        told = json.loads(done.stdout)
        allowed, (denied, why), (elsewhere, what) = told["calls"]
        assert (allowed, denied, elsewhere) == ([200, "status"], 403, 403)
        assert (why["code"], why["rule"]) == ("policy_deny", CLOSED)
        assert what["code"] == "placeholder_host_mismatch"
        assert [got["authorization"] for got in seen(upstream, "/status")] == [f"Bearer {SECRET}"]
        assert len(upstream.requests) == 1

    environment = told["environment"]
    assert environment["API_TOKEN"].startswith("gp_")
    assert "COPY_OF_TOKEN" not in environment
    assert not [name for name in environment if name.startswith("GATEPASS_")]
    assert SECRET not in done.said
    assert not any_file_holds(tmp_path / "state", SECRET)

    log = tmp_path / "state" / "log"
    assert [(each.effect, each.code, each.agent) for each in decided(log)] == [
        ("allow", "", "tester"),
        ("deny", "policy_deny", "tester"),
        ("deny", "placeholder_host_mismatch", "tester"),
    ]
    assert verified(log).unsigned == 0


async def test_afterwards_the_log_answers_questions(tmp_path: Path):
    async with Upstream("api.test", "closed.test") as upstream:
        config = configure(tmp_path, upstream)
        urls = [f"https://{host}:{upstream.port}" for host in ("api.test", "closed.test")]
        home = tmp_path / "home"
        done = await run_agent(config, home, sys.executable, "-c", AGENT, *urls, "0")
        assert done.status == 0, done

    log = tmp_path / "state" / "log"
    task = decided(log)[0].task
    blocked = await gatepass("log", "blocked", "--log", log, "--json", home=home)
    codes = [json.loads(line)["code"] for line in blocked.stdout.splitlines()]
    assert (blocked.status, codes) == (0, ["policy_deny", "placeholder_host_mismatch"])
    traced = await gatepass("log", "trace", task, "--log", log, "--json", home=home)
    story = [json.loads(line) for line in traced.stdout.splitlines()]
    assert [item["decision"]["why"]["effect"] for item in story if "decision" in item] == [
        "allow",
        "deny",
        "deny",
    ]
    held = await gatepass("log", "verify", "--log", log, "--json", home=home)
    assert held.json()["ok"] is True
    listed = await gatepass("task", "show", task, "--config", config, "--json", home=home)
    assert listed.json()["state"] == "ended"


async def test_two_at_the_same_time_do_not_meet(tmp_path: Path):
    async with Upstream("api.test", "closed.test") as upstream, asyncio.TaskGroup() as group:
        config = configure(tmp_path, upstream)
        url = f"https://api.test:{upstream.port}/slow"
        runs = [
            group.create_task(run_agent(config, tmp_path / f"home-{n}", sys.executable, "-c", WAITING, url))
            for n in range(2)
        ]
        await upstream.until(
            lambda: len(upstream.requests) == 2, within=50
        )  # both are in the middle of a call
        upstream.release.set()
        assert [((await run).status, (await run).stdout) for run in runs] == [(0, "at last\n")] * 2

    logs = [tmp_path / "state" / name for name in ("log", "log-2")]
    assert [verified(log).unsigned for log in logs] == [0, 0]
    decisions = [decided(log) for log in logs]
    assert [[each.effect for each in some] for some in decisions] == [["allow"], ["allow"]]
    assert decisions[0][0].task != decisions[1][0].task
