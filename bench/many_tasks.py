"""What many open tasks cost a sidecar when it starts, and in memory: it starts with them and without.

Each task has a placeholder, as ``gatepass task start`` makes it. In either state there is one task more,
the last to be started: a call under it shows that all are known once the sidecar accepts connections.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import governed
from bench.calls import Tally, drive, fresh
from bench.machine import Failed, rss_mb
from bench.systems import Bed
from proxy.control.operations import TaskAsked
from proxy.store.keyring import Keyring
from proxy.store.tasks import TaskStore
from proxy.wiring import TASKS, Rules, load
from proxy.wiring_tasks import Office, Started, start_task

IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A directory with rules and a state; token and placeholder of the task that was started last."""

    directory: Path
    token: str
    placeholder: str


def prepare(bed: Bed, tasks: int) -> Prepared:
    """A state with so many open tasks."""
    directory = Path(tempfile.mkdtemp(prefix=f"tasks-{tasks}-", dir=bed.directory))
    governed.write_rules(directory, bed)
    keyring = Keyring.open(directory / "state")
    rules = read_rules(directory)
    # Where a sync costs nothing: ten thousand of them are not what is measured.
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else bed.directory) as elsewhere:
        path = Path(elsewhere) / TASKS
        with TaskStore.open(path) as store:
            start = starter(store, keyring, rules)
            for number in range(tasks + 1):
                asked = TaskAsked("bench", f"fix issue {number}", 3600, ("read",), ticket=f"ISSUE-{number}")
                last = start(asked)
        shutil.copy(path, directory / "state" / TASKS)  # with its mode; the last to close leaves no WAL
    return Prepared(directory, last.token, last.placeholders["bench"])


def start(prepared: Prepared, bed: Bed, settle: float) -> tuple[float, float]:
    """Seconds from spawn to the first accepted connection, and MB resident when idle after one call."""
    with governed.serving(prepared.directory, bed) as (started, listen):
        route = governed.way(prepared.directory, listen, prepared.token, prepared.placeholder, bed.api_port)
        drive([fresh(route, Tally(warm=0, calls=1))])
        time.sleep(settle)  # idle is what is measured here
        return started.start_ms / 1000, rss_mb(started.process.pid)


def read_rules(directory: Path) -> Rules:
    """The rules in ``directory``, as the sidecar takes them."""
    root = directory / "rules"
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    rules = load({path.relative_to(root).as_posix(): path.read_bytes() for path in files})
    if not isinstance(rules, Rules):
        raise Failed(f"the rules are wrong: {rules}")
    return rules


def starter(store: TaskStore, keyring: Keyring, rules: Rules) -> Callable[[TaskAsked], Started]:
    """What starts a task in this store."""
    office = Office(keyring, rules.registry, tuple(rules.ruleset.catalogue.services), os.urandom)

    def start(asked: TaskAsked) -> Started:
        started = start_task(store, office, asked, int(time.time()))
        if not isinstance(started, Started):
            raise Failed(f"the task was not started: {started}")
        return started

    return start
