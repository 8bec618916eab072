"""How long the event loop waits for its turn while rules are loaded again, whatever else the machine does.

An event loop in this process ticks each millisecond. Between two ticks it is idle, or somebody else works:
the processor time of the process tells how long, and does not count what other processes take.
"""

import asyncio
import gc
import os
import tempfile
import time
from pathlib import Path

import uvloop

from bench import governed, policy_rules
from bench.machine import Failed
from bench.policy_reload import CHANGED, PATIENCE_S
from bench.systems import Bed
from proxy.wiring_reload import Reloader
from proxy.wiring_rules import AGENTS, Rulebook, Rules, Source, load, read

TICK_S = 0.001
SETTLE_S = 0.5


def measure(bed: Bed, rounds: int) -> dict[str, float]:
    """``reload_turn_ms``: the longest time between two turns; of the rounds the quietest counts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, bed.cores.proxy)
    try:
        with tempfile.TemporaryDirectory(dir=bed.directory) as directory:
            return {"reload_turn_ms": min(uvloop.run(_turns(Path(directory), rounds)))}
    finally:
        gc.unfreeze()
        os.sched_setaffinity(0, before)


async def _turns(directory: Path, rounds: int) -> list[float]:
    events: list[str] = []
    reloader = _reloader(directory, events)
    gc.collect()
    gc.freeze()  # as a sidecar does once it has its rules
    await reloader.start()
    try:
        return [await _round(directory, events, f"round {number}") for number in range(rounds)]
    finally:
        await reloader.close()


def _reloader(directory: Path, events: list[str]) -> Reloader:
    """A sidecar's, over 1,000 policies; says in ``events`` what it would record."""
    for name, data in {**policy_rules.files(), AGENTS: governed.AGENTS.encode()}.items():
        path = directory / "rules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (directory / "log").mkdir()
    source = Source(directory / "rules")
    files = read(source)
    assert not isinstance(files, list)
    rules = load(files.rules)
    if not isinstance(rules, Rules):
        raise Failed(f"the rules are wrong: {rules[:3]}")

    def note(kind: str, _body: object) -> None:
        events.append(kind)

    def alarm(words: str) -> None:
        raise Failed(words)

    return Reloader(Rulebook(rules), source, directory / "log", note, alarm, 0.2)


async def _round(directory: Path, events: list[str], change: str) -> float:
    """Milliseconds of processor time, at most, between two turns, from a change until old rules are gone."""
    loop = asyncio.get_running_loop()
    loaded, deadline = events.count("rules.load"), loop.time() + PATIENCE_S
    policy_rules.replace(directory / CHANGED, change)
    longest, last, end = 0, time.process_time_ns(), deadline
    while loop.time() < end:
        await asyncio.sleep(TICK_S)
        now = time.process_time_ns()
        longest, last = max(longest, now - last), now
        if end == deadline and events.count("rules.load") > loaded:
            end = loop.time() + SETTLE_S
    if end == deadline:
        raise Failed("the rules are not loaded again")
    return longest / 1_000_000 - TICK_S * 1000
