"""``kill -9`` in the middle of work: the log still holds, and nothing reached the API without a decision."""

import asyncio
import contextlib
import random
import signal
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.audit.record import Record
from proxy.audit.trace import unfinished
from proxy.store.reader import since_boot
from proxy.store.tiles import CHECKPOINT
from tests.support.call import Call
from tests.support.rawclient import RawClient, basic
from tests.support.upstream import Upstream
from tests.support.wire import Malformed, response
from tests.system.deployed import SECRET, any_file_holds, configure, launch, read_log, start_task, verified
from tests.system.process import Sidecar, until

KILLS = 10  # for each of two seeds
LOADERS = 4
HELD = 2
MOST_ANSWERS = 150
# What a client meets when the sidecar is gone from one instant to the next.
GONE = (OSError, EOFError, Malformed, ssl.SSLError)


async def answer(call: Call) -> None:
    """Answer at once; a call that is held is answered only when the test says so."""
    await call.take()
    if call.received.path.startswith("/held/"):
        await call.release.wait()
    await call.send(response(200, b"answered"))


@dataclass
class Load:
    """Keep-alive connections that call without a pause, each call on a path of its own."""

    upstream: Upstream
    ca: Path
    authorization: str
    bearer: str
    wanted: int = 0
    answers: int = 0
    killed: bool = False
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def calls(self, address: tuple[str, int], prefix: str, most: int) -> None:
        """One connection, until the sidecar is killed or ``most`` calls were answered."""
        authority = f"api.test:{self.upstream.port}"
        try:
            async with await RawClient.connect(address) as client:
                assert (await client.open_tunnel(authority, self.authorization)).status == 200
                await client.start_tls("api.test", cafile=self.ca)
                for number in range(most):
                    lines = (f"GET {prefix}/{number} HTTP/1.1", f"Host: {authority}", self.bearer, "", "")
                    await client.send("\r\n".join(lines).encode())
                    self.note(await client.read_response())
        except GONE:
            if not self.killed:
                raise

    def note(self, got) -> None:
        assert (got.status, got.body) == (200, b"answered"), got
        self.answers += 1
        if self.answers >= self.wanted:
            self.enough.set()

    async def until_killed(self, sidecar: Sidecar, name: str, wanted: int) -> None:
        """Load it, kill it after so many answers, and see everything come to rest."""
        self.wanted, self.answers, self.killed = wanted, 0, False
        self.enough.clear()
        self.upstream.release.clear()
        async with asyncio.TaskGroup() as group:
            held = {f"/held/{name}/{number}/0" for number in range(HELD)}
            for number in range(HELD):
                group.create_task(self.calls(sidecar.address, f"/held/{name}/{number}", 1))
            await self.upstream.until(lambda: held <= arrived(self.upstream))
            if wanted:
                for number in range(LOADERS):
                    group.create_task(self.calls(sidecar.address, f"/load/{name}/{number}", 10_000))
                async with asyncio.timeout(30):
                    await self.enough.wait()
            self.killed = True
            sidecar.signal(signal.SIGKILL)
            assert await sidecar.ended() == -signal.SIGKILL
        self.upstream.release.set()
        await self.upstream.until(lambda: all(each.closed.is_set() for each in self.upstream.connections))


def arrived(upstream: Upstream) -> set[str]:
    """The paths of all requests that the API has seen, whole or in part."""
    return {received.path for received in upstream.requests}


def allowed(records: list[Record]) -> set[str]:
    return {record.path for record in records if record.effect == "allow"}


def given_up(records: list[Record]) -> set[str]:
    return {record.decision_id for record in records if record.kind == "outcome.unknown"}


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_log_outlives_ten_kills_under_load(tmp_path: Path, seed: int):
    moments = random.Random(seed)
    log = tmp_path / "state" / "log"
    async with (
        Upstream("api.test", "closed.test", default=answer) as upstream,
        contextlib.AsyncExitStack() as stack,
    ):
        # Checkpoints every few answers, so that kills fall into their writing, too.
        config = configure(tmp_path, upstream, log={"checkpoint_every": 0.02})

        async def start() -> Sidecar:
            sidecar = await launch(config, tmp_path)
            stack.callback(sidecar.signal, signal.SIGKILL)  # only where the test has failed
            return sidecar

        sidecar = await start()
        _, told = await start_task(config, sidecar, tmp_path / "home")
        load = Load(
            upstream,
            Path(told["SSL_CERT_FILE"]),
            basic("task", told["https_proxy"].partition("task:")[2].partition("@")[0]),
            f"Authorization: Bearer {told['API_TOKEN']}",
        )
        for kill in range(KILLS):
            await until((log / CHECKPOINT).exists)
            await load.until_killed(sidecar, f"{seed}-{kill}", moments.randrange(MOST_ANSWERS))

            verified(log)
            assert arrived(upstream) <= allowed(read_log(log))
            died = set(unfinished(since_boot(log)))
            assert len(died) >= HELD

            sidecar = await start()
            await until(lambda died=died: died <= given_up(read_log(log)))
        assert await sidecar.stop() == 0

    assert verified(log).unsigned == 0
    assert arrived(upstream) <= allowed(read_log(log))
    assert len([record for record in read_log(log) if record.kind == "boot"]) == KILLS + 1
    assert not any_file_holds(tmp_path / "state", SECRET)
