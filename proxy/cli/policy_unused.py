"""``gatepass policy unused``: what the rules grant and nobody has used."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from proxy.cli.ending import tell
from proxy.cli.logs import ConfigFile, LogDir, State, chosen
from proxy.cli.painted import WARNING, print_painted
from proxy.cli.policy_log import Calls, Since, Wanted
from proxy.cli.policy_rules import Json, RulesDir, load_rules
from proxy.cli.rows import print_json
from proxy.policy.usage import Usage

_COLUMNS = ("kind", "name", "calls", "last used")
_NEVER = "never"


def unused(
    *,
    rules: RulesDir = None,
    log: LogDir = None,
    state: State = None,
    config: ConfigFile = None,
    since: Since = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also each operation that nobody used, not their number alone.")
    ] = False,
    json: Json = False,
) -> None:
    """List services, operations, permits, scopes and agents of the rules, those never used first.

    Used is what an allowed call took. Whether the rest can go is for people to say: some things are rare.
    JSON lines have every operation.

    Example: gatepass policy unused --since 30d
    """
    loaded = load_rules(rules, config)
    ruleset = loaded.ruleset
    usage = Usage(ruleset.catalogue, ruleset.policies, loaded.registry)
    for call in Calls(chosen(log, state, config), Wanted(None, None, since)):
        usage.add(call)
    found = usage.table()
    if json:
        for thing, use in found.items():
            last = _moment(use.last) if use.calls else None
            print_json({"kind": thing.kind, "name": thing.name, "calls": use.calls, "last_used": last})
        return
    rows = [
        (thing.kind, thing.name, f"{use.calls:,}", _moment(use.last) if use.calls else _NEVER)
        for thing, use in found.items()
        if every or use.calls or thing.kind != "operation"
    ]
    print_painted(_COLUMNS, rows, lambda row: WARNING if row[3] == _NEVER else "")
    idle = [thing for thing, use in found.items() if not use.calls]
    hidden = 0 if every else sum(thing.kind == "operation" for thing in idle)
    tell(f"{len(idle)} of {len(found)} were never used" + (f"; {_hidden(hidden)}" if hidden else ""))


def _hidden(count: int) -> str:
    return f"{count} of them {'is an operation' if count == 1 else 'are operations'}, which --all lists"


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
