"""One operation of a service, as the service's file declares it."""

import re
from collections.abc import Set as AbstractSet
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from proxy.policy.builtin_operations import RESERVED
from proxy.policy.entry import Model
from proxy.policy.fact import Dialect, Place, Protocol, Selector
from proxy.policy.fact_entry import FactsEntry, WhenEntry
from proxy.policy.operation import OF_METHOD, Group, Operation
from proxy.policy.template import parse_template

_METHOD = re.compile(r"[A-Z]{3,16}")
_MAX_PATTERN = 256
_CALL = "tools/call"
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_SELECTORS: dict[str, tuple[re.Pattern[str], str]] = {
    "tool": (re.compile(r"[!-)+-~]+\*?|\*"), "the name of a tool"),
    "rpc": (re.compile(r"[A-Za-z0-9_$./-]+\*?|\*"), "a JSON-RPC method, such as resources/read"),
    "graphql": (
        re.compile(rf"(?:query|mutation|subscription)\.(?:{_WORD}\*?|\*)"),
        "a root field, such as query.viewer, mutation.addStar or subscription.events",
    ),
    "grpc": (
        re.compile(rf"{_WORD}(?:\.{_WORD})*(?:/{_WORD}|/(?:{_WORD})?\*|\.?\*)|\*"),
        "a method, such as shop.v1.Cart/Pay",
    ),
    "aws": (
        re.compile(rf"{_WORD}(?:\.(?:[A-Za-z0-9]+\*?|\*)|\*)?|\*"),
        "an action, such as GetCallerIdentity, or a target, such as DynamoDB_20120810.GetItem",
    ),
}
_PLACES: dict[str, frozenset[Place]] = {
    "path": frozenset({Place.QUERY, Place.BODY}),
    "aws": frozenset({Place.QUERY, Place.BODY}),
    "tool": frozenset({Place.INPUT}),
    "graphql": frozenset({Place.INPUT}),
}
_SPOKEN = {
    "path": frozenset({Protocol.REST}),
    "tool": frozenset({Protocol.MCP}),
    "rpc": frozenset({Protocol.MCP}),
    "graphql": frozenset({Protocol.GRAPHQL}),
    "grpc": frozenset({Protocol.GRPC}),
    "aws": frozenset({Protocol.AWS_QUERY, Protocol.AWS_JSON}),
}


def _free(value: str) -> str:
    taken = next((prefix for prefix in RESERVED if value.startswith(prefix)), None)
    if taken is not None:
        raise ValueError(f"names that start with {taken} are those of built-in operations")
    return value


OperationName = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+){0,7}$", max_length=128), AfterValidator(_free)
]


class OperationEntry(Model):
    """One operation. ``method`` is one or a list; GET includes HEAD."""

    group: Literal["read", "write", "delete", "admin"]
    method: str | list[str] | None = None
    path: str | None = None
    tool: str | None = None
    rpc: str | None = None
    graphql: str | None = None
    grpc: str | None = None
    aws: str | None = None
    when: WhenEntry | None = None
    facts: FactsEntry | None = None
    llm: Literal["openai", "anthropic"] | None = None

    @field_validator("method")
    @classmethod
    def _methods(cls, value: str | list[str] | None) -> str | list[str] | None:
        methods = [value] if isinstance(value, str) else value
        if not methods or any(_METHOD.fullmatch(method) is None for method in methods):
            raise ValueError(f"one or more methods in capitals, such as {', '.join(OF_METHOD)}")
        return methods

    @field_validator("path")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        return None if value is None else parse_template(value).text

    @model_validator(mode="after")
    def _one_selector(self) -> "OperationEntry":
        if len(self._given()) != 1 or (self.method is None) != (self.path is None):
            raise ValueError(f"exactly one of method with path, {', '.join(_SELECTORS)}")
        kind = self.kind
        if kind != "path":
            self._check_pattern(kind)
            odd = next((name for name in ("when", "llm") if getattr(self, name) is not None), None)
            if odd is not None:
                raise ValueError(f"{odd} goes with method and path only")
        for place in self.facts.given() if self.facts is not None else ():
            if place not in _PLACES.get(kind, frozenset()):
                raise ValueError(f"facts of {kind} cannot stand in {place}")
        return self

    def _given(self) -> list[tuple[str, str]]:
        given = {"path": self.path or self.method, **{name: getattr(self, name) for name in _SELECTORS}}
        return [(name, value) for name, value in given.items() if value is not None]

    def _check_pattern(self, kind: str) -> None:
        grammar, words = _SELECTORS[kind]
        value = self._given()[0][1]
        if grammar.fullmatch(value) is None or len(value) > _MAX_PATTERN:
            raise ValueError(f"{kind}: {words}; a prefix ends with *")
        if kind == "rpc" and value == _CALL:
            raise ValueError(f"rpc: what {_CALL} does is said by its tool; name it with tool")

    @property
    def kind(self) -> str:
        """Which selector is used: ``path`` or one of the others."""
        return self._given()[0][0]

    def spoken_in(self, protocols: AbstractSet[Protocol]) -> Protocol | None:
        """The one of the protocols that the operation belongs to, or None."""
        return next(iter(_SPOKEN[self.kind] & protocols), None)

    def operation(self, name: str, protocols: AbstractSet[Protocol]) -> Operation:
        """The entry as the operation with the id ``name`` of a service that speaks ``protocols``."""
        protocol, (kind, pattern) = self.spoken_in(protocols), self._given()[0]
        assert protocol is not None, "checked before"
        words = f"{kind}:{pattern}" if protocol is Protocol.MCP else pattern
        return Operation(
            name,
            Group(self.group),
            methods=tuple(self.method or ()),
            template=None if self.path is None else parse_template(self.path),
            selector=None if protocol is Protocol.REST else Selector(protocol, words),
            when=() if self.when is None else self.when.conditions(),
            facts=() if self.facts is None else self.facts.fields(),
            llm=None if self.llm is None else Dialect(self.llm),
        )
