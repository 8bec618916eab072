import pytest

from proxy.policy.builtin_operations import RESERVED, builtin_operations
from proxy.policy.fact import Protocol
from tests.policy.worlds_catalogue import BARE, parsed

HTTP = {"http.read": "read", "http.write": "write", "http.delete": "delete", "http.admin": "admin"}


@pytest.mark.parametrize(
    ("protocol", "names"),
    [
        (Protocol.REST, {}),
        (Protocol.MCP, {"mcp.session": "read", "mcp.list": "read", "mcp.read": "read", "mcp.reply": "write",
                        "mcp.call": "admin", "mcp.other": "admin"}),
        (Protocol.GRAPHQL, {"graphql.query": "read", "graphql.mutation": "write", "graphql.subscription": "read"}),
        (Protocol.GRPC, {"grpc.call": "admin"}),
        (Protocol.AWS_QUERY, {"aws.call": "admin"}),
        (Protocol.AWS_JSON, {"aws.call": "admin"}),
    ],
)  # fmt: skip
def test_each_protocol_has_its_own(protocol, names):
    found = builtin_operations("s", [protocol])
    assert {name: operation.group.value for name, operation in found.items()} == HTTP | names
    assert all(operation.id == f"s.{name}" for name, operation in found.items())
    assert all(name.startswith(RESERVED) for name in found)
    assert all(found[name].fact_groups == {name.partition(".")[0]} for name in names)
    assert not any(found[name].fact_groups for name in HTTP)


def test_a_service_offers_those_it_speaks():
    service = parsed(BARE + "protocol: mcp\n")
    assert service.builtin("mcp.session").id == "api.mcp.session"
    assert service.by_method("PUT") is service.builtin("http.write")
    with pytest.raises(KeyError):
        service.builtin("grpc.call")
