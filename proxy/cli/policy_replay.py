"""``gatepass policy replay``: recorded decisions again, under their own rules or under others."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.ending import NEGATIVE, tell
from proxy.cli.logs import ConfigFile, LogDir, State, chosen
from proxy.cli.painted import BAD, GOOD, WARNING, print_painted
from proxy.cli.policy_log import Bundles, Calls, OfAgent, OfTask, Since, Wanted
from proxy.cli.policy_rules import Json, Loaded, load_rules
from proxy.cli.rows import print_json
from proxy.policy.again import Class, again
from proxy.policy.recorded import RecordedCall
from proxy.policy.replay import Difference, Replayed, Row, under

_COLOUR = {
    Difference.NEWLY_ALLOWED: BAD,
    Difference.NEWLY_DENIED: WARNING,
    Difference.NEWLY_HELD: WARNING,
    Class.MATCH: GOOD,
    Class.MISMATCH: BAD,
    Class.UNREPLAYABLE: WARNING,
}
_CHANGES = ("change", "agent", "action", "recorded", "then", "calls", "example", "url", "why")
_CLASSES = ("class", "calls", "rules", "example", "why")


def replay(
    *,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="The new rules; without them each decision's own.")
    ] = None,
    log: LogDir = None,
    state: State = None,
    config: ConfigFile = None,
    task: OfTask = None,
    agent: OfAgent = None,
    since: Since = None,
    json: Json = False,
) -> None:
    """Take every recorded decision again: what would change under NEW rules, or whether the log is true.

    With --rules: exit status 1 if anything would be newly allowed. What the new rules read and the record
    does not hold is unreplayable, never guessed. Without: every decision is evaluated again by the rule set
    that is kept beside the log under the digest it names; exit status 1 unless all of them MATCH.

    Example: gatepass policy replay --rules rules-proposed --since 7d

    Example: gatepass policy replay --log /var/lib/gatepass/log --json
    """
    logs = chosen(log, state, config)
    calls = Calls(logs, Wanted(task, agent, since))
    if rules is None:
        _own(calls, Bundles(logs), json=json)
    else:
        _under(calls, Bundles(logs), load_rules(rules), json=json)


def replayed(calls: Calls, bundles: Bundles, loaded: Loaded) -> Replayed:
    """All these calls under other rules."""
    found = Replayed()
    for call in calls:
        found.add(under(call, bundles.past(call), loaded.ruleset, loaded.registry))
    found.unjudged = calls.unjudged
    found.counts[Difference.UNREPLAYABLE] += calls.unread
    return found


def _under(calls: Calls, bundles: Bundles, loaded: Loaded, *, json: bool) -> None:
    found = replayed(calls, bundles, loaded)
    if json:
        for row in found.table():
            print_json(_row_json(row))
        print_json({"kind": "summary", "rules": loaded.ruleset.sha256, **found.summary()})
    else:
        rows = [_row(row) for row in found.table()]
        print_painted(_CHANGES, rows, lambda row: _COLOUR.get(Difference(row[0]), ""))
        tell(summary_line(found))
    if found.counts[Difference.NEWLY_ALLOWED]:
        raise typer.Exit(NEGATIVE)


def summary_line(found: Replayed) -> str:
    """What a replay came to, in one line."""
    total = sum(found.counts.values())
    parts = [f"{count:,} {kind}" for kind, count in found.counts.items() if count]
    asked = f"; {found.unjudged:,} calls were refused before rules were asked" if found.unjudged else ""
    return f"{total:,} decisions replayed: {', '.join(parts) or 'there are none'}{asked}"


def _row(row: Row) -> Sequence[str]:
    head = (row.difference, row.agent, ", ".join(row.actions), row.was, row.now)
    return (*head, f"{row.count:,}", row.example, row.url, row.why)


def _row_json(row: Row) -> dict[str, object]:
    return {
        "kind": "change",
        "change": row.difference.value,
        "agent": row.agent,
        "actions": list(row.actions),
        "recorded": row.was,
        "then": row.now,
        "calls": row.count,
        "record": row.example,
        "url": row.url,
        "why": row.why,
    }


def _own(calls: Calls, bundles: Bundles, *, json: bool) -> None:
    groups: Counter[tuple[Class, str, str]] = Counter()
    examples: dict[tuple[Class, str, str], RecordedCall] = {}
    for call in calls:
        judged = again(call, bundles.opened(call))
        key = judged.kind, call.ruleset_sha256, judged.why
        groups[key] += 1
        examples.setdefault(key, call)
    rows = [
        (kind.value, f"{count:,}", rules[:12], examples[kind, rules, why].id, why)
        for (kind, rules, why), count in sorted(
            groups.items(), key=lambda item: (item[0][0] == Class.MATCH, item[0])
        )
    ]
    totals = {kind.value: sum(n for key, n in groups.items() if key[0] is kind) for kind in Class}
    totals[Class.UNREPLAYABLE.value] += calls.unread
    if json:
        for kind, count, rules, example, why in rows:
            print_json(
                {
                    "kind": "class",
                    "class": kind,
                    "calls": int(count.replace(",", "")),
                    "rules": rules,
                    "record": example,
                    "why": why,
                }
            )
        print_json({"kind": "summary", **totals, "not asked": calls.unjudged})
    else:
        print_painted(_CLASSES, rows, lambda row: _COLOUR[Class(row[0])])
        tell(
            f"{sum(totals.values()):,} decisions: " + ", ".join(f"{n:,} {kind}" for kind, n in totals.items())
        )
    if totals[Class.MISMATCH.value] or totals[Class.UNREPLAYABLE.value]:
        raise typer.Exit(NEGATIVE)
