"""``gatepass policy``: what the rules are, whether they can be loaded, and what they do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.cli.config import Config, load_config
from proxy.cli.ending import NEGATIVE, stop, stop_for, tell
from proxy.cli.painted import WARNING, print_painted
from proxy.cli.policy_cases import run_cases
from proxy.cli.policy_explain import explain
from proxy.cli.policy_import import import_openapi
from proxy.cli.policy_replay import replay
from proxy.cli.policy_sign import keygen, sign
from proxy.cli.policy_suggest import suggest
from proxy.cli.policy_unused import unused
from proxy.cli.rows import harmless, print_json
from proxy.cli.rules import read_rules
from proxy.identity.gaps import gaps, issuers_named, unknown_issuers
from proxy.identity.registry import Registry
from proxy.policy.catalogue import Service
from proxy.policy.lint import lint
from proxy.problems import Problem
from proxy.wiring_rules import Rules, load

app = typer.Typer(help="Check, test, explain, learn and sign the rules.", no_args_is_help=True)


@app.callback()
def policy() -> None:
    """Check, test, explain, learn and sign the rules."""


@app.command()
def check(
    rules: Annotated[Path, typer.Option(help="Directory of the rules.")] = Path("rules"),
    config: Annotated[Path | None, typer.Option(help="The configuration; default ./gatepass.yaml.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Read all rules as the proxy would: print every problem with its file and line, or what there is.

    An agent that may not call because nobody answers for it is a problem; where it may, a warning. So is
    what loads and is hardly meant: rules that can never match, permits without an owner, and the like.

    Example: gatepass policy check --rules rules
    """
    loaded = load(_read(rules))
    if isinstance(loaded, list):
        _fail(loaded, (), rules, json=json)
    assert loaded.ruleset is not None, "files were given"
    errors, warnings = _look(loaded.registry, config)
    warnings += lint(loaded.ruleset)
    if errors:
        _fail(errors, warnings, rules, json=json)
    _print_summary(loaded, warnings, json=json)


def _read(rules: Path) -> Mapping[str, bytes]:
    if not rules.is_dir():
        stop(f"there is no directory {rules}; name one with --rules, or write one with `gatepass init`")
    try:
        return read_rules(rules)
    except OSError as error:
        stop(f"{error.filename} cannot be read: {error.strerror}")


def _look(registry: Registry, config: Path | None) -> tuple[list[Problem], list[Problem]]:
    """What is wrong with agents that can be loaded: errors, and what may stay as it is."""
    found = gaps(registry)
    errors = [gap.problem for gap in found if gap.refused]
    warnings = [gap.problem for gap in found if not gap.refused]
    named = issuers_named(registry)
    if named or config is not None:
        configured = load_config(config)
        if not isinstance(configured, Config):
            stop_for(configured)
        if configured.file is None:  # so `config` is None, and issuers are named
            words = f"issuers not looked for, name a gatepass.yaml with --config: {', '.join(named)}"
            warnings.append(Problem("agents.yaml", None, words))
        else:
            known = {issuer.name for issuer in configured.settings.identity.issuers}
            errors += unknown_issuers(registry, known)
    return errors, warnings


def _fail(errors: Sequence[Problem], warnings: Sequence[Problem], rules: Path, *, json: bool) -> NoReturn:
    told = [*(("error", problem) for problem in errors), *(("warning", problem) for problem in warnings)]
    for kind, problem in told:
        if json:
            print_json(_row(kind, problem))
        else:
            mark = "" if kind == "error" else "warning: "
            print(harmless(f"{rules / _place(problem)}: {mark}{problem.message}"))
    raise typer.Exit(NEGATIVE)


def _row(kind: str, problem: Problem) -> Mapping[str, object]:
    return {"kind": kind, "file": problem.file, "line": problem.line, "message": problem.message}


def _place(problem: Problem) -> str:
    return problem.file if problem.line is None else f"{problem.file}:{problem.line}"


def _service_row(service: Service) -> tuple[str, str, str]:
    scheme = "/".join(service.schemes)
    bound = "" if service.credential is None else f", credential {service.credential.name}"
    return (
        "service",
        service.name,
        f"{scheme} {' '.join(service.hosts)}, {len(service.operations)} operations{bound}",
    )


def _print_summary(rules: Rules, warnings: Sequence[Problem], *, json: bool) -> None:
    ruleset = rules.ruleset
    assert ruleset is not None, "files were given"
    rows = [_service_row(service) for service in ruleset.catalogue.services]
    rows += [
        ("agent", agent.id, f"{agent.tier}, {agent.environment}, {agent.business_owner or 'nobody'}")
        for agent in rules.registry
    ]
    rows += [("policy", rule.id, f"{rule.effect}, {rule.file}:{rule.line}") for rule in ruleset.policies]
    digest = ("ruleset", ruleset.sha256, "sha256")
    if json:
        for problem in warnings:
            print_json(_row("warning", problem))
        for kind, name, words in (*rows, digest):
            print_json({"kind": kind, "name": name, "words": words})
        print_json({"kind": "counts", **_counts(rules, warnings)})
        return
    told = [("warning", _place(problem), problem.message) for problem in warnings]
    print_painted(("kind", "name", "what"), [*rows, *told, digest], _paint)
    tell(", ".join(f"{name}: {count}" for name, count in _counts(rules, warnings).items()))


def _paint(row: Sequence[str]) -> str:
    return WARNING if row[0] == "warning" else ""


def _counts(rules: Rules, warnings: Sequence[Problem]) -> Mapping[str, int]:
    """How much there is of everything; gatepass's own policies are counted, because they hold too."""
    ruleset = rules.ruleset
    assert ruleset is not None, "files were given"
    return {
        "services": len(ruleset.catalogue.services),
        "operations": sum(len(service.operations) for service in ruleset.catalogue.services),
        "agents": len(rules.registry),
        "permits": sum(rule.effect == "permit" for rule in ruleset.policies),
        "forbids": sum(rule.effect == "forbid" for rule in ruleset.policies),
        "warnings": len(warnings),
    }


app.command(name="test")(run_cases)
app.command()(explain)
app.command()(suggest)
app.command()(replay)
app.command()(unused)
app.command(name="import-openapi")(import_openapi)
app.command()(sign)
app.command()(keygen)
