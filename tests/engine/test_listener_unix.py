"""A listener at a Unix socket: who calls is the kernel's word, and a path is only ever taken fairly."""

import asyncio
import contextlib
import os
import stat
import sys
from pathlib import Path

import pytest

from proxy.engine.listener import Listener, UnixListener
from proxy.identity.arrival import Fixed
from proxy.store.unix_socket import bind, remove
from tests.engine.lines import ends, until
from tests.engine.ports import engine
from tests.engine.svids import BOTH_LOOPS
from tests.support.demo_rules import agent
from tests.support.rawclient import WAIT_S, RawClient, basic
from tests.support.world import World, world

pytestmark = pytest.mark.asyncio(loop_factories=BOTH_LOOPS)
EXECUTABLE = os.path.realpath(sys.executable)


async def client(path: Path) -> RawClient:
    async with asyncio.timeout(WAIT_S):
        return RawClient(*await asyncio.open_unix_connection(path))


@contextlib.asynccontextmanager
async def at_socket(directory: Path, way: dict[str, object], mode: str = "0600"):
    path = directory / "x.sock"
    async with world(
        directory,
        agents=[{**agent(), "authenticate": [{"method": "session"}, {"method": "unix", **way}]}],
        listen=[{"unix": str(path), "mode": mode}],
    ) as w:
        yield w, path


async def call(w: World, path: Path) -> int:
    async with await client(path) as one:
        tunnel = await one.open_tunnel(w.authority, basic(w.started.task.id, ""))
        if tunnel.status != 200:
            return tunnel.status
        await one.start_tls(w.upstream.hosts[0], cafile=w.keyring.ca_path)
        await one.send(f"GET /hello HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
        return (await one.read_response()).status


async def test_a_call_is_attributed_to_the_process_that_makes_it(tmp_path):
    way = {"uid": os.getuid(), "executable": EXECUTABLE}
    async with at_socket(tmp_path, way) as (w, path):
        assert await call(w, path) == 200
        (decision,) = w.decisions
        (evidence,) = decision.raw["who"]["auth"]
        assert evidence["method"] == "unix"
        assert evidence["token_id"] == f"uid={os.getuid()} pid={os.getpid()} exe={EXECUTABLE}"
        assert decision.raw["who"]["peer"] == f"unix uid={os.getuid()} pid={os.getpid()}"
        assert w.sidecar.server.places == [f"unix:{path}"]
        assert w.sidecar.addresses == []
        assert w.sidecar.server.own() == frozenset()


@pytest.mark.parametrize("way", [{"uid": 54321}, {"uid": os.getuid(), "executable": "/usr/bin/other"}])
async def test_another_process_is_nobody(tmp_path, way):
    async with at_socket(tmp_path, way) as (w, path):
        assert await call(w, path) == 407
        assert [record.effect for record in w.decisions] == ["deny"]


@pytest.mark.parametrize("mode", ["0600", "0660", "666"])
async def test_the_socket_has_the_mode_that_is_configured_and_goes_with_the_sidecar(tmp_path, mode):
    async with at_socket(tmp_path, {"uid": os.getuid()}, mode) as (_, path):
        assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    assert not path.exists()


async def test_a_call_ends_before_the_drain_does(tmp_path):
    async with at_socket(tmp_path, {"uid": os.getuid()}) as (w, path), await client(path) as one:
        assert (await one.open_tunnel(w.authority, basic(w.started.task.id, ""))).status == 200
        await one.start_tls(w.upstream.hosts[0], cafile=w.keyring.ca_path)
        await one.send(f"GET /slow HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
        await w.upstream.until(lambda: bool(w.upstream.requests))
        draining = asyncio.ensure_future(w.sidecar.drain(20))
        await until(lambda: not path.exists() or not w.sidecar.server._servers[0].is_serving())
        w.upstream.release.set()
        assert (await one.read_response()).body == b"at last"
        await draining
        await w.settled()
        assert ends(w) == [("complete", "", 200)]


async def test_a_fixed_identity_at_a_socket_beside_one_at_an_address(tmp_path):
    bound = bind(tmp_path / "x.sock", 0o600)
    async with engine() as e:
        await e.server.listen([UnixListener(bound.socket, Fixed("one", "one"))])
        assert len(e.server.addresses) == 2
        assert e.server.places[2:] == [f"unix:{bound.path}"]
        async with await client(bound.path) as one:
            await one.send(e.head("/hello"))
            assert (await one.read_response()).status == 200
        assert e.records[0].raw["who"]["peer"] == f"unix uid={os.getuid()} pid={os.getpid()}"
        assert (await e.call("/hello")).status == 200
    remove(bound)
    assert not bound.path.exists()


async def test_nobody_is_accepted_before_everything_is_bound(tmp_path):
    bound = bind(tmp_path / "x.sock", 0o600)
    async with engine() as e:
        taken, before = e.server.addresses[0], len(e.server._servers)
        with pytest.raises(OSError, match=r"(?i)address already in use"):
            await e.server.listen(
                [UnixListener(bound.socket, Fixed("one", "one")), Listener(*taken, Fixed("one", "one"))]
            )
        assert len(e.server._servers) == before + 1
        await until(lambda: bound.socket.fileno() == -1)
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            await client(bound.path)
        assert e.records == []
    remove(bound)


async def test_abort_does_no_harm_at_a_socket(tmp_path):
    """A reset cannot be sent there; the peer sees an end."""
    bound = bind(tmp_path / "x.sock", 0o600)
    async with engine(connections=1) as e:
        await e.server.listen([UnixListener(bound.socket, Fixed("one", "one"))])
        async with await client(bound.path), await client(bound.path) as second:
            assert await second.at_end()
        assert "unix turned away" in e.alarms[0]
    remove(bound)
