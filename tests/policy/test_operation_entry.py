import pytest

from proxy.policy.fact import Condition, Dialect, FactField, FactType, Place, Protocol, Selector
from proxy.policy.service_file import parse_service
from tests.policy.worlds_catalogue import BARE, FULL, parsed


def named(service, name):
    return next(operation for operation in service.operations if operation.id == f"api.{name}")


def problem(text):
    problems = parse_service(text.encode(), "services/api.yaml")
    assert isinstance(problems, list)
    assert len(problems) == 1, problems
    return problems[0]


def test_conditions_and_facts_of_a_rest_operation():
    close = named(parsed(FULL), "issues.close")
    assert close.methods == ("PATCH", "POST")
    assert close.when == (
        Condition(Place.QUERY, ("state",), ("open", "all")),
        Condition(Place.QUERY, ("acl",), ()),
        Condition(Place.BODY, ("action",), ("close",)),
        Condition(Place.BODY, ("a", "b"), ("x", "1", "true")),
    )
    assert close.facts == (
        FactField(Place.QUERY, ("state",), FactType.STRING, required=False),
        FactField(Place.QUERY, ("f[x]",), FactType.STRING, required=True),
        FactField(Place.QUERY, ("in",), FactType.LONG, required=True),
        FactField(Place.BODY, ("title",), FactType.STRING, required=True),
        FactField(Place.BODY, ("milestone",), FactType.LONG, required=False),
        FactField(Place.BODY, ("user", "login"), FactType.STRING, required=True),
        FactField(Place.BODY, ("user", "name"), FactType.STRING, required=False),
        FactField(Place.BODY, ("labels",), FactType.STRINGS, required=True),
    )


@pytest.mark.parametrize(
    ("name", "selector"),
    [
        ("viewer.read", Selector(Protocol.GRAPHQL, "query.viewer")),
        ("search", Selector(Protocol.MCP, "tool:search_issues")),
        ("docs.read", Selector(Protocol.MCP, "rpc:resources/*")),
        ("pay", Selector(Protocol.GRPC, "shop.v1.Cart/Pay")),
        ("items", Selector(Protocol.AWS_JSON, "DynamoDB_20120810.Get*")),
    ],
)
def test_each_selector(name, selector):
    assert named(parsed(FULL), name).selector == selector


def test_an_action_of_aws_belongs_to_the_protocol_that_is_spoken():
    service = parsed(
        BARE + "protocol: aws-query\noperations:\n  who: {group: read, aws: GetCallerIdentity}\n"
    )
    assert named(service, "who").selector == Selector(Protocol.AWS_QUERY, "GetCallerIdentity")


def test_a_call_to_a_language_model():
    assert named(parsed(FULL), "chat").llm is Dialect.OPENAI


def test_a_query_parameter_with_dots_is_one_name():
    text = BARE + 'operations:\n  a: {group: read, method: GET, path: /, facts: {query: {"a.b": long}}}\n'
    assert named(parsed(text), "a").facts[0].path == ("a.b",)


