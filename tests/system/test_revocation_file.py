"""The revocation file of a served sidecar: orders that a fleet tool pushes into every pod."""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from proxy.identity.revocation import Kind
from proxy.store.tasks import TaskStore
from tests.support.rawclient import basic
from tests.system.process import until
from tests.system.served import Served, agent, refuses_to_start, served, session, told

AGENTS = [agent("coder", session()), agent("helper", session())]


class Pushed:
    """The file, as tools write it."""

    def __init__(self, directory: Path, *entries: Mapping[str, object]) -> None:
        self.path = directory / "revocations.yaml"
        self.rename(*entries)

    def text(self, *entries: Mapping[str, object]) -> str:
        return json.dumps({"revocations": list(entries)}) + "\n"

    def rename(self, *entries: Mapping[str, object]) -> None:
        """In one step."""
        beside = self.path.with_suffix(".new")
        beside.write_text(self.text(*entries))
        beside.replace(self.path)

    def in_place(self, *entries: Mapping[str, object]) -> None:
        self.path.write_text(self.text(*entries))

    def settings(self) -> Mapping[str, object]:
        return {"identity": {"revocations": str(self.path)}}


async def code(w: Served, token: str) -> str:
    answer = await w.ask("/x", basic("task", token))
    return "ok" if answer.status == 200 else str(told(answer)["code"])


async def recorded(w: Served, kind: str, most: int) -> Mapping[str, object]:
    """The latest record of this kind, once there are so many."""
    await until(lambda: len(w.events(kind)) >= most)
    return w.events(kind)[-1].raw["body"]


async def test_what_is_pushed_is_cut_and_what_is_taken_out_is_lifted(tmp_path: Path):
    file = Pushed(tmp_path)
    async with served(tmp_path, AGENTS, **file.settings()) as w, AsyncExitStack() as stack:
        tokens = {name: str((await w.started(name))["token"]) for name in ("coder", "helper")}
        running = {
            name: await stack.enter_async_context(w.tunnel(basic("task", token)))
            for name, token in tokens.items()
        }
        await running["coder"].send(f"GET /sse HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
        body = aiter(running["coder"].body(await running["coder"].read_head()))
        assert await anext(body) + await running["coder"].read_exactly(2) == b"data: first\n\n\r\n"

        file.rename({"agent": "coder", "reason": "key leaked"})
        record = await recorded(w, "revocation", 1)
        assert (record["ordered_by"], record["connections_cut"]) == (f"file:{file.path}", 1)
        assert await running["coder"].at_end()
        answer = await w.ask("/x", basic("task", tokens["coder"]))
        assert "key leaked" in told(answer)["detail"]
        assert (await w.get(running["helper"], "/unharmed")).status == 200

        file.in_place({"agent": "coder", "reason": "key leaked"}, {"agent": "helper"})
        await recorded(w, "revocation", 2)
        assert await running["helper"].at_end()
        assert [await code(w, token) for token in tokens.values()] == ["revoked", "revoked"]

        file.in_place({"agent": "helper"})
        assert (await recorded(w, "revocation.lifted", 1))["by"] == f"file:{file.path}"
        again = str((await w.started("coder"))["token"])
        assert (await code(w, again), await code(w, tokens["helper"])) == ("ok", "revoked")


async def test_a_mistake_keeps_the_last_orders_and_is_told(tmp_path: Path):
    file = Pushed(tmp_path, {"agent": "coder"})
    async with served(tmp_path, AGENTS, **file.settings()) as w:
        helper = str((await w.started("helper"))["token"])
        for content, words in (
            ("revocations:\n  - agnet: coder\n", "agnet"),
            ('{"revocations": []}', "the last line has no end"),
            ("", "revocations.yaml"),
        ):
            file.path.write_text(content)
            await w.sidecar.until_said(words)
            assert held(w) == [("agent", "coder")]
        file.path.unlink()
        await w.sidecar.until_said("cannot be read")
        assert held(w) == [("agent", "coder")]
        assert await code(w, helper) == "ok"
        file.rename({"agent": "helper"})
        await recorded(w, "revocation.lifted", 1)
        assert await code(w, helper) == "revoked"


def held(w: Served) -> list[tuple[str, str]]:
    """The orders that hold."""
    with TaskStore.open(w.directory / "state" / "tasks.sqlite3") as store:
        return [(order.kind.value, order.id) for order in store.orders()]


async def test_a_task_and_everything_and_a_restart(tmp_path: Path):
    file = Pushed(tmp_path)
    async with served(tmp_path, AGENTS, **file.settings()) as w:
        one, other = await w.started("coder"), await w.started("helper")
        file.rename({"task": one["task"], "reason": "wrong branch"})
        await recorded(w, "revocation", 1)
        assert await code(w, str(one["token"])) == "revoked"
        file.rename({"all": True, "reason": "incident 12"})
        await recorded(w, "revocation", 2)
        assert await code(w, str(other["token"])) == "revoked"

        await w.restart()
        assert await code(w, str(other["token"])) == "revoked"
        file.rename()
        await recorded(w, "revocation.lifted", 1)
        assert await code(w, str((await w.started("helper"))["token"])) == "ok"
        assert await code(w, str(one["token"])) == "revoked"  # a task that was revoked stays so


async def test_orders_hold_from_the_first_call_and_a_broken_file_is_no_start(tmp_path: Path):
    file = Pushed(tmp_path, {"agent": "coder"})
    async with served(tmp_path, AGENTS, **file.settings()) as w:
        assert held(w) == [("agent", "coder")]
        listed = await w.verb("revoke", "list", "--json")
        assert (listed["kind"], listed["id"]) == ("agent", "coder")
    file.path.write_text("revocations:\n  - agent: [coder]\n")
    (line,) = (await refuses_to_start(tmp_path / "gatepass.yaml", tmp_path)).splitlines()
    assert str(file.path) in line
    assert "line 2" in line or ":2" in line
    file.path.unlink()
    assert "cannot be read" in await refuses_to_start(tmp_path / "gatepass.yaml", tmp_path)


async def test_what_stands_in_the_file_holds_again_if_somebody_lifts_it(tmp_path: Path):
    file = Pushed(tmp_path, {"agent": "coder"})
    async with served(tmp_path, AGENTS, **file.settings()) as w:
        with TaskStore.open(w.directory / "state" / "tasks.sqlite3") as store:
            assert store.lift(Kind.AGENT, "coder")
        await recorded(w, "revocation", 2)
        assert held(w) == [("agent", "coder")]
