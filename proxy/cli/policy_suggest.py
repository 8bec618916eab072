"""``gatepass policy suggest``: the least rules for what the log shows, as a change to review."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.config import load_config
from proxy.cli.ending import NEGATIVE, stop, stop_for, tell
from proxy.cli.logs import ConfigFile, LogDir, State, chosen
from proxy.cli.painted import BAD, DIM, GOOD, paint_line
from proxy.cli.policy_log import Bundles, Calls, OfAgent, OfTask, Since, Wanted
from proxy.cli.policy_replay import summary_line
from proxy.cli.policy_rules import Json, Loaded, directory_of, load_files, read
from proxy.cli.rows import harmless, print_json
from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cases import run
from proxy.policy.recorded import RecordedCall
from proxy.policy.replay import Difference, Replayed, under
from proxy.policy.suggest import Suggestion
from proxy.policy.suggest import suggest as make
from proxy.policy.suggest_cases import FILE as CASES
from proxy.policy.suggest_cases import cases_for


def suggest(
    *,
    task: OfTask = None,
    agent: OfAgent = None,
    since: Since = None,
    log: LogDir = None,
    state: State = None,
    config: ConfigFile = None,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", help="The present rules.", show_default="as configured"),
    ] = None,
    replace: Annotated[
        bool | None,
        typer.Option(
            "--replace/--add",
            help="Take the present permits out, or leave them.",
            show_default="replace them, if all calls are looked at",
        ),
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write the whole rules directory there, a new one.")
    ] = None,
    json: Json = False,
) -> None:
    """Suggest the least rules under which all that was allowed is allowed again, as a diff to review.

    Services and operations that no file names, and for every agent a permit for the operations it used, under
    the scopes and in the environment that its tasks had. Calls are counted beside each. Forbids stay. What is
    suggested has been loaded, and the log replayed under it: exit status 1 if an allowed call would not be.

    Example: gatepass policy suggest --since 7d --write rules-proposed

    Example: gatepass policy suggest --task t-dplg6d76py4ulazz76gjulfwuy
    """
    present = _present(rules, config)
    logs = chosen(log, state, config)
    wanted = Wanted(task, agent, since)
    bundles = Bundles(logs)
    source = Calls(logs, wanted)
    calls = [call for call in list(source) if call.id not in source.stopped]
    take_out = not wanted.some if replace is None else replace
    found = make(calls, bundles.past, present, replace=take_out)
    if not found.permits:
        stop("the log has no allowed calls to learn from", NEGATIVE)
    loaded = load_files(Path("suggested"), found.files)
    checked = _check(calls, bundles, loaded)
    cases = cases_for(found.permits, found.seen, loaded.ruleset, loaded.registry)
    files = {**found.files, **({} if cases is None else {CASES: cases})}
    if write is not None:
        _write(write, files)
    if json:
        _print_json(found, files, present, checked)
    else:
        _print_diff(present, files)
        _tell_cases(present, loaded)
        _tell(found, checked, write, take_out=take_out)
    if _changed(checked):
        raise typer.Exit(NEGATIVE)


def _present(rules: Path | None, config: Path | None) -> Mapping[str, bytes]:
    """The present rules and their cases, if there are any: a log may have been recorded without."""
    if rules is None:
        configured = load_config(config)
        if isinstance(configured, list):
            stop_for(configured)
        if configured.rules is None:
            return {}
        rules = configured.rules
    directory = directory_of(rules)
    files = read(directory)
    if files:
        load_files(directory, files)
    return {**files, **_cases(directory)}


def _cases(directory: Path) -> Mapping[str, bytes]:
    """The cases of the rules: they go where the rules go, though they are none."""
    found = sorted((directory / "cases").glob("*.yaml"))
    return {f"cases/{path.name}": path.read_bytes() for path in found if path.is_file()}


def _check(calls: Sequence[RecordedCall], bundles: Bundles, loaded: Loaded) -> Replayed:
    """The allowed calls under what is suggested."""
    found = Replayed()
    for call in calls:
        if call.effect == "allow":
            found.add(under(call, bundles.past(call), loaded.ruleset, loaded.registry))
    return found


def _changed(checked: Replayed) -> int:
    """How many allowed calls would not be allowed, or cannot be said to be."""
    kinds = (Difference.NEWLY_DENIED, Difference.NEWLY_HELD, Difference.UNREPLAYABLE)
    return sum(checked.counts[kind] for kind in kinds)


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    if directory.exists() and any(directory.iterdir()):
        stop(f"{directory} is there already; name a new directory with --write")
    try:
        for name, data in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        stop(f"{error.filename}: {error.strerror}")


def _diff(present: Mapping[str, bytes], files: Mapping[str, bytes]) -> Iterator[str]:
    """A unified diff of all files, in the order of their names."""
    for name in sorted(present.keys() | files.keys()):
        old, new = (some.get(name, b"").decode("utf-8", "replace") for some in (present, files))
        yield from unified_diff(
            old.splitlines(),
            new.splitlines(),
            f"a/{name}" if name in present else "/dev/null",
            f"b/{name}" if name in files else "/dev/null",
            lineterm="",
        )


def _print_diff(present: Mapping[str, bytes], files: Mapping[str, bytes]) -> None:
    for line in _diff(present, files):
        colour = {"+": GOOD, "-": BAD, "@": DIM}.get(line[:1])
        shown = harmless(line)
        print(shown if colour is None else paint_line(shown, colour))


def _tell(found: Suggestion, checked: Replayed, write: Path | None, *, take_out: bool) -> None:
    for words in found.left_out:
        tell(f"not covered: {words}")
    if not take_out:
        tell("the present permits stay; --replace takes them out")
    uses = sum(permit.calls for permit in found.permits)
    tell(f"permits: {len(found.permits)}, for uses: {uses}, new operations: {len(found.added)}")
    tell(summary_line(checked))
    for row in checked.table():
        if row.difference is not Difference.OTHER_RULE:
            what = f"{row.agent} {', '.join(row.actions)} {row.url}"
            tell(f"{row.difference}: {what}: {row.why} ({row.count} times)")
    if write is not None:
        tell(f"written to {write}; look at it, then `gatepass policy replay --rules {write}`")


def _tell_cases(present: Mapping[str, bytes], loaded: Loaded) -> None:
    """Which of the present cases would not hold any more: what they test was not used."""
    ids = [policy.id for policy in loaded.ruleset.policies]
    for name in sorted(name for name in present.keys() - {CASES} if name.startswith("cases/")):
        for case in parse_cases(present[name], name):
            if isinstance(case, Case):
                ran = run(case, loaded.ruleset, loaded.registry, ids)
                if not ran.passed:
                    tell(f"{name}:{case.line}: {case.name}: {'; '.join(ran.failures)}")


def _print_json(
    found: Suggestion, files: Mapping[str, bytes], present: Mapping[str, bytes], checked: Replayed
) -> None:
    for permit in found.permits:
        print_json(
            {
                "kind": "permit",
                "id": permit.id,
                "agent": permit.agent,
                "service": permit.service,
                "environment": permit.environment,
                "scopes": list(permit.scopes),
                "actions": dict(permit.actions),
                "text": permit.text,
            }
        )
    for name, count in found.added.items():
        print_json({"kind": "operation", "name": name, "calls": count})
    for words in found.left_out:
        print_json({"kind": "not covered", "what": words})
    for name in sorted(files):
        if files[name] != present.get(name):
            print_json({"kind": "file", "name": name, "text": files[name].decode("utf-8", "replace")})
    for name in sorted(present.keys() - files.keys()):
        print_json({"kind": "removed", "name": name})
    print_json({"kind": "summary", **checked.summary()})
