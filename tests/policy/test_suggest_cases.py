from proxy.identity.registry import Registry, parse_agents
from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cases import run
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.observe import observe
from proxy.policy.suggest import suggest
from proxy.policy.suggest_cases import FILE, cases_for
from tests.policy.recordings import call
from tests.policy.test_suggest import FILES, past


def cases(*calls, files=None) -> tuple[list[Case], RuleSet, Registry]:
    found = suggest(calls, past, {} if files is None else files, replace=True)
    registry = parse_agents(found.files["agents.yaml"], "agents.yaml")
    assert isinstance(registry, Registry)
    rules = load_rules(found.files, registry)
    assert isinstance(rules, RuleSet), rules
    data = cases_for(found.permits, found.seen, rules, registry)
    read = [] if data is None else parse_cases(data, FILE)
    assert all(isinstance(case, Case) for case in read), read
    return [case for case in read if isinstance(case, Case)], rules, registry


def test_every_operation_has_a_case_and_every_permit_a_near_miss():
    found, rules, registry = cases(
        call(observe(), "GET", "https://a.example.org/v1/orders/7", scopes=["x"]),
        call(observe(), "POST", "https://a.example.org/v1/orders", scopes=["x"]),
        call(observe(), "GET", "https://b.example.org/"),
    )
    assert [(case.name, case.expect.value, case.task.scopes, case.task.environment) for case in found] == [
        ("suggested.coder.a-example: a-example.v1.orders.id.get", "allow", ("x",), "development"),
        ("not suggested.coder.a-example: a-example.v1.orders.id.get", "deny", (), "development"),
        ("suggested.coder.a-example: a-example.v1.orders.post", "allow", ("x",), "development"),
        ("suggested.coder.b-example: b-example.get", "allow", (), "development"),
        ("not suggested.coder.b-example: b-example.get", "deny", (), "elsewhere"),
    ]
    ids = [policy.id for policy in rules.policies]
    assert all(run(case, rules, registry, ids).passed for case in found)


def test_other_protocols():
    import orjson

    from tests.policy import worlds

    service = """\
name: {name}
hosts: [{name}.example.org]
owner: a
data_owner: b
sensitivity: internal
environments: [development]
protocol: {name}
operations: {operations}
"""
    services = {
        "mcp": service.format(name="mcp-x", operations="{find: {group: read, tool: find}}").replace(
            "protocol: mcp-x", "protocol: mcp"
        ),
        "graphql": service.format(name="graphql", operations="{me: {group: read, graphql: query.me}}"),
        "grpc": service.format(
            name="grpc",
            operations="{all: {group: read, grpc: 'shop.Cart/*'}, pay: {group: write, grpc: shop.Cart/Pay}}",
        ),
    }
    everything = b'@id("all") permit (principal, action, resource);'
    rules = worlds.rules(everything, **{name: text.encode() for name, text in services.items()})

    def rpc(method: str, **params: object) -> bytes:
        return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    grpc = ((b"Content-Type", b"application/grpc"),)
    calls = [
        call(rules, "POST", "https://mcp-x.example.org/", body=rpc("tools/call", name="find", arguments={})),
        call(rules, "GET", "https://mcp-x.example.org/"),
        call(rules, "POST", "https://graphql.example.org/", body=orjson.dumps({"query": "{ me }"})),
        call(rules, "POST", "https://grpc.example.org/shop.Cart/Pay", body=b"", headers=grpc),
        call(rules, "POST", "https://grpc.example.org/shop.Cart/Get", body=b"", headers=grpc),
    ]
    files = {**FILES, "policies/tickets.cedar": everything} | {
        f"services/{name}.yaml": text.encode() for name, text in services.items()
    }
    from proxy.identity.registry import Registry
    from proxy.policy.rebuilt import Past

    found = suggest(calls, lambda _: Past(rules.catalogue, Registry.of(worlds.AGENTS)), files, replace=True)
    registry = parse_agents(found.files["agents.yaml"], "agents.yaml")
    loaded = load_rules(found.files, registry)
    assert isinstance(loaded, RuleSet), loaded
    data = cases_for(found.permits, found.seen, loaded, registry)
    assert data is not None
    assert {case.actions for case in parse_cases(data, FILE) if case.expect == "allow"} == {
        ("mcp-x.find",), ("mcp-x.mcp.session",), ("graphql.me",), ("grpc.pay",),
    }  # fmt: skip
