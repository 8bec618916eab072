"""What wiring adds of its own: the log tells of tasks, starts and ends."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from proxy.audit.verify import Verified, verify
from proxy.settings import Settings
from proxy.store.keyring import Keyring
from proxy.store.log import TiledLog
from proxy.store.tiles import Tiles
from proxy.wiring import log_origin
from tests.support.world import World, world


async def told(w: World, kind: str, task: str) -> dict[str, object]:
    """The event of this kind about a task, once it is in the log."""
    async with asyncio.timeout(10):
        while not (found := [record for record in w.records if (record.kind, record.task) == (kind, task)]):
            await asyncio.sleep(0.01)
    return found[0].raw["body"]


async def test_the_log_tells_of_tasks_that_another_process_starts_and_ends(tmp_path: Path):
    async with world(tmp_path) as w:
        started = w.another_task(purpose="tidy up", scopes=("tidy",))
        opened = await told(w, "task.open", started.task.id)
        assert (opened["task"], opened["purpose"], opened["scopes"]) == (started.task.id, "tidy up", ["tidy"])
        assert opened["manifest_sha256"] == started.task.manifest_sha256
        w.store.end(started.task.id, "done", int(time.time()))
        ended = await told(w, "task.end", started.task.id)
        assert (ended["task"], ended["state"]) == (started.task.id, "ended")


async def test_a_run_begins_with_boot_and_the_rules_and_ends_with_shutdown(tmp_path: Path):
    async with world(tmp_path) as w:
        pass
    kinds = [record.kind for record in w.records]
    assert (kinds[:2], kinds[-1]) == (["boot", "rules.load"], "shutdown")


async def test_a_start_without_its_address_leaves_a_log_that_is_whole(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            async with world(tmp_path, listen=[{"address": f"127.0.0.1:{port}"}]):
                raise AssertionError("it has started")
    directory = tmp_path / "state" / "log"
    log = TiledLog.open(
        directory, origin=log_origin(Settings()), signer_seed=Keyring.open(tmp_path / "state").log_seed
    )
    assert not log.recovered.unclean
    whole = verify(Tiles(directory), log.vkey)
    log.close()
    assert isinstance(whole, Verified), whole
    assert whole.unsigned == 0
