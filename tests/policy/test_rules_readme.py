"""The READMEs of the rules tell the truth: what they show loads, passes its own cases, and is complete."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proxy.cli.app import app
from proxy.errors import MEANING, Code
from proxy.identity.gaps import gaps, issuers_named
from proxy.identity.principal import Method
from proxy.identity.registry import Registry, parse_agents
from proxy.policy import annotations, builtin, lint
from proxy.policy.fact import FactType, Protocol
from proxy.policy.service_budget import Per, Unit
from proxy.wiring_rules import Rules, load

RULES = Path(__file__).parents[2] / "rules"
README = (RULES / "README.md").read_text()
IDENTITY = (RULES / "IDENTITY.md").read_text()
CODES = (RULES / "CODES.md").read_text()
PAGE = 90  # lines


def files(text: str) -> dict[str, str]:
    return dict(re.findall(r"```(?:yaml|cedar)\n(?:#|//) (\S+)\n(.*?)```", text, re.DOTALL))


def loaded() -> Rules:
    rules = load({name: text.encode() for name, text in files(README).items()})
    assert isinstance(rules, Rules), [str(problem) for problem in rules]
    return rules


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    for name, text in files(README).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_language_fits_on_two_pages() -> None:
    assert len(README.splitlines()) <= 2 * PAGE


def test_its_examples_are_one_rule_set_without_a_warning() -> None:
    assert sorted(files(README)) == [
        "agents.yaml",
        "cases/tickets.yaml",
        "policies/tickets.cedar",
        "services/desk.yaml",
        "services/tickets.yaml",
    ]
    ruleset = loaded().ruleset
    assert ruleset is not None
    assert [str(problem) for problem in lint.lint(ruleset)] == []


def test_its_cases_pass_and_fail_if_a_rule_is_changed(rules: Path) -> None:
    run = CliRunner().invoke(app, ["policy", "test", "--rules", str(rules)])
    assert run.exit_code == 0, run.output
    policies = rules / "policies" / "tickets.cedar"
    policies.write_text(policies.read_text().replace("amount <= 100", "amount <= 1000"))
    assert CliRunner().invoke(app, ["policy", "test", "--rules", str(rules)]).exit_code == 1


def test_it_names_every_word_of_the_language() -> None:
    words = [*Protocol, *FactType, *Per, *Unit, "read", "write", "delete", "admin"]
    words += [f"@{name}" for name in annotations.KNOWN]
    for word in words:
        assert word in README, word


def test_it_names_every_builtin_rule_and_attribute() -> None:
    for name in re.findall(r'@id\("(.*?)"\)', builtin.POLICIES.decode()):
        assert f"`{name}`" in README
    schema = (RULES / "schema.cedarschema").read_text()
    for attribute in re.findall(r"^  (\w+): ", schema, re.MULTILINE):
        assert f"`{attribute}`" in README or f".{attribute}`" in README or f"`context.{attribute}`" in README


def test_the_agents_show_every_way_to_prove_who_is_calling() -> None:
    first = IDENTITY.partition("## Ways to prove")[0]
    agents = parse_agents(files(first)["agents.yaml"].encode(), "agents.yaml")
    assert isinstance(agents, Registry)
    assert list(issuers_named(agents)) == ["github"]
    assert gaps(agents) == []
    assert {way.method for way in agents.ways("coder")} == set(Method)


def test_every_reason_code_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (\d{3}) \| (.*?) \| (.*) \|$", CODES, re.MULTILINE)
    assert rows == [(code, str(entry.status), entry.title, entry.advice) for code, entry in MEANING.items()]
    assert set(MEANING) == set(Code)
