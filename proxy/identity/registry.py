"""The registry of agents: ``rules/agents.yaml``.

::

    agents:
      - id: coder                  # or a SPIFFE ID: spiffe://example.org/agents/coder
        environment: development
        tier: low
        business_owner: ada@example.org
        data_owner: grace@example.org
        purpose: fixes issues      # optional

An agent without a business owner and a data owner is not registered: somebody answers for each.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from proxy.identity.principal import Agent
from proxy.identity.spiffe import SCHEME, flaw
from proxy.problems import LoadedYaml, Problem, load_yaml, problems_of

_PLAIN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

# pydantic matches in Rust, where ``$`` is the end of the text and never before a last newline.
Environment = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Tier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,256}$")]


class _Model(BaseModel):
    """Unknown keys are errors, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _AgentEntry(_Model):
    id: str
    environment: Environment
    tier: Tier
    business_owner: Words
    data_owner: Words
    purpose: Words | None = None

    @field_validator("id")
    @classmethod
    def _id(cls, value: str) -> str:
        if value.startswith(SCHEME):
            words = flaw(value)
            if words:
                raise ValueError(words)
        elif not _PLAIN_ID.fullmatch(value):
            raise ValueError("1 to 63 of a-z 0-9 . _ - beginning with a letter or digit, or a SPIFFE ID")
        return value

    def agent(self) -> Agent:
        return Agent(
            id=self.id,
            environment=self.environment,
            tier=self.tier,
            business_owner=self.business_owner,
            data_owner=self.data_owner,
            purpose=self.purpose or "",
        )


class _AgentsFile(_Model):
    agents: list[_AgentEntry]


class Registry:
    """All registered agents, in the order of the file. Implements ``attribution.KnownAgents``."""

    __slots__ = ("_agents",)

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._agents = {agent.id: agent for agent in agents}

    @classmethod
    def of(cls, agents: Iterable[Agent]) -> Self:
        """The registry of these agents; of two with one id the last counts."""
        return cls(agents)

    def get(self, agent_id: str) -> Agent | None:
        """The agent with this id, or None."""
        return self._agents.get(agent_id)

    def sole(self) -> Agent | None:
        """The agent, if there is exactly one."""
        return next(iter(self._agents.values())) if len(self._agents) == 1 else None

    def __iter__(self) -> Iterator[Agent]:
        return iter(self._agents.values())

    def __len__(self) -> int:
        return len(self._agents)


def parse_agents(data: bytes, file: str) -> Registry | list[Problem]:
    """Read ``agents.yaml``; ``file`` is only a name, for problems. Never raises."""
    loaded = load_yaml(data, file)
    if not isinstance(loaded, LoadedYaml):
        return loaded
    try:
        entries = _AgentsFile.model_validate(loaded.data).agents
    except ValidationError as error:
        return problems_of(error, loaded)
    agents: dict[str, Agent] = {}
    problems = []
    for index, entry in enumerate(entries):
        if entry.id in agents:
            line = loaded.line(("agents", index, "id"))
            problems.append(Problem(file, line, f"agents.{index}.id: {entry.id} is already registered above"))
        agents[entry.id] = entry.agent()
    return problems or Registry(agents.values())
