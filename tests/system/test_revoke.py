"""``gatepass revoke`` with sidecars that serve: what it cuts, what it says, what is on record, what stays."""

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.support.behaviours import sse
from tests.support.rawclient import WAIT_S, RawClient, basic
from tests.support.upstream import Upstream
from tests.system.deployed import Deployed, deployed, read_log, start_task
from tests.system.process import Finished, gatepass, until


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Deployed]:
    """An API that sends one event, and the next when the test sets ``release``."""
    async with deployed(tmp_path, Upstream("api.test", "closed.test", default=sse)) as running:
        yield running
        running.upstream.release.set()


def identity(variables: Mapping[str, str]) -> str:
    return basic("task", variables["https_proxy"].partition("task:")[2].partition("@")[0])


@contextlib.asynccontextmanager
async def stream(w: Deployed, variables: Mapping[str, str] | None = None) -> AsyncIterator[RawClient]:
    """A client inside TLS to the API that has got the first event of an endless answer."""
    told = variables or w.variables
    async with await RawClient.connect(w.sidecar.address) as client:
        answer = await client.open_tunnel(f"api.test:{w.upstream.port}", identity(told))
        assert answer.status == 200, answer
        await client.start_tls("api.test", cafile=told["SSL_CERT_FILE"])
        await client.send(f"GET /stream HTTP/1.1\r\nHost: api.test:{w.upstream.port}\r\n\r\n".encode())
        got = b""
        while b"data: first\n\n" not in got:
            got += await client.read_some()
        yield client


async def verb(w: Deployed, *words: str) -> Finished:
    known = () if "--config" in words else ("--config", str(w.config))
    return await gatepass(*words, *known, home=w.home)


async def refusal(w: Deployed) -> str:
    """The code that a new call gets."""
    async with await RawClient.connect(w.sidecar.address) as client:
        answer = await client.open_tunnel(f"api.test:{w.upstream.port}", identity(w.variables))
        return str(json.loads(answer.body)["code"]) if answer.status != 200 else ""


def bodies(w: Deployed, kind: str) -> list[Mapping[str, object]]:
    return [record.raw["body"] for record in read_log(w.log) if record.kind == kind]


async def test_streams_are_cut_and_the_command_says_so(w: Deployed):
    async with stream(w) as one, stream(w) as two:
        done = await verb(w, "revoke", "agent", "tester", "--reason", "key leaked")
        assert (done.status, done.stderr) == (0, "")
        said = (
            r"revoked agent tester: 1 task ended, 2 connections cut, last byte after (\d+|less than 1) ms\n"
        )
        assert re.fullmatch(said, done.stdout), done
        assert await one.at_end()
        assert await two.at_end()

    assert await refusal(w) == "revoked"
    (record,) = bodies(w, "revocation")  # it was written before the command returned
    assert (record["kind"], record["id"], record["ordered_by"]) == ("agent", "tester", "cli")
    assert (record["reason"], record["tasks"], record["connections_cut"]) == ("key leaked", [w.task], 2)
    assert 0 < record["to_last_byte_us"] < WAIT_S * 1_000_000
    shown = await verb(w, "log", "show", "--json")
    assert '"to_last_byte_us"' in shown.stdout
    assert {each.code for each in await w.settled() if each.effect == "deny"} == {"revoked"}
    assert [each.code for each in w.records if each.kind == "outcome"] == ["revoked", "revoked"]


