"""The operations that the catalogue makes itself: what a service's file does not name.

Every service has ``SERVICE.http.GROUP`` for what no REST operation matches; where something else than
REST is spoken, that protocol's own come on top. What nobody has classed is ``admin``.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from proxy.policy.fact import Protocol, Selector
from proxy.policy.operation import Group, Operation

RESERVED = ("http.", "mcp.", "graphql.", "grpc.", "aws.")  # how no declared operation's name may begin

_AWS = {"aws.call": Group.ADMIN}
_NAMES: Mapping[Protocol, Mapping[str, Group]] = {
    Protocol.REST: {f"http.{group}": group for group in Group},
    Protocol.MCP: {
        "mcp.session": Group.READ,  # initialize, ping, notifications, and the session's GET and DELETE
        "mcp.list": Group.READ,
        "mcp.read": Group.READ,  # resources and prompts
        "mcp.reply": Group.WRITE,  # a response that the client sends
        "mcp.call": Group.ADMIN,  # a tool that no operation names
        "mcp.other": Group.ADMIN,
    },
    Protocol.GRAPHQL: {
        "graphql.query": Group.READ,
        "graphql.mutation": Group.WRITE,
        "graphql.subscription": Group.READ,
    },
    Protocol.GRPC: {"grpc.call": Group.ADMIN},
    Protocol.AWS_QUERY: _AWS,
    Protocol.AWS_JSON: _AWS,
}


def builtin_operations(service: str, protocols: Iterable[Protocol]) -> Mapping[str, Operation]:
    """The built-in operations of a service by their names without the service's: ``mcp.session``."""
    found: dict[str, Operation] = {}
    for protocol in sorted({Protocol.REST, *protocols}, key=tuple(Protocol).index):
        selector = None if protocol is Protocol.REST else Selector(protocol, "")
        for name, group in _NAMES[protocol].items():
            found[name] = Operation(f"{service}.{name}", group, selector=selector)
    return MappingProxyType(found)
