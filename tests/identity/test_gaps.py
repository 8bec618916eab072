"""What the registry leaves open: who has no owner, and names that must exist elsewhere."""

import pytest

from proxy.identity.gaps import gaps, issuers_named, unknown_issuers, unknown_services
from proxy.identity.principal import Agent, Ceiling
from proxy.identity.registry import Registry, parse_agents

TEXT = """\
agents:
  - id: owned
    environment: production
    tier: low
    business_owner: ada
    data_owner: grace
  - id: half
    environment: staging
    tier: low
    business_owner: ada
    authenticate:
      - method: session
      - method: oidc
        issuer: github
        subject: s
      - method: oidc
        issuer: gitlab
        subject: s
    ceiling:
      services:
        - tickets
        - forge
  - {id: none, environment: ENVIRONMENT, tier: low, authenticate: [{method: oidc, issuer: github, subject: t}]}
"""


def read(environment="production"):
    registry = parse_agents(TEXT.replace("ENVIRONMENT", environment).encode(), "agents.yaml")
    assert isinstance(registry, Registry), registry
    return registry


@pytest.mark.parametrize("environment", ["production", "prod", "qa", "developmental"])
def test_without_owners_an_agent_loads_and_is_listed(environment):
    registry = read(environment)
    assert (registry.get("none").business_owner, registry.get("none").data_owner) == ("", "")
    half, none = gaps(registry)
    assert (half.agent.id, half.missing, half.refused) == ("half", ("data_owner",), False)
    assert str(half.problem) == "agents.yaml:7: agents.1: half has no data_owner"
    assert (none.agent.id, none.missing, none.refused) == ("none", ("business_owner", "data_owner"), True)
    assert str(none.problem) == (
        "agents.yaml:23: agents.2: none has no business_owner and no data_owner: "
        f"in {environment} its calls are refused"
    )


@pytest.mark.parametrize("environment", ["development", "staging"])
def test_where_nobody_has_to_answer_it_is_a_warning(environment):
    assert [gap.refused for gap in gaps(read(environment))] == [False, False]


def test_no_agents_no_gaps():
    assert gaps(Registry.of([])) == []
    assert issuers_named(Registry.of([])) == {}


def test_an_agent_of_no_file_has_no_line():
    (gap,) = gaps(Registry.of([Agent("a", "production", "low", "ada", "")]))
    assert gap.problem.line is None
    assert unknown_services(
        Registry.of([Agent("a", "production", "low", "ada", "b", ceiling=Ceiling(services=("x",)))]), ()
    )


def test_issuers_and_who_names_them():
    registry = read()
    assert issuers_named(registry) == {"github": ("half", "none"), "gitlab": ("half",)}
    assert unknown_issuers(registry, {"github", "gitlab"}) == []
    (problem,) = unknown_issuers(registry, {"github"})
    assert problem.line == 17
    assert problem.message == (
        "agents.1.authenticate.2.issuer: gatepass.yaml has no issuer gitlab under identity.issuers"
    )
    assert [problem.line for problem in unknown_issuers(registry, ())] == [14, 17, 23]


def test_services_of_a_ceiling_must_exist():
    registry = read()
    assert unknown_services(registry, {"tickets", "forge"}) == []
    assert [str(problem) for problem in unknown_services(registry, {"tickets"})] == [
        "agents.yaml:22: agents.1.ceiling.services.1: there is no services/ file for forge"
    ]
