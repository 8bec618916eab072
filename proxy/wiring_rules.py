"""Rules for a sidecar: everything under ``rules/`` validated, or the decision to observe without any."""

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.identity.gaps import unknown_services
from proxy.identity.principal import Agent
from proxy.identity.registry import Registry, parse_agents
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.decision import Pdp
from proxy.policy.observe import observe
from proxy.problems import Problem

OBSERVER = Agent("observer", "development", "unrated", "", "", "observed without rules")


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything under ``rules/``, validated: ``ruleset`` is None when only observing."""

    registry: Registry
    ruleset: RuleSet | None

    @property
    def pdp(self) -> Pdp:
        """The policy decision point that these rules make."""
        return self.ruleset if self.ruleset is not None else observe()


def load(files: Mapping[str, bytes] | None) -> Rules | list[Problem]:
    """Validate the files of ``rules/``; None means that there are no rules, and everything is observed."""
    if files is None:
        return Rules(Registry.of([OBSERVER]), None)
    registry = parse_agents(files.get("agents.yaml", b"agents: []\n"), "agents.yaml")
    ruleset = load_rules(files, registry if isinstance(registry, Registry) else None)
    if isinstance(registry, Registry) and isinstance(ruleset, RuleSet):
        unknown = unknown_services(registry, {service.name for service in ruleset.catalogue.services})
        return unknown or Rules(registry, ruleset)
    return [
        *(registry if isinstance(registry, list) else []),
        *(ruleset if isinstance(ruleset, list) else []),
    ]
