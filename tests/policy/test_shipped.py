"""The rules that ship: they load, they deny, and their README tells the truth."""

import re
from pathlib import Path

from proxy.errors import Code
from proxy.identity.gaps import unknown_services
from proxy.identity.registry import Registry, parse_agents
from proxy.identity.ways import DEFAULT_WAYS
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.decision import Allow, Deny
from proxy.policy.schema import schema_text
from proxy.problems import load_yaml
from tests.policy.worlds import ask, task

RULES = Path(__file__).parents[2] / "rules"
TEMPLATES = Path(__file__).parents[2] / "proxy" / "cli" / "templates" / "rules"
DEFAULT = "policies/default.cedar"


def shipped(**changed):
    names = ["agents.yaml", DEFAULT, "services/github.yaml", "services/pypi.yaml"]
    files = {name: (RULES / name).read_bytes() for name in names} | changed
    agents = parse_agents(files["agents.yaml"], "agents.yaml")
    assert isinstance(agents, Registry), agents
    loaded = load_rules(files, agents)
    assert isinstance(loaded, RuleSet), [str(problem) for problem in loaded]
    return loaded, agents


def test_the_shipped_rules_deny_everything():
    loaded, agents = shipped()
    assert len(agents) == 0
    for url in ("https://pypi.org/simple/", "https://api.github.com/user", "https://x.example.org/"):
        decision = loaded.decide(ask("GET", url, within=loaded)).decision
        assert isinstance(decision, Deny)
        assert decision.refusal.code is Code.DEFAULT_DENY


def test_the_schema_for_editors_is_current():
    loaded, _ = shipped()
    whole = schema_text(loaded.catalogue.services)
    for copy in (RULES, TEMPLATES):
        assert (copy / "schema.cedarschema").read_text() == whole


def test_the_commented_policies_work_once_uncommented():
    text = (RULES / DEFAULT).read_text()
    examples = re.findall(r"^// @id\((?:.|\n// )*?;$", text, re.MULTILINE)
    assert len(examples) == text.count("@id(") == 4
    plain = "\n".join(example.replace("\n// ", "\n").removeprefix("// ") for example in examples)
    loaded, _ = shipped(**{DEFAULT: plain.encode()})
    pip = loaded.decide(ask("GET", "https://pypi.org/simple/httpx/", within=loaded))
    assert (pip.decision, pip.action) == (Allow(("packages.read",)), "pypi.index.project")
    issue = ask("POST", "https://api.github.com/repos/o/r/issues", of=task(scopes=("issues",)), within=loaded)
    assert loaded.decide(issue).decision == Allow(("github.issues",))
    gone = loaded.decide(ask("DELETE", "https://api.github.com/repos/o/r", within=loaded)).decision
    assert gone.refusal.rule == "github.no_delete"
    assert loaded.decide(ask("GET", "https://docs.example.org/", within=loaded)).decision == Allow(
        ("docs.read",)
    )


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
