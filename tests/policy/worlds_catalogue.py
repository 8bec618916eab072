"""Operations, services and service files to match and to type."""

from hypothesis import strategies as st

from proxy.policy.catalogue import Service
from proxy.policy.fact import Condition, Place
from proxy.policy.operation import Group, Operation
from proxy.policy.service_file import parse_service
from proxy.policy.template import parse_template

BARE = """\
name: api
hosts: [api.example.org]
owner: o@example.org
data_owner: d@example.org
sensitivity: public
environments: [development]
"""
FULL = (
    BARE
    + """\
endpoints: {"/graphql": graphql, "/mcp": mcp, "/shop.v1.Cart/{method}": grpc, "/aws": aws-json}
operations:
  issues.close:
    group: delete
    method: [PATCH, POST]
    path: /repos/{owner}/issues/{number}
    when: {query: {state: [open, all], acl: ~}, body: {action: close, "a.b": [x, 1, true]}}
    facts:
      query: {"state?": string, "f[x]": string, in: long}
      body: {title: string, "milestone?": long, "user.login": string, "user.name?": string, "labels": [string]}
  viewer.read: {group: read, graphql: query.viewer, facts: {input: {"first?": long}}}
  search: {group: read, tool: search_issues, facts: {input: {query: string, "deep.er?": bool}}}
  docs.read: {group: read, rpc: resources/*}
  pay: {group: write, grpc: shop.v1.Cart/Pay}
  items: {group: read, aws: DynamoDB_20120810.Get*}
  chat: {group: write, method: POST, path: /v1/chat, llm: openai}
budgets:
  hourly: {per: task, window: 1h, requests: 100}
  spend: {per: agent, window: 1d, cost: 5.00}
prices: {"gpt-4o*": {input: 2.50, output: 10}}
persisted_queries:
  25f78b49dec3a3e04b3eb47a639394eed05c6217a3c2ce1d4ca24be392e27c83: "query { viewer { login } }"
"""
)


def parsed(text: str) -> Service:
    result = parse_service(text.encode(), "services/api.yaml")
    assert isinstance(result, Service), [str(problem) for problem in result]
    return result


def op(name: str, path: str, *methods: str, when: dict[str, tuple[str, ...]] | None = None) -> Operation:
    conditions = tuple(Condition(Place.QUERY, (key,), values) for key, values in (when or {}).items())
    return Operation(name, Group.READ, methods or ("GET",), parse_template(path), when=conditions)


SEGMENT = st.sampled_from(["a", "b", "", "{x}", "{y}"])
TEMPLATE = st.builds(
    lambda parts, rest: "/" + "/".join([*parts, *(["{r*}"] if rest else [])]),
    st.lists(SEGMENT, min_size=1, max_size=3).filter(
        lambda parts: all(parts.count(name) < 2 for name in ("{x}", "{y}"))
    ),
    st.booleans(),
)
PATH = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
