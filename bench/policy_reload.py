"""What a reload costs those who call meanwhile, and what 1,000 policies cost at start and in memory.

A caller asks at a steady pace, through the whole relay. One policy file changes, and the calls go on until
the sidecar has kept the new rules and put them in force; then they go on for as long again, and nothing
changes. The stall is by how much the slowest call of the first time is slower than the slowest of the second.
Other things happen on a machine, so the median of some rounds counts.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import governed, policy_rules
from bench.calls import Route, Tally, drive, fresh, paced
from bench.machine import Failed, rss_mb
from bench.systems import Bed
from proxy.store.bundles import FOLDER

PACE_S = 0.002
AFTER_S = 0.5  # after the new rules are kept they are put in force, and the old ones are done with
PATIENCE_S = 120.0
KEPT = Path("state", "log", FOLDER)
CHANGED = Path("rules", "policies", "everywhere.cedar")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A directory with rules; token and placeholder of a task."""

    directory: Path
    token: str
    placeholder: str

    def route(self, listen: int, bed: Bed) -> Route:
        """The way to the API through the sidecar that listens there."""
        return governed.way(self.directory, listen, self.token, self.placeholder, bed.api_port)


def prepare(bed: Bed, name: str, files: Mapping[str, bytes], **operations: object) -> Prepared:
    """The rules of ``governed`` and these, and operations of its service."""
    directory = bed.directory / name
    governed.write_rules(directory, bed)
    described = directory / "rules" / "services" / "bench.yaml"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"operations": operations}))
    for path, data in files.items():
        (directory / "rules" / path).write_bytes(data)
    task = json.loads(governed.start_task(directory))
    [placeholder] = task["placeholders"].values()
    return Prepared(directory, task["token"], placeholder)


def measure(bed: Bed, rounds: int, settle: float) -> dict[str, float]:
    """``reload_*`` and ``rules_1k_*``."""
    few, many = prepare(bed, "few", {}), prepare(bed, "many", policy_rules.files())
    started = [(_start(few, bed, settle), _start(many, bed, settle)) for _ in range(rounds + 1)][1:]
    pairs = _reloads(many, bed, rounds)
    stalls = [(reloading.longest - calm.longest) * 1000 for reloading, calm in pairs]
    return {
        "reload_stall_ms": max(0.0, median(stalls)),
        "reload_slowest_ms": median(reloading.longest for reloading, _ in pairs) * 1000,
        "reload_s": median(reloading.seconds for reloading, _ in pairs) - AFTER_S,
        "rules_1k_start_s": median(many[0] - few[0] for few, many in started),
        "rules_1k_mb": median(many[1] - few[1] for few, many in started),
    }


def _start(prepared: Prepared, bed: Bed, settle: float) -> tuple[float, float]:
    """Seconds from spawn to the first accepted connection, and MB resident when idle after one call."""
    with governed.serving(prepared.directory, bed) as (started, listen):
        drive([fresh(prepared.route(listen, bed), Tally(warm=0, calls=1))])
        time.sleep(settle)  # idle is what is measured here
        return started.start_ms / 1000, rss_mb(started.process.pid)


def _reloads(prepared: Prepared, bed: Bed, rounds: int) -> "list[tuple[_Watch, _Watch]]":
    """Watches while rules are loaded, and while none are."""
    found = []
    with governed.serving(prepared.directory, bed) as (_, listen):
        route = prepared.route(listen, bed)
        drive([fresh(route, Tally(warm=0, calls=1))])
        for number in range(rounds):
            reloading = _Watch(prepared.directory, change=f"round {number}")
            drive([paced(route, PACE_S, reloading.more)])
            calm = _Watch(prepared.directory, seconds=reloading.seconds)
            drive([paced(route, PACE_S, calm.more)])
            found.append((reloading, calm))
    return found


class _Watch:
    """How long calls take from a change of the rules until a while after they are kept, or ``seconds``."""

    def __init__(self, directory: Path, *, change: str = "", seconds: float = 0) -> None:
        self.longest = 0.0
        self.seconds = seconds
        self._kept = directory / KEPT
        self._known = self._sets()
        self._began = time.perf_counter()
        if change:
            policy_rules.replace(directory / CHANGED, change)

    def _sets(self) -> int:
        return sum(1 for _ in self._kept.iterdir())

    def more(self, took: float) -> bool:
        """See ``paced``.

        :raises Failed: the new rules are not kept for too long.
        """
        self.longest = max(self.longest, took)
        passed = time.perf_counter() - self._began
        if not self.seconds and self._sets() > self._known:
            self.seconds = passed + AFTER_S
        if passed > PATIENCE_S:
            raise Failed("the rules are not loaded again")
        return not self.seconds or passed < self.seconds
