"""``rules/agents.yaml`` as it is written, read strictly; ``registry`` shows what it looks like.

What no entry shows alone: (1) an id stands once; (2) an SVID has a SPIFFE ID; (3) nobody proves to be an
agent with the SPIFFE ID of another; (4) no two entries under ``authenticate`` are the same; (5) none is
narrower than one of another agent, because whatever fitted it would fit both, and would be refused.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from proxy.identity.authenticate import Entry, Given, Model, SvidEntry
from proxy.identity.principal import Agent, Budgets, Ceiling
from proxy.identity.spiffe import SCHEME, flaw
from proxy.identity.ways import DEFAULT_WAYS, Way, Ways
from proxy.problems import KeyPath, LoadedYaml, Problem, load_yaml, problems_of

_PLAIN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MAX_BUDGET = 2**53 - 1  # what every JSON reader counts to (RFC 8785, section 3.2.2.3)


def _agent_id(value: str) -> str:
    if value.startswith(SCHEME):
        words = flaw(value)
        if words:
            raise ValueError(words)
    elif not _PLAIN_ID.fullmatch(value):
        raise ValueError("1 to 63 of a-z 0-9 . _ - beginning with a letter or digit, or a SPIFFE ID")
    return value


# pydantic matches in Rust, where ``$`` is the end of the text and never before a last newline.
Environment = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Tier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Words = Annotated[str, Field(pattern=r"^[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$", max_length=256)]
Scope = Annotated[str, Field(pattern=r"^[!#-\[\]-~]+$", max_length=256)]  # RFC 6749, section 3.3
ServiceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
Count = Annotated[int, Field(ge=0, le=_MAX_BUDGET)]


class BudgetsEntry(Model):
    """What is left out is no limit."""

    requests: Annotated[Count | None, Given] = None
    octets: Annotated[Count | None, Given] = None


class CeilingEntry(Model):
    """What is left out is no limit; an empty list is nothing at all."""

    scopes: Annotated[list[Scope] | None, Given] = None
    services: Annotated[list[ServiceName] | None, Given] = None
    budgets: BudgetsEntry = BudgetsEntry()

    def ceiling(self) -> Ceiling:
        """The value of the entry."""
        return Ceiling(
            scopes=None if self.scopes is None else tuple(self.scopes),
            services=None if self.services is None else tuple(self.services),
            budgets=Budgets(self.budgets.requests, self.budgets.octets),
        )


class StandingEntry(Model):
    """The task of an agent that names none: what it may use."""

    scopes: Annotated[list[Scope], Field(min_length=1)]


class AgentEntry(Model):
    """One agent. An owner may be left out, not be empty; without ``authenticate``: session and listener."""

    id: Annotated[str, AfterValidator(_agent_id)]
    environment: Environment
    tier: Tier
    business_owner: Annotated[Words | None, Given] = None
    data_owner: Annotated[Words | None, Given] = None
    purpose: Annotated[Words | None, Given] = None
    ceiling: CeilingEntry = CeilingEntry()
    standing: Annotated[StandingEntry | None, Given] = None
    authenticate: Annotated[list[Entry] | None, Given] = None

    def agent(self) -> Agent:
        """The value of the entry."""
        return Agent(
            id=self.id,
            environment=self.environment,
            tier=self.tier,
            business_owner=self.business_owner or "",
            data_owner=self.data_owner or "",
            purpose=self.purpose or "",
            ceiling=self.ceiling.ceiling(),
            standing=() if self.standing is None else tuple(sorted(set(self.standing.scopes))),
        )

    def ways(self) -> tuple[Way, ...]:
        """How the agent may prove who it is; an empty list is in no way at all."""
        if self.authenticate is None:
            return DEFAULT_WAYS
        return tuple(way for entry in self.authenticate if (way := entry.way(self.id)) is not None)


class _File(Model):
    agents: list[AgentEntry]


@dataclass(frozen=True, slots=True)
class AgentsFile:
    """A file without problems, and where everything in it stands."""

    entries: Sequence[AgentEntry]
    source: LoadedYaml


def parse_agents_file(data: bytes, file: str) -> AgentsFile | list[Problem]:
    """Read the file; ``file`` is only a name, for problems. Never raises."""
    loaded = load_yaml(data, file)
    if not isinstance(loaded, LoadedYaml):
        return loaded
    try:
        entries = _File.model_validate(loaded.data).agents
    except ValidationError as error:
        return problems_of(error, loaded)
    found = [*_ids(entries), *_conflicts(entries)]
    problems = [
        Problem(file, loaded.line(path), f"{'.'.join(map(str, path))}: {words}") for path, words in found
    ]
    return problems or AgentsFile(entries, loaded)


def _ids(entries: Sequence[AgentEntry]) -> Iterator[tuple[KeyPath, str]]:
    """(1)."""
    known: set[str] = set()
    for index, entry in enumerate(entries):
        if entry.id in known:
            yield ("agents", index, "id"), f"{entry.id} is already registered above"
        known.add(entry.id)


def _conflicts(entries: Sequence[AgentEntry]) -> Iterator[tuple[KeyPath, str]]:
    """(2) to (5)."""
    ids = {entry.id for entry in entries}
    first: dict[object, str] = {}
    places: list[tuple[KeyPath, str, Way]] = []
    for index, entry in enumerate(entries):
        for position, written in enumerate(entry.authenticate or ()):
            place: KeyPath = ("agents", index, "authenticate", position)
            way = written.way(entry.id)
            if way is None:
                yield place, f"name a SPIFFE ID: {entry.id} is none"
                continue
            if isinstance(written, SvidEntry) and written.id in ids - {entry.id}:
                yield (*place, "id"), f"{written.id} is another agent"
                continue
            key = way if way.facts else (way, entry.id)
            if key in first:
                yield place, f"the same entry stands above, under {first[key]}"
                continue
            first[key] = entry.id
            places.append((place, entry.id, way))
    index_of = Ways((agent, way) for _, agent, way in places)
    for place, agent, way in places:
        others = [other for other in index_of.fitting(way) if other != agent]
        if others:
            yield place, f"whatever fits this fits {', '.join(others)} too, and would be refused"
