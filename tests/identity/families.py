"""Small working families of agents and tasks, for the tests of delegation."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from proxy.identity.delegation import chain
from proxy.identity.principal import NO_CEILING, Agent, Link, Method, Task
from proxy.identity.task import Manifest, make_task

NOW = 1_800_000_000
HOUR = 3600


def agent(name: str, environment: str = "development", ceiling=NO_CEILING) -> Agent:
    return Agent(name, environment, "low", "ada@example.org", "grace@example.org", "", ceiling)


def manifest(name: str, **changes) -> Manifest:
    """A manifest of the agent ``name``: an hour from ``NOW``, three delegations deep, in development."""
    plain = Manifest(
        agent=name,
        purpose="fix issue 7",
        scopes=("issues:write", "repo:read"),
        environment="development",
        issued_at=NOW,
        expires_at=NOW + HOUR,
        on_behalf_of="ada@example.org",
        nonce="00" * 16,
        ticket="ISSUE-7",
        approver="grace@example.org",
        depth=3,
    )
    return replace(plain, **changes)


class Agents:
    """A registry that can change."""

    def __init__(self, agents: Iterable[Agent]) -> None:
        self.by_id = {agent.id: agent for agent in agents}

    def get(self, agent_id: str) -> Agent | None:
        return self.by_id.get(agent_id)

    def may_use(self, agent_id: str, method: Method) -> bool:
        return agent_id in self.by_id and method is Method.SESSION

    def by_token(self, issuer: str, subject: str, claims: Mapping[str, object]) -> tuple[Agent, ...]:
        return ()

    def by_spiffe_id(self, spiffe_id: str, method: Method) -> tuple[Agent, ...]:
        return ()

    def by_process(self, uid: int, executable: str) -> tuple[Agent, ...]:
        return ()


class Tasks:
    """Tasks that can change."""

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self.by_id = {task.id: task for task in tasks}

    def get(self, task_id: str) -> Task | None:
        return self.by_id.get(task_id)

    def add(self, task: Task) -> Task:
        self.by_id[task.id] = task
        return task


class Family:
    """Agents, tasks, and the shortest way to hand a task on."""

    def __init__(self, *agents: Agent) -> None:
        self.agents = Agents(agents)
        self.tasks = Tasks()

    def begin(self, name: str, /, **changes) -> Task:
        """The root: a task of nobody's."""
        return self.tasks.add(make_task(manifest(name, **changes)))

    def child(self, parent: Task, name: str, /, **changes) -> Task:
        """A task below ``parent``, as wrong as ``changes`` make it."""
        same = {
            member: getattr(parent, member)
            for member in ("scopes", "services", "environment", "expires_at", "on_behalf_of")
        }
        below = {"parent": parent.id, "depth": parent.depth - 1, "approver": None}
        return self.tasks.add(make_task(manifest(name, **{**same, **below, **changes})))

    def swap(self, task: Task, **changes) -> Task:
        """Let the store have another state of this task."""
        return self.tasks.add(replace(task, **changes))

    def links(self, task: Task, now: int = NOW) -> tuple[Link, ...]:
        """The chain, which has to hold."""
        links = chain(task, self.tasks, self.agents, now)
        assert isinstance(links, tuple), links
        return links
