"""The registry of agents: ``rules/agents.yaml``.

::

    agents:
      - id: coder                  # or a SPIFFE ID: spiffe://example.org/agents/coder
        environment: production    # development, staging, production or one of your own
        tier: standard
        business_owner: ada@example.org
        data_owner: grace@example.org
        purpose: fixes issues      # optional
        ceiling:                   # what a task of it may use at most; optional, and so is each part
          scopes: [issues:read]
          services: [github]
          budgets: {requests: 1000, octets: 100000000}
        authenticate:              # see ``authenticate``; without it: session and listener
          - method: session

A part of the ceiling that is left out is no limit; one that is there and empty is nothing at all. An
agent that nobody answers for is registered all the same: ``gaps`` lists it, and where somebody has to
answer its calls are refused.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from proxy.identity import ways
from proxy.identity.agents_file import AgentsFile, parse_agents_file
from proxy.identity.principal import Agent, Method
from proxy.identity.ways import DEFAULT_WAYS, EXTERNAL, Way, Ways
from proxy.problems import KeyPath, LoadedYaml, Problem

_NO_FILE = LoadedYaml("agents.yaml", None, {})


class Registry:
    """All registered agents, in the order of the file. Implements ``known.KnownAgents``.

    ``authenticate`` says how each agent may prove who it is; whoever is not in it: ``DEFAULT_WAYS``.
    ``source`` is the file, for the lines of problems.
    """

    __slots__ = ("_agents", "_entries", "_index", "_position", "_source")

    def __init__(
        self,
        agents: Iterable[Agent],
        authenticate: Mapping[str, Sequence[Way]] | None = None,
        source: LoadedYaml = _NO_FILE,
    ) -> None:
        self._agents = {agent.id: agent for agent in agents}
        given = authenticate or {}
        self._entries = {name: tuple(given.get(name, DEFAULT_WAYS)) for name in self._agents}
        self._index = Ways((name, way) for name, entries in self._entries.items() for way in entries)
        self._position = {name: position for position, name in enumerate(self._agents)}
        self._source = source

    @classmethod
    def of(cls, agents: Iterable[Agent], authenticate: Mapping[str, Sequence[Way]] | None = None) -> Self:
        """The registry of these agents; of two with one id the last counts."""
        return cls(agents, authenticate)

    def get(self, agent_id: str) -> Agent | None:
        """The agent with this id, or None."""
        return self._agents.get(agent_id)

    def sole(self) -> Agent | None:
        """The agent, if there is exactly one."""
        return next(iter(self._agents.values())) if len(self._agents) == 1 else None

    def ways(self, agent_id: str) -> tuple[Way, ...]:
        """How the agent may prove who it is, in the order of the file; empty if it is not registered."""
        return self._entries.get(agent_id, ())

    def may_use(self, agent_id: str, method: Method) -> bool:
        """Whether the agent's entry lists this method (absent: session tokens and listeners)."""
        return any(way.method is method for way in self.ways(agent_id))

    def external(self, agent_id: str) -> bool:
        """Whether the agent may prove who it is without a token of ours: it needs a standing task."""
        return any(way.method in EXTERNAL for way in self.ways(agent_id))

    def by_token(self, issuer: str, subject: str, claims: Mapping[str, object]) -> tuple[Agent, ...]:
        """Agents whose entry fits a token of the issuer with this *name*; more than one is a conflict."""
        return self._fitting(ways.token(issuer, subject, claims))

    def by_spiffe_id(self, spiffe_id: str, method: Method) -> tuple[Agent, ...]:
        """Agents that this SPIFFE ID stands for, with ``JWT_SVID`` or ``X509_SVID``."""
        return self._fitting(ways.svid(spiffe_id, method))

    def by_process(self, uid: int, executable: str) -> tuple[Agent, ...]:
        """Agents whose entry fits the peer of a Unix socket; ``executable`` is "" where it is not known."""
        return self._fitting(ways.process(uid, executable))

    def _fitting(self, shown: Way) -> tuple[Agent, ...]:
        return tuple(self._agents[name] for name in self._index.fitting(shown))

    def problem(self, agent_id: str, path: KeyPath, words: str) -> Problem:
        """A problem with the entry of a registered agent, at the line of ``path`` in it."""
        whole = ("agents", self._position[agent_id], *path)
        line = self._source.line(whole) if self._source.lines else None
        return Problem(self._source.file, line, f"{'.'.join(map(str, whole))}: {words}")

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)


def parse_agents(data: bytes, file: str) -> Registry | list[Problem]:
    """Read ``agents.yaml``; ``file`` is only a name, for problems. Never raises."""
    read = parse_agents_file(data, file)
    if not isinstance(read, AgentsFile):
        return read
    entries = read.entries
    authenticate = {entry.id: entry.ways() for entry in entries}
    return Registry((entry.agent() for entry in entries), authenticate, read.source)
