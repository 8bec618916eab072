"""Agents that call through a Unix socket: the kernel says which user and which program is calling (unix(7))."""

import asyncio
import json
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.rawclient import WAIT_S, RawClient, Response, basic
from tests.system.deployed import launch
from tests.system.process import environment, run
from tests.system.served import Served, agent, served, session, told

EXECUTABLE = os.path.realpath(sys.executable)
CALL = """
import socket, sys
path, authority = sys.argv[1:]
connected = socket.socket(socket.AF_UNIX)
connected.connect(path)
connected.sendall(f"CONNECT {authority} HTTP/1.1\\r\\nHost: {authority}\\r\\n\\r\\n".encode())
print(connected.makefile().readline().split()[1])
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path leaves room: that of a socket has 107 octets at most."""
    with tempfile.TemporaryDirectory(prefix="gp") as directory:
        yield Path(directory)


async def client(path: Path) -> RawClient:
    async with asyncio.timeout(WAIT_S):
        return RawClient(*await asyncio.open_unix_connection(path))


async def call(w: Served, path: Path, target: str, authorization: str | None) -> Response:
    async with await client(path) as one:
        return await w.ask_over(one, target, authorization)


@asynccontextmanager
async def at_socket(
    directory: Path, path: Path, ways: list[Mapping[str, object]], **listen: object
) -> AsyncIterator[tuple[Served, str]]:
    """A sidecar at a socket, and an open task of ``coder``."""
    places = [{"unix": str(path), **listen}]
    async with served(directory, [agent("coder", session(), *ways)], listen=places) as w:
        yield w, str((await w.started("coder"))["task"])


def unix(**more: object) -> Mapping[str, object]:
    return {"method": "unix", "uid": os.getuid(), **more}


async def test_a_process_of_the_agents_user_needs_no_token(tmp_path: Path, short: Path):
    path = short / "s"
    async with at_socket(tmp_path, path, [unix()], mode="0660") as (w, task):
        assert w.sidecar.places == [f"unix:{path}"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert (await call(w, path, "/call", basic(task, ""))).status == 200
        record = w.decision("/call")
        assert (record.agent, record.task) == ("coder", task)
        (evidence,) = w.evidence("/call")
        assert (evidence["method"], evidence["issuer"]) == ("unix", "kernel")
        assert evidence["token_id"] == f"uid={os.getuid()} pid={os.getpid()} exe={EXECUTABLE}"
        assert record.raw["who"]["peer"] == f"unix uid={os.getuid()} pid={os.getpid()}"
    assert not path.exists()


async def test_one_program_of_the_user_is_the_agent_and_another_is_nobody(tmp_path: Path, short: Path):
    path, copy = short / "s", short / "python"
    shutil.copy(EXECUTABLE, copy)
    listener = {"method": "listener"}
    async with at_socket(tmp_path, path, [unix(executable=EXECUTABLE), listener], agent="coder") as (w, _):
        env = environment(
            w.home, {"PYTHONHOME": sys.base_prefix, "LD_LIBRARY_PATH": f"{sys.base_prefix}/lib"}
        )
        for program, status in ((EXECUTABLE, "200"), (copy, "407")):
            done = await run(program, "-I", "-c", CALL, path, w.authority, env=env, cwd=w.home)
            assert done.stdout.strip() == status, done
        (refused,) = [record for record in w.records if record.effect == "deny"]
        assert refused.code == "identity_conflict"
        # The process that a container shares with nobody carries its identity in the socket alone.
        answer = await call(w, path, "/fixed", None)
        assert answer.status == 200
        assert {each["method"] for each in w.evidence("/fixed")} == {"listener", "unix"}


async def test_another_user_is_nobody_and_a_token_helps(tmp_path: Path, short: Path):
    path = short / "s"
    async with at_socket(tmp_path, path, [{"method": "unix", "uid": 54321}]) as (w, task):
        refused = await call(w, path, "/nobody", basic(task, ""))
        assert (refused.status, told(refused)["code"]) == (407, "identity_invalid")
        token = str((await w.started("coder"))["token"])
        assert (await call(w, path, "/token", basic("task", token))).status == 200
        assert [each["method"] for each in w.evidence("/token")] == ["session"]


async def test_a_socket_that_carries_an_identity(tmp_path: Path, short: Path):
    """As in a pod: the socket is mounted into one container, and its file says what that one needs."""
    path = short / "s"
    async with at_socket(tmp_path, path, [{"method": "listener"}], agent="coder") as (w, _):
        assert (await call(w, path, "/fixed", None)).status == 200
        record = w.decision("/fixed")
        assert (record.agent, [each["method"] for each in w.evidence("/fixed")]) == ("coder", ["listener"])
        assert record.task
        assert (w.directory / "state" / "agents" / "coder.env").is_file()


async def test_a_sidecar_that_was_killed_takes_its_socket_again(tmp_path: Path, short: Path):
    path = short / "s"
    async with at_socket(tmp_path, path, [unix()]) as (w, task):
        w.sidecar.signal(signal.SIGKILL)
        assert await w.sidecar.ended() == -signal.SIGKILL
        assert path.is_socket()
        with pytest.raises(ConnectionRefusedError):
            await client(path)
        w.sidecar = await launch(w.config, w.directory)
        assert (await call(w, path, "/again", basic(task, ""))).status == 200


async def test_the_desk_over_a_socket(tmp_path: Path, short: Path):
    path = short / "s"
    async with at_socket(tmp_path, path, [unix()]) as (_, task), await client(path) as one:
        await one.send(
            b"GET http://gatepass.internal/whoami HTTP/1.1\r\nHost: gatepass.internal\r\n"
            + f"Proxy-Authorization: {basic(task, '')}\r\n\r\n".encode()
        )
        answer = await one.read_response()
        assert (answer.status, json.loads(answer.body)["evidence"]) == (200, ["unix"])
