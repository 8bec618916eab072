"""One file of ``rules/services/``: an entry of the catalogue, read strictly."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from proxy.credential.binding import BasicSurface, Binding, HeaderSurface, QuerySurface, Surface
from proxy.errors import Refusal
from proxy.http.canonical import DEFAULT_PORT, parse_host
from proxy.policy.catalogue import Sensitivity, Service
from proxy.policy.operation import OF_METHOD, Group, Operation
from proxy.policy.template import parse_template
from proxy.problems import LoadedYaml, Problem, load_yaml, problems_of

RESERVED = frozenset({"http", "gatepass"})  # they begin the names of actions and rules of our own

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
OperationName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+){0,7}$", max_length=128)]
Environment = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=256)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
_METHOD = re.compile(r"[A-Z]{3,16}")


class Model(BaseModel):
    """Unknown keys are errors, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class OperationEntry(Model):
    """One operation. ``method`` is one or a list; GET includes HEAD."""

    group: Literal["read", "write", "delete", "admin"]
    method: str | list[str]
    path: str

    @field_validator("method")
    @classmethod
    def _methods(cls, value: str | list[str]) -> str | list[str]:
        methods = [value] if isinstance(value, str) else value
        if not methods or any(_METHOD.fullmatch(method) is None for method in methods):
            raise ValueError(f"one or more methods in capitals, such as {', '.join(OF_METHOD)}")
        return methods

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        return parse_template(value).text


class HeaderEntry(Model):
    """The credential stands in a header."""

    name: str = "Authorization"
    format: str = "Bearer {secret}"

    @model_validator(mode="after")
    def _fits(self) -> "HeaderEntry":
        HeaderSurface(self.name, self.format)
        return self


class BasicEntry(Model):
    """The credential is one half of ``Authorization: Basic``."""

    username: str | None = None
    where: Literal["password", "username"] = "password"

    @model_validator(mode="after")
    def _fits(self) -> "BasicEntry":
        BasicSurface(self.username, self.where)
        return self


class QueryEntry(Model):
    """The credential is the value of a query parameter."""

    parameter: Annotated[str, Field(min_length=1, max_length=128)]


class CredentialEntry(Model):
    """Where the credential comes from and where it stands; without a place: ``header``."""

    provider: Literal["env", "file"]
    name: str
    header: HeaderEntry | None = None
    basic: BasicEntry | None = None
    query: QueryEntry | None = None
    variables: list[Variable] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "CredentialEntry":
        if sum(place is not None for place in (self.header, self.basic, self.query)) > 1:
            raise ValueError("one place at most: header, basic or query")
        if self.provider == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name) is None:
            raise ValueError("name must be the name of an environment variable")
        if self.provider == "file" and (not self.name.startswith("/") or "\0" in self.name):
            raise ValueError("name must be the absolute path of a file")
        return self

    def binding(self, service: str) -> Binding:
        """What the entry declares for ``service``."""
        surface: Surface = HeaderSurface()
        if self.header is not None:
            surface = HeaderSurface(self.header.name, self.header.format)
        elif self.basic is not None:
            surface = BasicSurface(self.basic.username, self.basic.where)
        elif self.query is not None:
            surface = QuerySurface(self.query.parameter)
        default = [self.name] if self.provider == "env" else []
        variables = default if self.variables is None else self.variables
        return Binding(service, self.provider, self.name, surface, tuple(variables))


class ServiceEntry(Model):
    """A whole file."""

    name: Name
    hosts: Annotated[list[str], Field(min_length=1)]
    schemes: Annotated[list[Literal["http", "https"]], Field(min_length=1)] = ["https"]
    ports: Annotated[list[Annotated[int, Field(ge=1, le=65_535)]], Field(min_length=1)] | None = None
    owner: Words
    data_owner: Words
    sensitivity: Sensitivity
    environments: Annotated[list[Environment], Field(min_length=1)]
    operations: dict[OperationName, OperationEntry] = {}
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

    def service(self) -> Service:
        """The entry as a service.

        :raises ValueError: if two operations are ambiguous.
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
                Operation(
                    f"{self.name}.{name}", Group(entry.group), tuple(entry.method), parse_template(entry.path)
                )
                for name, entry in self.operations.items()
            ),
            credential=None if self.credential is None else self.credential.binding(self.name),
            encoded_slash=self.encoded_slash,
        )


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
        return ServiceEntry.model_validate(loaded.data).service()
    except ValidationError as error:
        return problems_of(error, loaded)
    except ValueError as error:
        return [Problem(file, loaded.line(("operations",)), str(error))]
