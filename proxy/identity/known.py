"""What attribution has to know, and asks others for: agents by what they prove, tasks by id."""

from collections.abc import Mapping
from typing import Protocol

from proxy.identity.principal import Agent, Method, Task


class KnownAgents(Protocol):
    """The registry of agents."""

    def get(self, agent_id: str) -> Agent | None:
        """The agent with this id, or None."""
        ...

    def may_use(self, agent_id: str, method: Method) -> bool:
        """Whether the agent's entry lists this method (absent: session tokens and listeners)."""
        ...

    def by_token(self, issuer: str, subject: str, claims: Mapping[str, object]) -> tuple[Agent, ...]:
        """Agents whose entry fits a token of the issuer with this *name*; more than one is a conflict."""
        ...

    def by_spiffe_id(self, spiffe_id: str, method: Method) -> tuple[Agent, ...]:
        """Agents that this SPIFFE ID stands for, with ``JWT_SVID`` or ``X509_SVID``."""
        ...

    def by_process(self, uid: int, executable: str) -> tuple[Agent, ...]:
        """Agents whose entry fits the peer of a Unix socket; ``executable`` is "" where it is not known."""
        ...


class KnownTasks(Protocol):
    """The tasks of this sidecar."""

    def get(self, task_id: str) -> Task | None:
        """The task with this id in its present state, or None. The same object as long as nothing changed."""
        ...
