"""The life of ``gatepass serve``: how it stops, what a second one says, what happens when the disk is full."""

import asyncio
import contextlib
import json
import resource
import signal
from pathlib import Path

import pytest

from proxy.audit.tile import written
from proxy.store.tiles import PENDING
from tests.support.rawclient import RawClient, basic
from tests.system.deployed import SECRET, Deployed, deployed, read_log, verified
from tests.system.process import gatepass


@contextlib.asynccontextmanager
async def tunnel(w: Deployed):
    """A raw client of the task, inside TLS to the API."""
    authority = f"api.test:{w.upstream.port}"
    token = w.variables["https_proxy"].partition("task:")[2].partition("@")[0]
    async with await RawClient.connect(w.sidecar.address) as client:
        assert (await client.open_tunnel(authority, basic("task", token))).status == 200
        await client.start_tls("api.test", cafile=w.variables["SSL_CERT_FILE"])
        yield client


async def get(w: Deployed, client: RawClient, path: str) -> None:
    await client.send(f"GET {path} HTTP/1.1\r\nHost: api.test:{w.upstream.port}\r\n\r\n".encode())


async def knock(address: tuple[str, int]) -> None:
    """Connect again and again; whoever is let in at the last moment is shown out."""
    async with asyncio.timeout(20):
        while True:
            async with await RawClient.connect(address) as client:
                assert await client.at_end()


async def test_sigterm_lets_the_running_call_finish_and_turns_new_ones_away(w: Deployed):
    async with tunnel(w) as client:
        await get(w, client, "/slow")
        await w.upstream.until(lambda: len(w.upstream.requests) == 1)
        w.sidecar.signal(signal.SIGTERM)
        await w.sidecar.until_said("draining")
        with pytest.raises(ConnectionRefusedError):
            await knock(w.sidecar.address)
        w.upstream.release.set()
        answer = await client.read_response()
        assert (answer.status, answer.body) == (200, b"at last")
        assert await client.at_end()

    assert await w.sidecar.ended() == 0
    records = read_log(w.log)
    assert [record.result for record in records if record.kind == "outcome"] == ["complete"]
    assert records[-1].kind == "shutdown"
    whole = verified(w.log)
    assert (whole.size, whole.unsigned) == (len(records), 0)


async def test_sigterm_cuts_what_does_not_finish_before_the_deadline(tmp_path: Path):
    async with deployed(tmp_path, drain=0.2) as w, tunnel(w) as client:
        await get(w, client, "/slow")
        await w.upstream.until(lambda: len(w.upstream.requests) == 1)
        assert await w.sidecar.stop() == 0

        cut = [(each.result, each.code) for each in read_log(w.log) if each.kind == "outcome"]
        assert [code for _, code in cut] == ["draining"], cut
        assert verified(w.log).unsigned == 0
        w.upstream.release.set()


async def test_a_second_one_on_the_same_state_refuses_in_one_line(w: Deployed):
    done = await gatepass("serve", "--config", w.config, "--json", home=w.home, API_TOKEN=SECRET)

    assert (done.status, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("gatepass: another gatepass uses ")
    assert str(w.directory / "state") in line
    assert "--state" in line

    async with tunnel(w) as client:  # the first one has taken no harm
        await get(w, client, "/still-there")
        assert (await client.read_response()).status == 200
    assert await w.governed() == []


async def test_a_restart_keeps_the_task_and_the_log(tmp_path: Path):
    async with deployed(tmp_path) as w:
        async with tunnel(w) as client:
            await get(w, client, "/before")
            assert (await client.read_response()).status == 200
        assert await w.sidecar.stop() == 0
        before = read_log(w.log)
        await w.restart()
        async with tunnel(w) as client:
            await get(w, client, "/after")
            assert (await client.read_response()).status == 200
        assert await w.governed() == []

    after = read_log(w.log)
    assert [record.raw for record in after[: len(before)]] == [record.raw for record in before]
    assert not [record for record in after if record.kind == "outcome.unknown"]
    assert verified(w.log).size == len(after)


async def test_what_cannot_be_recorded_does_not_leave(tmp_path: Path):
    """A file size limit stands in for the full disk: root is stopped by it, too."""
    async with deployed(tmp_path) as w:
        async with tunnel(w) as client:
            await get(w, client, "/before")
            assert (await client.read_response()).status == 200
            await w.settled()
            whole = max(end for end, _ in written((w.log / PENDING).read_bytes()))
            resource.prlimit(w.sidecar.process.pid, resource.RLIMIT_FSIZE, (whole, resource.RLIM_INFINITY))
            for _ in range(2):
                await get(w, client, "/unrecorded")
                refused = await client.read_response()
                assert refused.status == 503
                told = json.loads(refused.body)
                assert (told["code"], told["record"]) == ("log_unavailable", "")

        assert [received.path for received in w.upstream.requests] == ["/before"]
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(w.sidecar.process.pid, resource.RLIMIT_FSIZE, unlimited)
        # What the kernel has dropped nobody knows: only a new start writes again, and it finds the log whole.
        await w.restart()
        async with tunnel(w) as client:
            await get(w, client, "/after")
            assert (await client.read_response()).status == 200
        assert await w.governed() == []
