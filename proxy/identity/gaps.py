"""What the registry leaves open: agents that nobody answers for, and names that must exist elsewhere."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from proxy.identity.principal import Agent, Method
from proxy.identity.registry import Registry
from proxy.problems import Problem


@dataclass(frozen=True, slots=True)
class Gap:
    """An agent without an owner: which of the two it lacks, and what to correct where."""

    agent: Agent
    missing: tuple[str, ...]
    problem: Problem

    @property
    def refused(self) -> bool:
        """Whether the agent may not call because of it."""
        return self.agent.unowned


def gaps(registry: Registry) -> list[Gap]:
    """Every agent that has no business owner or no data owner, in the order of the file."""
    found = []
    for agent in registry:
        missing = agent.missing_owners
        if missing:
            words = f"{agent.id} has no {' and no '.join(missing)}"
            if agent.unowned:
                words += f": in {agent.environment} its calls are refused"
            found.append(Gap(agent, missing, registry.problem(agent.id, (), words)))
    return found


def unknown_services(registry: Registry, known: Container[str]) -> list[Problem]:
    """Every service in a ceiling that the catalogue does not have."""
    return [
        registry.problem(agent.id, ("ceiling", "services", index), f"there is no services/ file for {name}")
        for agent in registry
        for index, name in enumerate(agent.ceiling.services or ())
        if name not in known
    ]


def issuers_named(registry: Registry) -> Mapping[str, tuple[str, ...]]:
    """The names of OIDC issuers, and the ids of the agents whose entries use each."""
    named: dict[str, dict[str, None]] = {}
    for agent in registry:
        for way in registry.ways(agent.id):
            if way.method is Method.OIDC:
                named.setdefault(way.issuer, {})[agent.id] = None
    return {issuer: tuple(agents) for issuer, agents in named.items()}


def unknown_issuers(registry: Registry, known: Container[str]) -> list[Problem]:
    """Every ``issuer`` under ``authenticate`` that is not one of ``known`` (identity.issuers)."""
    return [
        registry.problem(
            agent.id,
            ("authenticate", index, "issuer"),
            f"gatepass.yaml has no issuer {way.issuer} under identity.issuers",
        )
        for agent in registry
        for index, way in enumerate(registry.ways(agent.id))
        if way.method is Method.OIDC and way.issuer not in known
    ]
