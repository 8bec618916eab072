"""What the doctor says about agents: who answers for them, and whether their issuers are configured."""

from proxy.cli.check_agents import check_agents
from proxy.cli.config import Config, load_config
from proxy.cli.finding import Health
from proxy.identity.registry import Registry, parse_agents

AGENTS = b"""\
agents:
  - {id: fine, environment: production, tier: low, business_owner: ada, data_owner: grace}
  - {id: one, environment: production, tier: low, data_owner: ada}
  - id: two
    environment: staging
    tier: low
    authenticate: [{method: oidc, issuer: github, subject: s}]
"""
ISSUER = "{name: github, issuer: 'https://issuer.example.org', audiences: [gatepass]}"


def look(tmp_path, text):
    file = tmp_path / "gatepass.yaml"
    file.write_text(text)
    config, registry = load_config(file), parse_agents(AGENTS, "agents.yaml")
    assert isinstance(config, Config)
    assert isinstance(registry, Registry)
    return [(found.health, found.what, found.words, found.fix) for found in check_agents(registry, config)]


OWNERS = [
    (
        Health.FAIL,
        "agent one",
        "agents.yaml:3: agents.1: one has no business_owner: in production its calls are refused",
        "name its business_owner in rules/agents.yaml",
    ),
    (
        Health.WARN,
        "agent two",
        "agents.yaml:4: agents.2: two has no business_owner and no data_owner",
        "name its business_owner and its data_owner in rules/agents.yaml",
    ),
]


def test_owners(tmp_path):
    assert look(tmp_path, f"identity: {{issuers: [{ISSUER}]}}\n") == OWNERS


def test_issuers(tmp_path):
    words = "agents.yaml:7: agents.2.authenticate.0.issuer: gatepass.yaml has no issuer github under identity.issuers"
    fix = "describe the issuer in gatepass.yaml, or correct its name"
    assert look(tmp_path, "identity: {}\n") == [*OWNERS, (Health.FAIL, "agents", words, fix)]
