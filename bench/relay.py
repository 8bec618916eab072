"""The group ``relay``: one call at a time and many, through each system in turn, in one run."""

import contextlib
import os
import secrets
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape

from bench import mint, report, targets
from bench.governed import GATEPASS
from bench.machine import Cores, Failed, free_port, running
from bench.rows import FULL, QUICK, ROWS, START, START_SAYS, Plan
from bench.systems import DIRECT, MITMDUMP, SQUID_SYSTEM, Bed, Standing, System

SYSTEMS = {system.name: system for system in (DIRECT, MITMDUMP, SQUID_SYSTEM, GATEPASS)}
ROUND_TRIP_MS = 50
CLIENT_BOUND = 0.9  # the share of a core beyond which the client, not the proxy, may be what is measured
NOTES = """\
One system at a time on core {proxy}; client, API and link on core {rest}, also without a proxy.
All take their turns in each of {rounds} rounds; of a number measured in each, the median counts.
Client: own loader, one thread, edge-triggered epoll and OpenSSL. It counts the calls that end inside
a window of {seconds:g} s ({half:g} s for one connection) after {warm:g} s of warm-up; over the 50 ms link,
{calls} calls after {warm_calls} warm-up calls. It checks certificate, status and length of every call
and never resumes TLS. The API answers 200 only to the real key.
gatepass swaps a placeholder for that key and checks a token at CONNECT; the others are sent the key.
mitmdump is asked for localhost, as it has no static names, and streams bodies over 1 MB; squid has its
cache off.
"""


def run(console: Console, wanted: Sequence[str], *, quick: bool) -> bool:
    """Measure, print, and (unless quick) write. True if nothing failed and no target was missed."""
    plan = QUICK if quick else FULL
    samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    failures: list[str] = []
    names = [name for name in SYSTEMS if name in wanted]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, laid_out(Path(directory)) as bed:
        console.print(_notes(bed.cores, plan), highlight=False)
        for name in names:
            if reason := SYSTEMS[name].missing():
                console.print(f"[yellow]{name} is left out[/yellow]: {reason}", highlight=False)
        present = [name for name in names if not SYSTEMS[name].missing()]
        for number, name in product(range(plan.rounds), present):
            console.print(f"round {number + 1} of {plan.rounds}: {name}", highlight=False)
            for row, outcome in _measure(SYSTEMS[name], bed, plan, console):
                if isinstance(outcome, Failed):
                    failures.append(f"{name} {row}: {outcome}")
                elif outcome is not None:
                    samples[row][name].append(outcome)
    numbers = {
        row: {name: median(found) for name, found in systems.items()} for row, systems in samples.items()
    }
    rows = {row.name: row.says for row in ROWS} | {START: START_SAYS}
    report.table(console, "relay" + (" (quick: smoke only)" if quick else ""), rows, names, numbers)
    for failure in failures:
        console.print("[red]failed[/red]", escape(failure), highlight=False)
    reached = report.verdicts(console, targets.RELAY, numbers)
    if quick:
        return not failures
    report.write("relay", numbers)
    return reached and not failures


Outcome = tuple[str, float | Failed | None]


def _measure(system: System, bed: Bed, plan: Plan, console: Console) -> Iterator[Outcome]:
    starts = []
    try:
        for _ in range(plan.starts - 1):
            with system.start(bed) as standing:
                starts.append(standing.start_ms)
        with system.start(bed) as standing:
            starts.append(standing.start_ms)
            yield START, median(start for start in starts if start is not None) if any(starts) else None
            yield from _rows(system.name, standing, bed, plan, console)
    except Failed as failure:
        yield START, failure


def _rows(name: str, standing: Standing, bed: Bed, plan: Plan, console: Console) -> Iterator[Outcome]:
    for row in ROWS:
        with console.status(f"{name}: {row.says}"):
            began, worked = time.perf_counter(), time.process_time()
            try:
                outcome = row.measure(standing, bed, plan)
            except Failed as failure:
                yield row.name, failure
                continue
            busy = (time.process_time() - worked) / (time.perf_counter() - began)
        yield row.name, outcome
        if busy > CLIENT_BOUND and standing.pid is not None:
            console.print(
                f"[yellow]{name} {row.name}: the client was busy {busy:.0%} of the time, a bound[/yellow]"
            )


@contextlib.contextmanager
def laid_out(directory: Path) -> Iterator[Bed]:
    """The API, the link in front of it, and this process away from the proxy's core."""
    cores = Cores.of_this_machine()
    ca = mint.authority(directory, "api-ca")
    leaf = mint.leaf(directory, ca, mint.HOST, "localhost")
    api_port, link_port = free_port(), free_port()
    key = secrets.token_urlsafe(24)
    api: list[str | Path] = [sys.executable, "-m", "bench.api", str(api_port), leaf.certificate, leaf.key]
    link = [sys.executable, "-m", "bench.link", str(link_port), str(api_port), str(ROUND_TRIP_MS)]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.rest)
    try:
        with (
            running(api, api_port, cores.rest, directory / "api.log", {"BENCH_API_KEY": key}),
            running(link, link_port, cores.rest, directory / "link.log"),
        ):
            yield Bed(directory, cores, api_port, link_port, ca.certificate, key)
    finally:
        os.sched_setaffinity(0, before)


def _notes(cores: Cores, plan: Plan) -> str:
    return NOTES.format(
        proxy=",".join(map(str, sorted(cores.proxy))),
        rest=",".join(map(str, sorted(cores.rest))),
        seconds=plan.seconds,
        half=plan.seconds / 2,
        warm=plan.warm_seconds,
        rounds=plan.rounds,
        calls=plan.link_calls,
        warm_calls=plan.warm_link_calls,
    )