REST = "group: read, method: GET, path: /"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{group: read}", "exactly one of method with path, tool, rpc, graphql, grpc, aws"),
        ("{group: read, method: GET}", "exactly one of"),
        ("{group: read, path: /}", "exactly one of"),
        ("{group: read, method: GET, tool: x}", "exactly one of"),
        ("{group: read, tool: x, rpc: y}", "exactly one of"),
        (f"{{{REST}, tool: x}}", "exactly one of"),
        ("{group: read, tool: 'a b'}", "tool: the name of a tool"),
        ("{group: read, tool: 'a*b'}", "tool: the name of a tool"),
        ("{group: read, tool: ''}", "tool: the name of a tool"),
        (f"{{group: read, tool: {'x' * 257}}}", "tool: the name of a tool"),
        ("{group: read, rpc: 'a b'}", "rpc: a JSON-RPC method"),
        ("{group: read, rpc: tools/call}", "name it with tool"),
        ("{group: read, graphql: viewer}", "graphql: a root field"),
        ("{group: read, graphql: 'query.'}", "graphql: a root field"),
        ("{group: read, graphql: query.a.b}", "graphql: a root field"),
        ("{group: read, grpc: shop.v1.Cart}", "grpc: a method"),
        ("{group: read, grpc: /shop.v1.Cart/Pay}", "grpc: a method"),
        ("{group: read, aws: 'Get Item'}", "aws: an action"),
        ("{group: read, aws: A.B.C}", "aws: an action"),
        ("{group: read, tool: x, when: {query: {a: b}}}", "when goes with method and path only"),
        ("{group: read, tool: x, llm: openai}", "llm goes with method and path only"),
        ("{group: read, tool: x, facts: {body: {a: long}}}", "facts of tool cannot stand in body"),
        ("{group: read, rpc: x, facts: {input: {a: long}}}", "facts of rpc cannot stand in input"),
        (f"{{{REST}, facts: {{input: {{a: long}}}}}}", "facts of path cannot stand in input"),
        (f"{{{REST}, llm: gemini}}", "a.llm"),
        (f"{{{REST}, when: {{}}}}", "no condition"),
        (f"{{{REST}, when: {{query: {{}}}}}}", "a.when.query"),
        (f"{{{REST}, when: {{query: {{a: []}}}}}}", "a.when.query.a: a list of no values is never met"),
        (f"{{{REST}, when: {{query: {{a: 1.5}}}}}}", "a.when.query.a: a string, a whole number"),
        (f"{{{REST}, when: {{query: {{a: [~]}}}}}}", "a.when.query.a: a string, a whole number"),
        (f"{{{REST}, when: {{header: {{a: b}}}}}}", "a.when.header: this key is not known here"),
        (f"{{{REST}, when: {{query: {{'a..b': c}}}}}}", "no name of a field"),
        (f"{{{REST}, facts: {{body: {{'a\"': long}}}}}}", "no name of a field"),
        (f"{{{REST}, facts: {{body: {{'?': long}}}}}}", "no name of a field"),
        (f"{{{REST}, facts: {{body: {{'größe?': long}}}}}}", "the name of a fact is ASCII"),
        (f"{{{REST}, facts: {{body: {{{'a.' * 8}a: long}}}}}}", "nested more than 8 deep"),
        (f"{{{REST}, facts: {{body: {{a: float}}}}}}", "a.facts.body.a: string, long, bool or [string]"),
        (f"{{{REST}, facts: {{body: {{a: [long]}}}}}}", "a.facts.body.a: string, long, bool or [string]"),
        (f"{{{REST}, facts: {{body: {{a: long, 'a?': long}}}}}}", "a.facts.body: a is declared twice"),
        (f"{{{REST}, facts: {{body: {{a: long, a.b.c: long}}}}}}", "a cannot be a value and hold a.b.c too"),
    ],
)
def test_what_is_wrong_with_an_operation_is_named_with_its_line(entry, words):
    endpoints = 'endpoints: {"/m": mcp, "/q": graphql, "/g": grpc, "/a": aws-json}\n'
    found = problem(BARE + endpoints + f"operations:\n  a:\n    {entry}\n")
    assert found.line in (9, 10)
    assert words in found.message
    assert found.message.startswith("operations.a")


@pytest.mark.parametrize("prefix", ["http", "mcp", "graphql", "grpc", "aws"])
def test_names_of_built_in_operations_are_taken(prefix):
    found = problem(BARE + f"operations:\n  {prefix}.x: {{{REST}}}\n")
    assert found.line == 8
    assert f"names that start with {prefix}. are those of built-in operations" in found.message
    assert parsed(BARE + f"operations:\n  {prefix}: {{{REST}}}\n").operations


@pytest.mark.parametrize(
    "selector", ["tool: x", "rpc: x", "graphql: query.x", "grpc: a.B/C", "aws: X", "method: GET, path: /m"]
)
def test_a_selector_needs_its_protocol(selector):
    spoken = BARE + 'endpoints: {"/m": mcp}\n' if "path" in selector else BARE
    found = problem(spoken + f"operations:\n  a: {{group: read, {selector}}}\n")
    assert "spoken" in found.message
    assert found.line == spoken.count("\n") + 2


@pytest.mark.parametrize(
    ("protocol", "endpoints", "path", "reachable"),
    [
        ("rest", '"/m": mcp', "/{x}", True),
        ("rest", '"/{x}": mcp', "/m", False),
        ("rest", '"/{r*}": mcp, "/api/{r*}": rest', "/api/x", True),
        ("rest", '"/{r*}": mcp, "/api/{r*}": rest', "/x", False),
        ("rest", '"/r/{r*}": rest, "/r/m": mcp', "/r/m", False),
        ("mcp", '"/api/{r*}": rest', "/api/x", True),
        ("mcp", '"/api/{r*}": rest', "/{x}/y", True),
        ("mcp", '"/api/{r*}": rest', "/x", False),
    ],
)
def test_a_rest_operation_where_something_else_is_spoken_is_an_error(protocol, endpoints, path, reachable):
    operation = f"operations:\n  a: {{group: read, method: GET, path: '{path}'}}\n"
    text = BARE + f"protocol: {protocol}\nendpoints: {{{endpoints}}}\n" + operation
    if reachable:
        assert parsed(text).operations
    else:
        assert problem(text).message == "operations.a: mcp is spoken at this path, not rest"
