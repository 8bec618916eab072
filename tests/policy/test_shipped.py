"""The rules that ship: they load, they deny, and their own tests pass."""

import re
from functools import lru_cache
from pathlib import Path

from proxy.errors import Code
from proxy.identity.gaps import unknown_services
from proxy.identity.registry import Registry, parse_agents
from proxy.identity.ways import DEFAULT_WAYS
from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cases import run
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.decision import Allow, Deny
from proxy.policy.lint import lint
from proxy.policy.schema import schema_text
from proxy.problems import load_yaml
from tests.policy.worlds import CODER, ask

RULES = Path(__file__).parents[2] / "rules"
TEMPLATES = Path(__file__).parents[2] / "proxy" / "cli" / "templates" / "rules"
FILES = {
    path.relative_to(RULES).as_posix(): path.read_bytes()
    for folder in ("services", "policies")
    for path in (RULES / folder).iterdir()
}


@lru_cache(maxsize=1)
def shipped() -> RuleSet:
    loaded = load_rules({**FILES, "agents.yaml": (RULES / "agents.yaml").read_bytes()}, ())
    assert isinstance(loaded, RuleSet), [str(problem) for problem in loaded]
    return loaded


def cases() -> list[Case]:
    files = sorted((RULES / "cases").iterdir())
    found = [case for path in files for case in parse_cases(path.read_bytes(), path.name)]
    assert all(isinstance(case, Case) for case in found), [str(case) for case in found]
    return found


def test_the_shipped_rules_deny_everything_to_tasks_without_scopes():
    agents = parse_agents((RULES / "agents.yaml").read_bytes(), "agents.yaml")
    assert isinstance(agents, Registry)
    assert len(agents) == 0
    for url in ("https://pypi.org/simple/", "https://api.github.com/user", "https://x.example.org/"):
        for approved in (False, True):
            question = ask("GET", url, within=shipped(), approved=approved)
            decision = shipped().decide(question).decision
            assert isinstance(decision, Deny)
            assert decision.refusal.code is Code.DEFAULT_DENY
    permits = [policy for policy in shipped().policies if policy.effect == "permit"]
    assert all("when { context.task.scopes.contains" in " ".join(one.text.split()) for one in permits)


def test_nothing_that_ships_is_probably_a_mistake():
    assert [str(problem) for problem in lint(shipped())] == []


def test_every_case_of_the_shipped_rules_passes():
    rules, agents = shipped(), Registry.of(())
    known = [policy.id for policy in rules.policies]
    ran = [run(case, rules, agents, known) for case in cases()]
    assert [(one.case.file, one.case.name, one.failures) for one in ran if not one.passed] == []
    expected = {rule for case in cases() for rule in case.rules}
    assert {name for name in known if not name.startswith("gatepass.")} <= expected


def test_the_schema_for_editors_is_current():
    whole = schema_text(shipped().catalogue.services)
    for copy in (RULES, TEMPLATES):
        assert (copy / "schema.cedarschema").read_text() == whole


def test_the_commented_policies_work_once_uncommented():
    files, count = dict(FILES), 0
    for name, data in FILES.items():
        text = data.decode()
        examples = re.findall(r"^// @id\((?:.|\n// )*?;$", text, re.MULTILINE)
        assert len(examples) == text.count("// @id("), name
        plain = "\n".join(example.replace("\n// ", "\n").removeprefix("// ") for example in examples)
        files[name] = data + b"\n" + plain.encode()
        count += len(examples)
    assert count > 10
    loaded = load_rules(files, (CODER,))
    assert isinstance(loaded, RuleSet), [str(problem) for problem in loaded]
    pip = loaded.decide(ask("GET", "https://pypi.org/simple/httpx/", within=loaded))
    assert (pip.decision, pip.action) == (Allow(("packages.read",)), "pypi.index.project")
    docs = ask("GET", "https://docs.example.org/", within=loaded)
    assert loaded.decide(docs).decision == Allow(("docs.read",))
    write = loaded.decide(ask("POST", "https://docs.example.org/", within=loaded)).decision
    assert write.refusal.rule == "uncatalogued.read_only"


def test_the_commented_agent_reads_once_uncommented():
    text = (RULES / "agents.yaml").read_text().partition("agents: []\n")[2]
    agents = parse_agents(re.sub(r"^# ?", "", text, flags=re.MULTILINE).encode(), "agents.yaml")
    assert isinstance(agents, Registry)
    assert [agent.id for agent in agents] == ["coder"]
    assert agents.ways("coder") == DEFAULT_WAYS
    assert unknown_services(agents, {"github", "pypi"}) == []


def test_the_shipped_services_are_plain_yaml():
    for path in (RULES / "services").glob("*.yaml"):
        assert not isinstance(load_yaml(path.read_bytes(), path.name), list)