async def test_an_order_outlives_the_sidecar_until_it_is_lifted(w: Deployed):
    assert await w.sidecar.stop() == 0
    done = await verb(w, "revoke", "agent", "tester", "--reason", "key leaked")
    assert done.stdout == (
        "revoked agent tester: 1 task ended, no sidecar is running; it holds from the next start\n"
    )
    for _ in range(2):
        await w.restart()
        assert await refusal(w) == "revoked"
        (listed,) = (await verb(w, "revoke", "list", "--json")).stdout.splitlines()
        assert json.loads(listed)["reason"] == "key leaked"
    await until(lambda: len(bodies(w, "revocation")) == 1)  # what happened while nobody ran is told later

    started = await verb(w, "task", "start", "--agent", "tester", "--proxy", "127.0.0.1:1")
    assert started.status == 1
    assert "the agent tester is revoked: key leaked" in started.stderr
    assert (await verb(w, "revoke", "lift", "agent", "tester")).status == 0
    await until(lambda: [each["by"] for each in bodies(w, "revocation.lifted")] == ["cli"])
    _, told = await start_task(w.config, w.sidecar, w.home)
    async with stream(w, told) as client:
        w.upstream.release.set()
        assert b"data: second" in await client.read_some()
    assert await refusal(w) == "revoked"  # the task that was ended stays so


async def test_one_task_is_cut_and_another_goes_on(w: Deployed):
    other, told = await start_task(w.config, w.sidecar, w.home)
    async with stream(w) as cut, stream(w, told) as kept:
        done = await verb(w, "revoke", "task", w.task, "--reason", "done for", "--json")
        found = done.json()
        assert (found["tasks"], found["connections_cut"]) == ([w.task], 1)
        (sidecar,) = found["sidecars"]
        assert sidecar == {"pid": w.sidecar.process.pid, "answered": True, "connections_cut": 1}
        assert await cut.at_end()
        w.upstream.release.set()
        assert b"data: second" in await kept.read_some()
        again = await verb(w, "revoke", "task", w.task, "--reason", "again")
        assert (again.status, again.stdout) == (0, f"task {w.task} is over already\n")
    assert [each["task"] for each in bodies(w, "revocation")] == [w.task]
    assert other not in bodies(w, "revocation")[0]["tasks"]


async def test_a_key_is_distrusted_and_trusted_again(w: Deployed):
    async with stream(w) as client:
        (decision,) = (each.raw for each in w.records if each.kind == "decision")
        (evidence,) = decision["who"]["auth"]
        key = str(evidence["key_id"])
        done = await verb(w, "revoke", "key", key, "--reason", "exposed")
        assert "1 connection cut" in done.stdout
        assert await client.at_end()
    assert await refusal(w) == "revoked"
    assert (await verb(w, "revoke", "lift", "key", key)).status == 0
    async with asyncio.timeout(WAIT_S):
        while await refusal(w):  # a lift is not waited for: a running sidecar follows in a moment
            await asyncio.sleep(0.01)


async def test_every_sidecar_is_waited_for(w: Deployed):
    """``gatepass run`` has a sidecar of its own on the same state."""
    begun, over = w.directory / "begun", w.directory / "over"
    program = f"touch {begun}; while [ ! -e {over} ]; do sleep 0.05; done"
    async with asyncio.TaskGroup() as group:
        running = group.create_task(verb(w, "run", "--config", str(w.config), "--", "sh", "-c", program))
        await until(begun.exists)
        found = (await verb(w, "revoke", "all", "--reason", "incident", "--json")).json()
        over.touch()
    assert [each["answered"] for each in found["sidecars"]] == [True, True]
    assert w.sidecar.process.pid in {each["pid"] for each in found["sidecars"]}
    assert found["tasks_ended"] == 2
    assert (
        "the task is over (revoked): every further call of the program is refused" in running.result().stderr
    )


async def test_a_sidecar_that_does_not_answer_is_named(w: Deployed):
    w.sidecar.signal(signal.SIGSTOP)
    try:
        done = await verb(w, "revoke", "agent", "tester", "--reason", "key leaked")
    finally:
        w.sidecar.signal(signal.SIGCONT)
    assert done.status == 1
    assert done.stdout == "revoked agent tester: 1 task ended, not in force everywhere yet\n"
    assert f"from the sidecar with pid {w.sidecar.process.pid}" in done.stderr
    await until(lambda: len(bodies(w, "revocation")) == 1)  # it comes by it all the same
    assert await refusal(w) == "revoked"
