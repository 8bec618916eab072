"""The group ``identity``: what it costs to know the caller, how fast an order holds, what many tasks cost.

gatepass alone is measured: none of the others knows who is calling.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape

from bench import many_tasks, report, streams, targets, tokens
from bench.machine import Failed
from bench.relay import laid_out
from bench.systems import Bed
from bench.tokens import Pace

ROWS = {
    "cached_token_us": "head to principal, session token verified before, chain of 1, us of processor",
    "cached_token_3_us": "the same, chain of 3",
    "cached_oidc_us": "the same, token of an OIDC issuer (RS256), chain of 1",
    "first_session_us": "the same, session token (EdDSA) for the first time",
    "first_rs256_us": "the same, token of an OIDC issuer signed with RS256, for the first time",
    "first_es256_us": "the same, signed with ES256, for the first time",
    "decision_us": "a decision that was not taken before, chain of 1, us of processor",
    "decision_3_us": "the same, chain of 3: each link is asked for",
    "revoke_200_ms": "order in the task file to the last byte of 200 agents' streams, the slowest round, ms",
    "revoke_200_api_ms": "the same, order through the control API",
    "tasks_10k_start_s": "spawn to first accepted connection, 10,000 open tasks minus none, s",
    "tasks_10k_mb": "resident memory, idle, 10,000 open tasks minus none, MB",
}
NOTES = """\
gatepass on core {proxy}; clients, API and whoever gives the order on core {rest}. Token rows are of one
thread and of the median batch. Orders: {streams} agents act on delegations of one agent and stream through
intercepted TLS, the order is about that one; from just before the order to the last end that a client sees.
Tasks: {tasks} open ones, a placeholder each, and none, in turns; the median of {rounds} rounds.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, and how many."""

    pace: Pace
    streams: int
    tasks: int
    rounds: int
    settle_seconds: float


FULL = Plan(Pace(101, 1000, 20), 200, 10_000, 3, 1.0)
QUICK = Plan(Pace(5, 100, 5), 20, 500, 1, 0.2)


def run(console: Console, wanted: Sequence[str], *, quick: bool) -> bool:
    """Measure, print, and (unless quick) write. True if nothing failed and no target was missed."""
    if targets.US not in wanted:
        console.print("the group identity measures gatepass alone", highlight=False)
        return True
    plan = QUICK if quick else FULL
    numbers: dict[str, float] = {}
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, laid_out(Path(directory)) as bed:
        console.print(_notes(bed, plan), highlight=False)
        for says, measure in _parts(bed, plan):
            console.print(says, highlight=False)
            try:
                numbers |= measure()
            except Failed as failure:
                failures.append(f"{says}: {failure}")
    measured = {row: {targets.US: number} for row, number in numbers.items()}
    title = "identity" + (" (quick: smoke only)" if quick else "")
    report.table(console, title, ROWS, [targets.US], measured)
    for failure in failures:
        console.print("[red]failed[/red]", escape(failure), highlight=False)
    reached = report.verdicts(console, targets.IDENTITY, measured)
    if quick:
        return not failures
    report.write("identity", measured)
    return reached and not failures


Part = tuple[str, Callable[[], dict[str, float]]]


def _parts(bed: Bed, plan: Plan) -> Iterable[Part]:
    yield "tokens and decisions", partial(tokens.measure, bed, plan.pace)
    yield "orders through the task file", partial(_revoke, bed, plan, "revoke_200_ms", control=False)
    yield "orders through the control API", partial(_revoke, bed, plan, "revoke_200_api_ms", control=True)
    yield "many tasks", partial(_many_tasks, bed, plan)


def _revoke(bed: Bed, plan: Plan, row: str, *, control: bool) -> dict[str, float]:
    """The bound is for every order, so the slowest counts."""
    return {row: max(streams.revoke(bed, plan.streams, control=control) for _ in range(plan.rounds))}


def _many_tasks(bed: Bed, plan: Plan) -> dict[str, float]:
    states = {number: many_tasks.prepare(bed, number) for number in (0, plan.tasks)}
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for round_number in range(plan.rounds + 1):
        for number, state in states.items():
            seconds_and_mb = many_tasks.start(state, bed, plan.settle_seconds)
            if round_number:  # the first start of a state also makes its log
                found[number].append(seconds_and_mb)
    seconds, megabytes = (
        median(one[which] for one in found[plan.tasks]) - median(one[which] for one in found[0])
        for which in (0, 1)
    )
    return {"tasks_10k_start_s": seconds, "tasks_10k_mb": megabytes}


def _notes(bed: Bed, plan: Plan) -> str:
    return NOTES.format(
        proxy=",".join(map(str, sorted(bed.cores.proxy))),
        rest=",".join(map(str, sorted(bed.cores.rest))),
        streams=plan.streams,
        tasks=f"{plan.tasks:,}",
        rounds=plan.rounds,
    )
