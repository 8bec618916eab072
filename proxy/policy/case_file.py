"""One file of ``rules/cases/``: what the rules have to say to some calls, read strictly.

::

    agents:                                # made up for the cases of this file, besides those of agents.yaml
      tester: {environment: development, tier: standard}
    cases:
      - name: an issue may be opened by whoever was given the scope
        agent: coder                       # one of agents.yaml, or of those above
        task: {scopes: [issues]}           # also purpose services environment on_behalf_of ticket ...
        request: {method: POST, url: "https://api.github.com/repos/o/r/issues", json: {title: x}}
        expect: allow                      # or deny, hold
        rule: github.issues                # one or a list: these must have spoken
        action: github.issues.create       # one or a list: what it is classified as
      - name: a tool that nobody has classed
        agent: coder
        mcp: {url: "https://mcp.example.org/mcp", tool: erase, arguments: {all: true}}
        expect: deny
        code: default_deny                 # a reason code

Instead of ``json`` a request may have ``form`` (names and values) or ``body`` (text), and ``headers`` and
``content_type``; instead of ``request`` or ``mcp`` stands ``graphql: {url, query, variables, operation}``.
``time`` (``"2026-01-31T12:00:00Z"`` or POSIX seconds), ``budgets: {NAME: used}`` and ``approved: true`` say
how the world is then; without them it is DEFAULT_TIME, nothing is used, and nobody has approved.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, ValidationError, field_validator, model_validator

from proxy.errors import Code
from proxy.http.message import Headers
from proxy.identity.principal import Agent
from proxy.policy.case_request import GraphqlEntry, Line, Lines, McpEntry, Model, RequestEntry
from proxy.problems import LoadedYaml, Problem, load_yaml, problems_of

DEFAULT_TIME = 1_767_225_600  # 2026-01-01T00:00:00Z
_MAX_TIME = 2**53 - 1


class Effect(StrEnum):
    """What becomes of a call."""

    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class CaseTask:
    """The task of a case. ``services`` None: all that rules allow; ``environment`` None: the agent's."""

    scopes: tuple[str, ...] = ()
    purpose: str = "a case"
    services: tuple[str, ...] | None = None
    on_behalf_of: str | None = None
    ticket: str | None = None
    approver: str | None = None
    environment: str | None = None
    delegated: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One case. ``headers`` are without Host and Content-Length; ``body`` None is no content at all.

    ``made_up`` is the agent itself, if its file made it up.
    """

    name: str
    file: str
    line: int | None
    agent: str
    made_up: Agent | None
    task: CaseTask
    method: str
    url: str
    headers: Headers
    body: bytes | None
    time: int
    budgets: Mapping[str, int]
    approved: bool
    expect: Effect
    rules: tuple[str, ...]
    actions: tuple[str, ...]
    code: Code | None


class _Agent(Model):
    environment: Line = "development"
    tier: Line = "standard"
    business_owner: Line = "owner@example.org"
    data_owner: Line = "owner@example.org"


class _Task(Model):
    scopes: list[Line] = Field(default_factory=list)
    purpose: Line = "a case"
    services: list[Line] | None = None
    on_behalf_of: Line | None = None
    ticket: Line | None = None
    approver: Line | None = None
    environment: Line | None = None
    delegated: bool = False

    def task(self) -> CaseTask:
        services = None if self.services is None else tuple(self.services)
        values = self.model_dump() | {"scopes": tuple(sorted(set(self.scopes))), "services": services}
        return CaseTask(**values)


class _Case(Model):
    name: Line
    agent: Line
    task: _Task = _Task()
    request: RequestEntry | None = None
    mcp: McpEntry | None = None
    graphql: GraphqlEntry | None = None
    time: int | str = DEFAULT_TIME
    budgets: dict[Line, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    approved: bool = False
    expect: str
    rule: Lines = Field(default_factory=list)
    action: Lines = Field(default_factory=list)
    code: str | None = None

    @field_validator("time")
    @classmethod
    def _moment(cls, value: int | str) -> int:
        return moment(value)

    @field_validator("expect")
    @classmethod
    def _effect(cls, value: str) -> str:
        if value not in set(Effect):
            raise ValueError(f"one of {', '.join(Effect)}")
        return value

    @field_validator("code")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in set(Code):
            raise ValueError(f"there is no reason code {value}")
        return value

    @model_validator(mode="after")
    def _whole(self) -> "_Case":
        if sum(part is not None for part in (self.request, self.mcp, self.graphql)) != 1:
            raise ValueError("one of request, mcp and graphql")
        self._what().sent()
        if self.code is not None and self.expect == Effect.ALLOW:
            raise ValueError("code: what is allowed has none")
        return self

    def _what(self) -> RequestEntry | McpEntry | GraphqlEntry:
        what = self.request or self.mcp or self.graphql
        assert what is not None, "the validator saw to it"
        return what

    def case(self, file: str, line: int | None, made_up: Mapping[str, Agent]) -> Case:
        sent = self._what().sent()
        return Case(
            name=self.name,
            file=file,
            line=line,
            agent=self.agent,
            made_up=made_up.get(self.agent),
            task=self.task.task(),
            method=sent.method,
            url=sent.url,
            headers=sent.headers,
            body=sent.body,
            time=moment(self.time),
            budgets=self.budgets,
            approved=self.approved,
            expect=Effect(self.expect),
            rules=_tuple(self.rule),
            actions=_tuple(self.action),
            code=None if self.code is None else Code(self.code),
        )


class _File(Model):
    agents: dict[Line, _Agent] = Field(default_factory=dict)
    cases: list[_Case]

    def made_up(self) -> dict[str, Agent]:
        return {name: Agent(name, **entry.model_dump()) for name, entry in self.agents.items()}


def moment(value: int | str) -> int:
    """POSIX seconds of a time that is written as such, or as ``2026-01-31T12:00:00Z`` (RFC 3339).

    :raises ValueError: if it is neither, or has no offset.
    """
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            read = None
        if read is None or read.tzinfo is None or "T" not in value:
            raise ValueError("a time is POSIX seconds, or looks like 2026-01-31T12:00:00Z")
        value = int(read.timestamp())
    if not 0 <= value <= _MAX_TIME:
        raise ValueError("a time is not before 1970")
    return value


def _tuple(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def parse_cases(data: bytes, file: str) -> list[Case] | list[Problem]:
    """Read one file of cases; ``file`` is only a name, for problems. Never raises."""
    loaded = load_yaml(data, file)
    if not isinstance(loaded, LoadedYaml):
        return loaded
    try:
        whole = _File.model_validate(loaded.data)
    except ValidationError as error:
        return problems_of(error, loaded)
    agents = whole.made_up()
    cases = [
        entry.case(file, loaded.line(("cases", index)), agents) for index, entry in enumerate(whole.cases)
    ]
    problems, seen = [], dict[str, int | None]()
    for case in cases:
        if case.name in seen:
            words = f"a case {case.name!r} stands already in line {seen[case.name]}"
            problems.append(Problem(file, case.line, words))
        seen.setdefault(case.name, case.line)
    return problems or cases
