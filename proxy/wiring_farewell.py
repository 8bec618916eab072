"""Who may go on when agents change: whoever is still what it was, and may still prove it as it did.

New requests are attributed anew, with the agents in force; what is cut here is what runs already. An agent
that has vanished takes its own connections with it and those of whoever acts for it.
"""

from collections.abc import Callable

from proxy.engine.pool import Pool
from proxy.engine.server import Server
from proxy.errors import Code, Refusal
from proxy.identity.known import KnownAgents
from proxy.identity.principal import Principal
from proxy.wiring_rules import Rules

GONE = Refusal(Code.AGENT_UNKNOWN, "the agent was taken out of the registry while the call was running")
CHANGED = Refusal(
    Code.AUTHENTICATION_UNSUITABLE,
    "the agent's environment, owners or ways to authenticate were changed while the call was running",
)


def farewell(server: Server, pool: Pool) -> Callable[[Rules, Rules], None]:
    """What to do when rules change: cut whoever may not go on, here and upstream."""

    def changed(before: Rules, now: Rules) -> None:
        registry = now.registry
        server.cut(lambda principal: parting(principal, registry) is GONE, GONE)
        server.cut(lambda principal: parting(principal, registry) is CHANGED, CHANGED)
        for agent in before.registry:
            if registry.get(agent.id) is None:
                pool.drop(agent.id)

    return changed


def parting(principal: Principal, agents: KnownAgents) -> Refusal | None:
    """Why what this principal has running ends, now that these are the agents; or None."""
    for link in principal.chain:
        agent = agents.get(link.agent.id)
        if agent is None:
            return GONE
        if agent.environment != link.agent.environment or agent.unowned:
            return CHANGED
    usable = (agents.may_use(principal.agent.id, evidence.method) for evidence in principal.evidence)
    return None if all(usable) else CHANGED
