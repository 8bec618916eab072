"""``gatepass policy``: what the rules are, and whether they can be loaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.ending import NEGATIVE, stop
from proxy.cli.rows import harmless, print_json, print_rows
from proxy.cli.rules import read_rules
from proxy.identity.registry import Registry, parse_agents
from proxy.policy.catalogue import Service
from proxy.policy.cedar import RuleSet, load_rules
from proxy.problems import Problem

app = typer.Typer(help="Check the rules.", no_args_is_help=True)

_AGENTS = "agents.yaml"


@app.callback()
def policy() -> None:
    """Check the rules."""


@app.command()
def check(
    rules: Annotated[Path, typer.Option(help="Directory of the rules.")] = Path("rules"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Read all rules as the proxy would: print every problem with its file and line, or what there is.

    Example: gatepass policy check --rules rules
    """
    files = _read(rules)
    agents = parse_agents(files[_AGENTS], _AGENTS) if _AGENTS in files else Registry(())
    loaded = load_rules(files, agents if isinstance(agents, Registry) else None)
    if isinstance(loaded, RuleSet) and isinstance(agents, Registry):
        return _print_summary(loaded, agents, json=json)
    problems = [*(agents if isinstance(agents, list) else ()), *(loaded if isinstance(loaded, list) else ())]
    _print_problems(problems, rules, json=json)
    raise typer.Exit(NEGATIVE)


def _read(rules: Path) -> Mapping[str, bytes]:
    if not rules.is_dir():
        stop(f"there is no directory {rules}; name one with --rules, or write one with `gatepass init`")
    try:
        return read_rules(rules)
    except OSError as error:
        stop(f"{error.filename} cannot be read: {error.strerror}")


def _print_problems(problems: Sequence[Problem], rules: Path, *, json: bool) -> None:
    for problem in problems:
        if json:
            print_json({"file": problem.file, "line": problem.line, "message": problem.message})
        else:
            print(harmless(f"{rules / problem.file}{str(problem).removeprefix(problem.file)}"))


def _service_row(service: Service) -> tuple[str, str, str]:
    scheme = "/".join(service.schemes)
    bound = "" if service.credential is None else f", credential {service.credential.name}"
    return (
        "service",
        service.name,
        f"{scheme} {' '.join(service.hosts)}, {len(service.operations)} operations{bound}",
    )


def _print_summary(rules: RuleSet, agents: Registry, *, json: bool) -> None:
    rows = [_service_row(service) for service in rules.catalogue.services]
    rows += [
        ("agent", agent.id, f"{agent.tier}, {agent.environment}, {agent.business_owner}") for agent in agents
    ]
    rows += [("policy", rule.id, f"{rule.effect}, {rule.file}:{rule.line}") for rule in rules.policies]
    if json:
        for kind, name, words in rows:
            print_json({"kind": kind, "name": name, "words": words})
        print_json({"kind": "ruleset", "name": rules.sha256, "words": "sha256"})
        return
    print_rows(("kind", "name", "what"), [*rows, ("ruleset", rules.sha256, "sha256")])
