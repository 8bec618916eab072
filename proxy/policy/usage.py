"""What of a rule set was ever used, told from recorded calls: the rest can probably go.

Used is what an allowed call took: its service, its operation, the permits that spoke, the scopes that those
permits ask for and the task had, its agent. A call that was refused used nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from proxy.identity.principal import Agent
from proxy.policy.builtin import PREFIX
from proxy.policy.catalogue import Catalogue
from proxy.policy.compared import compared
from proxy.policy.recorded import RecordedCall, Said
from proxy.policy.statement import Policy

KINDS = ("service", "operation", "permit", "scope", "agent")
_SCOPES = ("context", "task", "scopes")


class Thing(NamedTuple):
    """Something that rules grant; ``kind`` is one of KINDS."""

    kind: str
    name: str


@dataclass(slots=True)
class Use:
    """How often, and when last (POSIX seconds); 0 is never."""

    calls: int = 0
    last: int = 0


class Usage:
    """Counts the use of everything that a rule set grants."""

    def __init__(self, catalogue: Catalogue, policies: Iterable[Policy], agents: Iterable[Agent]) -> None:
        permits = [policy for policy in policies if policy.effect == "permit"]
        self._scopes = {policy.id: scopes_of(policy) for policy in permits}
        services = {service.name for service in catalogue.services}
        self._services = services
        names = (
            *(Thing("service", name) for name in sorted(services)),
            *(
                Thing("operation", operation.id)
                for service in catalogue.services
                for operation in service.operations
            ),
            *(Thing("permit", policy.id) for policy in permits if not policy.id.startswith(PREFIX)),
            *(Thing("scope", name) for name in sorted(set().union(*self._scopes.values()))),
            *(Thing("agent", agent.id) for agent in agents),
        )
        self._uses = {thing: Use() for thing in names}

    def add(self, call: RecordedCall) -> None:
        """Count one call."""
        if call.effect != "allow":
            return
        used = {Thing("agent", link.agent) for link in call.links}
        for link in call.links:
            for said in link.rulings:
                used |= set(self._used(said))
        for thing in used & self._uses.keys():
            use = self._uses[thing]
            use.calls += 1
            use.last = max(use.last, call.seconds)

    def _used(self, said: Said) -> Iterator[Thing]:
        service = said.action.partition(".")[0]
        yield Thing("service", service)
        yield Thing("operation", said.action)
        scopes = said.entity("Task").get("scopes")
        have = set(map(str, scopes)) if isinstance(scopes, list) else set()
        for rule in said.rules:
            yield Thing("permit", rule)
            yield from (Thing("scope", name) for name in self._scopes.get(rule, frozenset()) & have)

    def table(self) -> Mapping[Thing, Use]:
        """Everything that is granted, what was never used first, then by the last use."""
        order = sorted(
            self._uses.items(), key=lambda item: (item[1].last, KINDS.index(item[0].kind), item[0].name)
        )
        return dict(order)


def scopes_of(policy: Policy) -> frozenset[str]:
    """The scopes that a policy asks a task for."""
    return frozenset(
        str(literal) for one in compared([policy]) if one.path == _SCOPES for literal in one.literals
    )
