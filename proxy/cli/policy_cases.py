"""``gatepass policy test``: the rules' own tests, ``rules/cases/*.yaml`` (``proxy.policy.case_file``)."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.ending import NEGATIVE, stop, stop_for, tell
from proxy.cli.logs import ConfigFile
from proxy.cli.painted import BAD, GOOD, WARNING, paint_line, print_painted
from proxy.cli.policy_rules import Json, Loaded, RulesDir, load_rules
from proxy.cli.progress import counted
from proxy.cli.rows import print_json
from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cases import Covered, Ran, coverage, just_missed, run
from proxy.policy.explain import Explainer
from proxy.policy.junit import junit
from proxy.policy.trial import decide
from proxy.problems import Problem

CASES = "cases"
_FAILURES = ("case", "at", "not as expected", "is", "spoke", "detail")
_UNCOVERED = ("rule", "speaks in", "just missed by", "wanted")


def run_cases(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Only cases with these names, or in these files; * is any text."
        ),
    ] = None,
    *,
    rules: RulesDir = None,
    config: ConfigFile = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", help="Write the results there as JUnit XML.")
    ] = None,
    cover: Annotated[
        bool, typer.Option("--coverage", help="List the rules that no case would miss; they fail, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the cases of the rules: who does what, what is expected. Exit status 1 if one is not as expected.

    With --coverage every rule needs a case in which it speaks, and one that it just misses.

    Example: gatepass policy test --rules rules --coverage --junit policy.xml

    Example: gatepass policy test 'github*'
    """
    loaded = load_rules(rules, config)
    cases = _chosen(_cases(loaded.directory), names or [])
    known = [policy.id for policy in loaded.ruleset.policies]
    ran = [run(case, loaded.ruleset, loaded.registry, known) for case in counted(cases, "cases")]
    if junit_file is not None:
        _write(junit_file, junit(ran))
    failed = [one for one in ran if not one.passed]
    missed = [row for row in _coverage(loaded, ran) if not row.complete] if cover else []
    if json:
        _print_json(ran, missed)
    else:
        _print(failed, missed, len(ran))
    if failed or missed:
        raise typer.Exit(NEGATIVE)


def _cases(directory: Path) -> list[Case]:
    """All cases; exits 2 if there are none, or a file does not read."""
    folder = directory / CASES
    files = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    cases: list[Case] = []
    problems: list[Problem] = []
    for path in files:
        if path.name.startswith("README"):
            continue
        if path.suffix != ".yaml":
            problems.append(Problem(str(path), None, f"not read: files in {CASES}/ end with .yaml"))
            continue
        for found in parse_cases(path.read_bytes(), str(path)):
            if isinstance(found, Case):
                cases.append(found)
            else:
                problems.append(found)
    if problems:
        stop_for(problems)
    if not cases:
        stop(f"there are no cases in {folder}; `gatepass policy test --help` shows where they stand")
    return cases


def _chosen(cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    chosen = [case for case in cases if not names or any(_named(case, name) for name in names)]
    if not chosen:
        stop(f"no case is called {' or '.join(names)}", NEGATIVE)
    return chosen


def _named(case: Case, pattern: str) -> bool:
    file = Path(case.file)
    return any(fnmatchcase(name, pattern) for name in (case.name, case.file, file.name, file.stem))


def _coverage(loaded: Loaded, ran: Sequence[Ran]) -> list[Covered]:
    ruleset = loaded.ruleset
    explainer = Explainer(ruleset, ruleset.catalogue, ruleset.policies)
    looked = []
    for one in ran:
        acts = () if one.trial is None else explainer.look(one.trial, decide(ruleset, one.trial))
        looked.append((one, just_missed(one, acts)))
    return coverage(looked, ruleset.policies)


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        stop(f"{file}: {error.strerror}")


def _place(case: Case) -> str:
    return case.file if case.line is None else f"{case.file}:{case.line}"


def _wanted(row: Covered) -> str:
    speaks = [] if row.spoke else ["a case in which it speaks"]
    misses = [] if row.near or not row.missable else ["a case that it just misses"]
    return ", ".join(speaks + misses)


def _print(failed: Sequence[Ran], missed: Sequence[Covered], count: int) -> None:
    if failed:
        rows = [
            (one.case.name, _place(one.case), words, _end(one), ", ".join(one.rules), one.detail)
            for one in failed
            for words in one.failures
        ]
        print_painted(_FAILURES, rows, lambda _: BAD)
    if missed:
        covered = [(row.rule, str(row.spoke), str(row.near), _wanted(row)) for row in missed]
        print_painted(_UNCOVERED, covered, lambda _: WARNING)
    if failed:
        tell(f"{len(failed)} of {count} cases are not as expected")
    else:
        print(paint_line(f"{count} {'case' if count == 1 else 'cases'} passed", GOOD))


def _end(one: Ran) -> str:
    return f"{one.effect} {one.code}".rstrip()


def _print_json(ran: Sequence[Ran], missed: Sequence[Covered]) -> None:
    for one in ran:
        case = one.case
        print_json(
            {
                "kind": "case",
                "name": case.name,
                "file": case.file,
                "line": case.line,
                "passed": one.passed,
                "failures": list(one.failures),
                "effect": one.effect,
                "code": one.code or None,
                "rules": list(one.rules),
                "actions": list(one.actions),
                "detail": one.detail,
            }
        )
    for row in missed:
        print_json(
            {
                "kind": "uncovered",
                "rule": row.rule,
                "spoke": row.spoke,
                "near": row.near,
                "wanted": _wanted(row),
            }
        )
