"""The credential of a service, as its file declares it."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from proxy.credential.binding import (
    BasicSurface,
    Binding,
    EitherHeader,
    HeaderSurface,
    QuerySurface,
    Surface,
)
from proxy.policy.entry import Model

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]


class HeaderEntry(Model):
    """The credential stands in a header."""

    name: str = "Authorization"
    format: str = "Bearer {secret}"

    @model_validator(mode="after")
    def _fits(self) -> "HeaderEntry":
        self.surface()
        return self

    def surface(self) -> HeaderSurface:
        """What the entry declares."""
        return HeaderSurface(self.name, self.format)


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
    headers: list[HeaderEntry] | None = None  # any one of them
    basic: BasicEntry | None = None
    query: QueryEntry | None = None
    variables: list[Variable] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "CredentialEntry":
        places = (self.header, self.headers, self.basic, self.query)
        if sum(place is not None for place in places) > 1:
            raise ValueError("one place at most: header, headers, basic or query")
        if self.headers is not None:
            EitherHeader(tuple(entry.surface() for entry in self.headers))
        if self.provider == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.name) is None:
            raise ValueError("name must be the name of an environment variable")
        if self.provider == "file" and (not self.name.startswith("/") or "\0" in self.name):
            raise ValueError("name must be the absolute path of a file")
        return self

    def binding(self, service: str) -> Binding:
        """What the entry declares for ``service``."""
        surface: Surface = HeaderSurface()
        if self.header is not None:
            surface = self.header.surface()
        elif self.headers is not None:
            surface = EitherHeader(tuple(entry.surface() for entry in self.headers))
        elif self.basic is not None:
            surface = BasicSurface(self.basic.username, self.basic.where)
        elif self.query is not None:
            surface = QuerySurface(self.query.parameter)
        default = [self.name] if self.provider == "env" else []
        variables = default if self.variables is None else self.variables
        return Binding(service, self.provider, self.name, surface, tuple(variables))
