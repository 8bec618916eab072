"""The group ``policy``: what decisions by 1,000 policies over 100 services cost, and loading them.

gatepass alone is measured: none of the others decides by rules.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from bench import policy_bodies, policy_decisions, policy_reload, policy_turns, report, targets
from bench.machine import Failed
from bench.policy_decisions import Pace
from bench.relay import laid_out
from bench.systems import Bed

ROWS = {
    "decide_p50_us": "a decision that was not taken before, the median, us of processor",
    "decide_p99_us": "the same, the 99th of a hundred",
    "decide_cached_us": "a decision on what was decided before",
    "decide_3_us": "the engine's question about a call to read, chain of 3: each link is asked for",
    "decide_budgets_us": "the same, chain of 1, service with two budgets",
    "classify_rest_us": "what a call does, JSON of 4 KiB of which rules read a field",
    "classify_graphql_us": "the same, GraphQL with fragments",
    "classify_llm_us": "the same, a conversation with a model",
    "classify_mcp_us": "the same, an MCP tool with nested arguments",
    "mcp_us": "an MCP tool with 4 KiB, classified and decided, not decided before",
    "post_streamed_ms": "p50 of a call with 4 KiB on one connection, no rule reads them, ms",
    "post_read_ms": "the same, a rule reads them, ms",
    "reload_stall_ms": "slowest call while 1,000 policies are loaded again, more than without, ms",
    "reload_slowest_ms": "the slowest call meanwhile, ms",
    "reload_turn_ms": "the longest the event loop waits for its turn meanwhile, ms of processor",
    "reload_s": "from the change on disk to the new rules in force, s",
    "rules_1k_start_s": "spawn to first accepted connection, 1,000 policies minus one, s",
    "rules_1k_mb": "resident memory, idle, 1,000 policies minus one, MB",
}
NOTES = """\
gatepass on core {proxy}; client and API on core {rest}. Rows in us are of one thread, in this process; of
{batches} rounds the quietest counts. Decisions: {decisions} a round, each of another call, twenty at each
service in turn; of ten six read, two write, one is held and one is forbidden. Reload: a call each
{pace:g} ms, on one connection; of {rounds} rounds the median counts.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How often, and how long."""

    pace: Pace
    seconds: float
    rounds: int
    settle_seconds: float


FULL = Plan(Pace(4_000, 400, 12), 2.0, 5, 1.0)
QUICK = Plan(Pace(500, 20, 3), 0.3, 1, 0.2)


def run(console: Console, wanted: Sequence[str], *, quick: bool) -> bool:
    """Measure, print, and (unless quick) write. True if nothing failed and no target was missed."""
    if targets.US not in wanted:
        console.print("the group policy measures gatepass alone", highlight=False)
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
            except Failed as failed:
                failures.append(f"{says}: {failed}")
    measured = {row: {targets.US: number} for row, number in numbers.items()}
    title = "policy" + (" (quick: smoke only)" if quick else "")
    report.table(console, title, ROWS, [targets.US], measured)
    for failure in failures:
        console.print("[red]failed[/red]", escape(failure), highlight=False)
    reached = report.verdicts(console, targets.POLICY, measured)
    if quick:
        return not failures
    report.write("policy", measured)
    return reached and not failures


Part = tuple[str, Callable[[], dict[str, float]]]


def _parts(bed: Bed, plan: Plan) -> Iterable[Part]:
    yield "decisions and classifications", partial(policy_decisions.measure, bed, plan.pace)
    yield "bodies through the relay", partial(policy_bodies.measure, bed, plan.seconds, plan.rounds)
    yield "start and reload", partial(policy_reload.measure, bed, plan.rounds, plan.settle_seconds)
    yield "turns of the event loop", partial(policy_turns.measure, bed, plan.rounds)


def _notes(bed: Bed, plan: Plan) -> str:
    return NOTES.format(
        proxy=",".join(map(str, sorted(bed.cores.proxy))),
        rest=",".join(map(str, sorted(bed.cores.rest))),
        batches=plan.pace.rounds,
        decisions=f"{plan.pace.decisions:,}",
        pace=policy_reload.PACE_S * 1000,
        rounds=plan.rounds,
    )
