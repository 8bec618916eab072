"""Changes of tasks that no sidecar saw, by the command line, and ``kill -9``: told at least once."""

import signal
from collections import Counter
from pathlib import Path

from proxy.store.tasks import TaskStore
from tests.support.upstream import Upstream
from tests.system.deployed import configure, launch, read_log, start_task, verified
from tests.system.process import gatepass, until


def told(log: Path) -> Counter[tuple[str, str]]:
    """How often each change of a task is in the log."""
    return Counter((one.kind, one.task) for one in read_log(log) if one.kind in {"task.open", "task.end"})


async def test_a_kill_loses_no_change_and_an_orderly_stop_repeats_none(tmp_path: Path):
    home, log = tmp_path / "home", tmp_path / "state" / "log"
    async with Upstream("api.test", "closed.test") as upstream:
        config = configure(tmp_path, upstream)
        sidecar = await launch(config, tmp_path)
        first, _ = await start_task(config, sidecar, home)
        await until(lambda: told(log)["task.open", first] == 1)
        sidecar.signal(signal.SIGKILL)  # the mark may be there, or not yet
        await sidecar.ended()

        with TaskStore.open(tmp_path / "state" / "tasks.sqlite3") as store:
            sidecar_is_gone = "127.0.0.1:1"
            started = await gatepass(
                *("task", "start", "--config", config, "--agent", "tester", "--json"),
                *("--proxy", sidecar_is_gone),
                home=home,
            )
            second = str(started.json()["task"])
            ended = await gatepass("task", "end", first, "--config", config, home=home)
            assert ended.status == 0, ended
            seq = store.changes(0, 0).seq

            sidecar = await launch(config, tmp_path)
            assert told(log)["task.open", first] in {1, 2}
            assert told(log)["task.open", second] == told(log)["task.end", first] == 1
            await until(lambda: store.recorded("log") == seq)
            before = told(log)
            sidecar.signal(signal.SIGKILL)
            await sidecar.ended()

        sidecar = await launch(config, tmp_path)
        assert await sidecar.stop() == 0
        assert told(log) == before  # what the mark had passed is not repeated after a kill, either
        verified(log)
