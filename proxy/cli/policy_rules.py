"""The rules that the verbs of ``gatepass policy`` work with: a directory, read and validated."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.config import load_config
from proxy.cli.ending import stop, stop_for
from proxy.cli.rules import read_rules
from proxy.identity.registry import Registry
from proxy.policy.cedar import RuleSet
from proxy.problems import Problem
from proxy.wiring_rules import load

RulesDir = Annotated[
    Path | None,
    typer.Option("--rules", help="Directory of the rules.", show_default="as configured, ./rules"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rules that load, and the files that they were read from."""

    directory: Path
    files: Mapping[str, bytes]
    registry: Registry
    ruleset: RuleSet


def directory_of(rules: Path | None, config: Path | None = None) -> Path:
    """The directory that is named, else the configured one; exits 2 if there is none."""
    if rules is None:
        configured = load_config(config)
        if isinstance(configured, list):
            stop_for(configured)
        rules = configured.rules or Path("rules")
    if not rules.is_dir():
        stop(f"there is no directory {rules}; name one with --rules, or write one with `gatepass init`")
    return rules


def read(directory: Path) -> Mapping[str, bytes]:
    """The files of a rules directory; exits 2 if they cannot be read."""
    try:
        return read_rules(directory)
    except OSError as error:
        stop(f"{error.filename}: {error.strerror}")


def load_files(directory: Path, files: Mapping[str, bytes]) -> Loaded:
    """Rules that load; exits 2 with every problem if they do not."""
    rules = load(files)
    if isinstance(rules, list):
        stop_for(Problem(f"{directory / problem.file}", problem.line, problem.message) for problem in rules)
    assert rules.ruleset is not None, "files were given"
    return Loaded(directory, files, rules.registry, rules.ruleset)


def load_rules(rules: Path | None, config: Path | None = None) -> Loaded:
    """The rules of a directory; exits 2 if there are none, or something is wrong with them."""
    directory = directory_of(rules, config)
    return load_files(directory, read(directory))
