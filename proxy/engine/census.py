"""Who is connected: how many connections each agent has, and which are a task's."""

from typing import Protocol

from proxy.errors import Refusal


class Cuttable(Protocol):
    """A downstream connection, as far as its end is concerned."""

    def cut(self, refusal: Refusal) -> None:
        """End it now."""
        ...


class Census:
    """See the module."""

    def __init__(self) -> None:
        self.by_agent: dict[str, int] = {}
        self.by_task: dict[str, set[Cuttable]] = {}

    def enter(self, connection: Cuttable, agent: str, task: str) -> None:
        """A connection is now this agent's, under this task."""
        self.by_agent[agent] = self.by_agent.get(agent, 0) + 1
        self.by_task.setdefault(task, set()).add(connection)

    def leave(self, connection: Cuttable, agent: str, task: str) -> None:
        """Undo ``enter``."""
        left = self.by_agent.get(agent, 0) - 1
        if left > 0:
            self.by_agent[agent] = left
        else:
            self.by_agent.pop(agent, None)
        members = self.by_task.get(task)
        if members is not None:
            members.discard(connection)
            if not members:
                del self.by_task[task]
