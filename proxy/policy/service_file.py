"""One file of ``rules/services/``: an entry of the catalogue, read strictly."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from proxy.errors import Refusal
from proxy.http.canonical import DEFAULT_PORT, parse_host
from proxy.policy.budget_entry import BudgetEntry, BudgetName, ModelName, PriceEntry
from proxy.policy.catalogue import Sensitivity, Service
from proxy.policy.credential_entry import CredentialEntry
from proxy.policy.entry import Model
from proxy.policy.fact import Protocol
from proxy.policy.matching import Ambiguous, Endpoints
from proxy.policy.operation import Group
from proxy.policy.operation_entry import OperationEntry, OperationName
from proxy.policy.service_budget import Unit
from proxy.policy.template import Template, common, covers, more_specific, parse_template
from proxy.problems import KeyPath, LoadedYaml, Problem, load_yaml, problems_of

RESERVED = frozenset({*Group, "http", "gatepass"})  # names of groups, and what begins names of our own

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]
Environment = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=256)]
Spoken = Literal["rest", "mcp", "graphql", "grpc", "aws-query", "aws-json"]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_AWS = frozenset({Protocol.AWS_QUERY, Protocol.AWS_JSON})
_COUNTED = frozenset({Unit.TOKENS, Unit.COST})
Complaint = tuple[KeyPath, str]


class ServiceEntry(Model):
    """A whole file."""

    name: Name
    hosts: Annotated[list[str], Field(min_length=1)]
    schemes: list[Literal["http", "https"]] = Field(default=["https"], min_length=1)
    ports: Annotated[list[Annotated[int, Field(ge=1, le=65_535)]], Field(min_length=1)] | None = None
    owner: Words
    data_owner: Words
    sensitivity: Sensitivity
    environments: Annotated[list[Environment], Field(min_length=1)]
    protocol: Spoken = "rest"
    endpoints: dict[str, Spoken] = Field(default_factory=dict)
    operations: dict[OperationName, OperationEntry] = Field(default_factory=dict)
    persisted_queries: dict[Hash, str] = Field(default_factory=dict)
    budgets: Annotated[dict[BudgetName, BudgetEntry], Field(max_length=16)] = Field(default_factory=dict)
    prices: Annotated[dict[ModelName, PriceEntry], Field(max_length=256)] = Field(default_factory=dict)
    credential: CredentialEntry | None = None
    encoded_slash: bool = False

    @field_validator("name")
    @classmethod
    def _free(cls, value: str) -> str:
        if value in RESERVED:
            raise ValueError(f"{value} is a name of gatepass itself")
        return value

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: list[str]) -> list[str]:
        return [_host_pattern(host) for host in value]

    @field_validator("endpoints")
    @classmethod
    def _endpoints(cls, value: dict[str, Spoken]) -> dict[str, Spoken]:
        Endpoints(_templates(value), Protocol.REST)
        return value

    @property
    def protocols(self) -> frozenset[Protocol]:
        """Everything that is spoken somewhere at this service."""
        return frozenset(Protocol(name) for name in (self.protocol, *self.endpoints.values()))

    def complaints(self) -> Iterator[Complaint]:
        """What is wrong between the parts of the file, each of which reads."""
        if self.protocols >= _AWS:
            yield ("endpoints",), "a service speaks aws-query or aws-json, not both"
        for name, entry in self.operations.items():
            words = self._unspoken(entry)
            if words is not None:
                yield ("operations", name), words
        for digest, text in self.persisted_queries.items():
            if sha256(text.encode("utf-8")).hexdigest() != digest:
                yield ("persisted_queries", digest), "not the SHA-256 of this text"
        if self.persisted_queries and Protocol.GRAPHQL not in self.protocols:
            yield ("persisted_queries",), "graphql is not spoken here"
        counted = any(entry.llm for entry in self.operations.values())
        for name, budget in self.budgets.items():
            if budget.unit in _COUNTED and not counted:
                yield ("budgets", name), f"no operation has llm, so no {budget.unit} would ever be counted"
            elif budget.unit is Unit.COST and not self.prices:
                yield ("budgets", name), "a budget of cost needs prices"

    def _unspoken(self, entry: OperationEntry) -> str | None:
        """Why no request could ever be this operation, or None."""
        if entry.path is None:
            known = entry.spoken_in(self.protocols) is not None
            return None if known else f"{entry.kind} goes with a protocol that is not spoken here"
        template, endpoints = parse_template(entry.path), _templates(self.endpoints)
        rest = [path for path, spoken in endpoints if spoken is Protocol.REST and common(path, template)]
        for path, spoken in endpoints:
            if spoken is Protocol.REST or not covers(path, template):
                continue
            if not any(more_specific(other, path) for other in rest):
                return f"{spoken} is spoken at this path, not rest"
        default = Protocol(self.protocol)
        return None if rest or default is Protocol.REST else f"{default} is spoken at this path, not rest"

    def service(self) -> Service:
        """The entry as a service.

        :raises Ambiguous: if two operations match the same requests.
        """
        ports = self.ports or [DEFAULT_PORT[scheme] for scheme in self.schemes]
        return Service(
            name=self.name,
            hosts=tuple(self.hosts),
            schemes=tuple(self.schemes),
            ports=tuple(ports),
            owner=self.owner,
            data_owner=self.data_owner,
            sensitivity=self.sensitivity,
            environments=tuple(self.environments),
            operations=tuple(
                entry.operation(f"{self.name}.{name}", self.protocols)
                for name, entry in self.operations.items()
            ),
            credential=None if self.credential is None else self.credential.binding(self.name),
            encoded_slash=self.encoded_slash,
            protocol=Protocol(self.protocol),
            endpoints=_templates(self.endpoints),
            budgets=tuple(entry.budget(name) for name, entry in self.budgets.items()),
            prices=tuple(entry.price(model) for model, entry in self.prices.items()),
            persisted_queries=dict(self.persisted_queries),
        )


def _templates(endpoints: dict[str, Spoken]) -> tuple[tuple[Template, Protocol], ...]:
    return tuple((parse_template(text), Protocol(spoken)) for text, spoken in endpoints.items())


def _host_pattern(text: str) -> str:
    wild = text.startswith("*.")
    host = parse_host(text.removeprefix("*.").encode("utf-8"))
    if isinstance(host, Refusal):
        raise ValueError(host.detail)  # noqa: TRY004 - pydantic wants ValueError
    if str(host) != text.removeprefix("*."):
        raise ValueError(f"{text} is not canonical; write {host}")
    if wild and (host.kind.value != "name" or "." not in host.name):
        raise ValueError(f"{text}: a wildcard needs a domain of two labels or more below it")
    return f"*.{host.name}" if wild else host.name


def parse_service(data: bytes, file: str) -> Service | list[Problem]:
    """Read one service file. ``file`` is only a name, for problems. Never raises."""
    loaded = load_yaml(data, file)
    if not isinstance(loaded, LoadedYaml):
        return loaded
    try:
        entry = ServiceEntry.model_validate(loaded.data)
        complaints = list(entry.complaints())
        if not complaints:
            return entry.service()
    except ValidationError as error:
        return problems_of(error, loaded)
    except Ambiguous as error:
        name = error.operations[1].id.partition(".")[2]
        complaints = [(("operations", name), str(error))]
    return [
        Problem(file, loaded.line(path), f"{'.'.join(map(str, path))}: {words}") for path, words in complaints
    ]
