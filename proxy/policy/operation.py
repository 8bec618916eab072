"""What a request does: the operation of a service, or what its method says (RFC 9110, section 9)."""

from dataclasses import dataclass, field
from enum import StrEnum

from proxy.policy.fact import Condition, Dialect, FactField, Protocol, Selector
from proxy.policy.template import Template


class Group(StrEnum):
    """The four groups of actions that rules can name."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"


OF_METHOD = {
    "GET": Group.READ,
    "HEAD": Group.READ,
    "OPTIONS": Group.READ,
    "POST": Group.WRITE,
    "PUT": Group.WRITE,
    "PATCH": Group.WRITE,
    "DELETE": Group.DELETE,
}

_GROUP_OF_PROTOCOL = {
    Protocol.MCP: "mcp",
    Protocol.GRAPHQL: "graphql",
    Protocol.GRPC: "grpc",
    Protocol.AWS_QUERY: "aws",
    Protocol.AWS_JSON: "aws",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing a service does. ``id`` is what rules and records call it: ``service.operation``.

    It is named by ``methods`` and ``template``, or by ``selector`` where something else than REST is
    spoken; ``when`` narrows it further. ``facts`` are the fields that rules may read, ``llm`` says that it
    is a call to a language model. A built-in operation has no template; its selector, if any, has the
    pattern "". ``fact_groups`` are the members of ``context.facts`` that the action has.
    """

    id: str
    group: Group
    methods: tuple[str, ...] = ()
    template: Template | None = None
    selector: Selector | None = None
    when: tuple[Condition, ...] = ()
    facts: tuple[FactField, ...] = ()
    llm: Dialect | None = None
    fact_groups: frozenset[str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        groups = {fact.place.value for fact in self.facts}
        if self.template is not None and self.template.parameters:
            groups.add("path")
        if self.selector is not None:
            groups.add(_GROUP_OF_PROTOCOL[self.selector.protocol])
        if self.llm is not None:
            groups.add("llm")
        object.__setattr__(self, "fact_groups", frozenset(groups))


_BY_GROUP = {group: Operation(f"http.{group}", group) for group in Group}
UNCATALOGUED = tuple(_BY_GROUP.values())


def by_method(method: str) -> Operation:
    """What a method does as far as HTTP itself says. A method HTTP does not class is ``http.admin``."""
    return _BY_GROUP[OF_METHOD.get(method, Group.ADMIN)]
