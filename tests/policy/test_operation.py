import pytest

from proxy.policy.fact import Dialect, FactField, FactType, Place, Protocol, Selector
from proxy.policy.needs import FACTS
from proxy.policy.operation import UNCATALOGUED, Group, Operation, by_method
from proxy.policy.template import parse_template


@pytest.mark.parametrize(
    ("method", "action"),
    [("GET", "read"), ("HEAD", "read"), ("OPTIONS", "read"), ("POST", "write"), ("PUT", "write"), ("PATCH", "write"),
     ("DELETE", "delete"), ("PROPFIND", "admin"), ("get", "admin"), ("", "admin")],
)  # fmt: skip
def test_http_itself_classes_what_is_not_catalogued(method, action):
    assert by_method(method).id == f"http.{action}"
    assert by_method(method).group == action
    assert by_method(method) in UNCATALOGUED


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        ({"template": parse_template("/a")}, set()),
        ({"template": parse_template("/a/{x}")}, {"path"}),
        ({"template": parse_template("/a"), "llm": Dialect.OPENAI}, {"llm"}),
        ({"facts": (FactField(Place.BODY, ("a",), FactType.LONG, required=True),)}, {"body"}),
        ({"selector": Selector(Protocol.MCP, "tool:x")}, {"mcp"}),
        ({"selector": Selector(Protocol.GRAPHQL, "query.x")}, {"graphql"}),
        ({"selector": Selector(Protocol.GRPC, "a.B/C")}, {"grpc"}),
        ({"selector": Selector(Protocol.AWS_QUERY, "X")}, {"aws"}),
        ({"selector": Selector(Protocol.AWS_JSON, "A.X")}, {"aws"}),
    ],
)
def test_an_operation_knows_which_facts_it_has(given, groups):
    assert Operation("s.o", Group.READ, **given).fact_groups == groups
    assert groups <= FACTS
