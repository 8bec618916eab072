"""The small rules directories are ones that gatepass takes."""

import json

from proxy.identity.registry import Registry, parse_agents
from proxy.policy.cedar import RuleSet, load_rules
from proxy.settings import Settings
from tests.support.demo_rules import (
    agent,
    forbid,
    from_env,
    from_file,
    permit,
    read_rules,
    service,
    write_config,
    write_rules,
)


def loaded(directory):
    files = read_rules(directory)
    agents = parse_agents(files["agents.yaml"], "agents.yaml")
    assert isinstance(agents, Registry), agents
    rules = load_rules(files, list(agents))
    assert isinstance(rules, RuleSet), rules
    return agents, rules


def test_the_default_is_one_agent_one_service_one_permit(tmp_path):
    agents, rules = loaded(write_rules(tmp_path))
    assert [each.id for each in agents] == ["tester"]
    assert [each.hosts for each in rules.catalogue.services] == [("api.test",)]
    assert "tester-reads-api" in {policy.id for policy in rules.policies}


def test_everything_can_be_said(tmp_path):
    directory = write_rules(
        tmp_path,
        agents=[agent("a"), agent("b")],
        services=[
            service("one", "one.test", "*.one.test", ports=[8443], credential=from_file(tmp_path / "key")),
            service("two", credential=from_env("TWO_KEY", query={"parameter": "key"})),
            service("git", operations={"fetch": {"group": "read", "method": "GET", "path": "/{repo}"}}),
        ],
        policies=[
            permit("a-one", who="a", on="one", actions=["read", "write"]),
            permit("b-git", who="b", on="git", actions=["git.fetch"]),
            forbid("never", who="b", on="two"),
        ],
    )
    agents, rules = loaded(directory)
    assert len(agents) == 2
    assert [each.name for each in rules.catalogue.services] == ["git", "one", "two"]
    assert {"a-one", "b-git", "never"} <= {policy.id for policy in rules.policies}


def test_the_configuration_opens_what_it_was_told(tmp_path):
    file = write_config(
        tmp_path / "gatepass.yaml",
        state=tmp_path / "state",
        rules=tmp_path / "rules",
        roots=tmp_path,
        hosts={"api.test": ["127.0.0.1"]},
        private=[("api.test", 8443)],
        drain=1,
    )
    settings = Settings.model_validate(json.loads(file.read_text()))
    assert settings.upstream.ports == {80, 443, 8443}
    assert settings.upstream.hosts == {"api.test": ["127.0.0.1"]}
    assert [(rule.host, rule.port) for rule in settings.upstream.allow_private] == [("api.test", 8443)]
    assert settings.listen[0].port == 0
