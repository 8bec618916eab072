"""What rules may know of the content of a call: how a service is spoken to, and which fields it declares.

Values only. A service's file declares them (``service_file``), ``classify`` reads them out of a call,
``schema`` types them for Cedar as ``context.facts``.
"""

from dataclasses import dataclass
from enum import StrEnum


class Protocol(StrEnum):
    """What is spoken at a path of a service."""

    REST = "rest"
    MCP = "mcp"  # Model Context Protocol, streamable HTTP
    GRAPHQL = "graphql"
    GRPC = "grpc"
    AWS_QUERY = "aws-query"  # Action=... in a form
    AWS_JSON = "aws-json"  # X-Amz-Target


class FactType(StrEnum):
    """The type of a declared field; what has another type in a call is refused, never converted."""

    STRING = "string"
    LONG = "long"
    BOOL = "bool"
    STRINGS = "[string]"


class Place(StrEnum):
    """Where a declared field stands; also the name of its group under ``context.facts``."""

    QUERY = "query"  # a parameter of the URL
    BODY = "body"  # the JSON (or form) content
    INPUT = "input"  # the arguments of an MCP tool, or of a GraphQL root field


@dataclass(frozen=True, slots=True)
class FactField:
    """One declared field: ``path`` are the names of nested objects, the field's own last."""

    place: Place
    path: tuple[str, ...]
    type: FactType
    required: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """What a call must hold to be an operation: a field with one of ``values``; empty: it is there at all.

    ``place`` is QUERY or BODY. Values are compared as strings; a JSON number or bool by its JSON text.
    """

    place: Place
    path: tuple[str, ...]
    values: tuple[str, ...]


class Dialect(StrEnum):
    """Whose request and answer format a call to a language model has."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class Selector:
    """What names an operation where method and path do not: exact, or a prefix if it ends with ``*``.

    MCP: ``tool:NAME`` or ``rpc:METHOD``; GraphQL: ``query.FIELD``, ``mutation.FIELD``,
    ``subscription.FIELD``; gRPC: ``package.Service/Method``; AWS: the action, for AWS_JSON the whole
    target (``DynamoDB_20120810.GetItem``).
    """

    protocol: Protocol
    pattern: str
