import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.identity.principal import Agent
from proxy.identity.registry import Registry, parse_agents
from proxy.policy.catalogue import Catalogue
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.observe import observe
from proxy.policy.rebuilt import Past
from proxy.policy.recorded import RecordedCall
from proxy.policy.replay import Difference, under
from proxy.policy.suggest import FILE, Suggestion, suggest
from tests.policy import worlds
from tests.policy.recordings import call, changed, raw, read

LIST = "https://tickets.example.org/v1/tickets"
REPLY = f"{LIST}/7/replies"
RULES = worlds.rules()
AGENTS_FILE = b"""\
agents:
  - {id: coder, environment: development, tier: standard, business_owner: ada@example.org, data_owner: grace@example.org}
"""
FILES = {**worlds.FILES, "agents.yaml": AGENTS_FILE}
LEAD = Agent("lead", "development", "standard", "ada@example.org", "grace@example.org")
NOTHING = Past(Catalogue(()), Registry.of([]))


def past(recorded: RecordedCall) -> Past:
    return NOTHING if recorded.observed else Past(RULES.catalogue, Registry.of([*worlds.AGENTS, LEAD]))


def load(found: Suggestion) -> tuple[RuleSet, Registry]:
    registry = parse_agents(found.files.get("agents.yaml", b"agents: []\n"), "agents.yaml")
    assert isinstance(registry, Registry), registry
    rules = load_rules(found.files, registry)
    assert isinstance(rules, RuleSet), [str(problem) for problem in rules]
    return rules, registry


def unchanged(found: Suggestion, calls) -> None:
    rules, registry = load(found)
    for recorded in calls:
        if recorded.effect == "allow":
            then = under(recorded, past(recorded), rules, registry)
            assert then.difference in (Difference.SAME, Difference.OTHER_RULE), then


def suggested(*calls: RecordedCall, files=FILES, replace: bool = True) -> Suggestion:
    found = suggest(calls, past, files, replace=replace)
    unchanged(found, calls)
    return found


def test_what_was_used_and_nothing_else():
    found = suggested(
        call(RULES, "GET", LIST),
        call(RULES, "GET", LIST, scopes=["reply"]),
        call(RULES, "POST", REPLY, scopes=["reply", "more"]),
        call(RULES, "POST", REPLY, scopes=["reply"]),
        call(RULES, "POST", "https://tickets.example.org/v1/export/x"),
    )
    assert (
        found.files[FILE].decode()
        == """\
// Suggested from the log: what was allowed and used, and nothing else. Review it as you would a change of
// your own; `gatepass policy replay --rules DIR` shows what it changes.

// 2 calls, for example record 01HZZZZZZZZZZZZZZZZZZZZZZZ
@id("suggested.coder.tickets")
@owner("ada@example.org")
permit (
  principal == Agent::"coder",
  action in [
    Action::"tickets.list"  // 2 calls
  ],
  resource in Service::"tickets"
)
when { context.task.environment == "development" };

// 2 calls, for example record 01HZZZZZZZZZZZZZZZZZZZZZZZ
@id("suggested.coder.tickets_2")
@owner("ada@example.org")
permit (
  principal == Agent::"coder",
  action in [
    Action::"tickets.reply"  // 2 calls
  ],
  resource in Service::"tickets"
)
when { context.task.environment == "development" && context.task.scopes.contains("reply") };
"""
    )
    assert (
        found.files["policies/tickets.cedar"]
        == b"""\
@id("no_admin") @reason("Exports are made by people; ask one.")
forbid (principal, action in Action::"admin", resource);
@id("no_secrets") forbid (principal, action, resource) when { context.request.path like "*secret*" };
"""
    )
    assert [(permit.actions, permit.scopes, permit.calls) for permit in found.permits] == [
        ((("tickets.list", 2),), (), 2),
        ((("tickets.reply", 2),), ("reply",), 2),
    ]
    assert found.left_out == ()


def test_present_permits_may_stay():
    found = suggested(call(RULES, "GET", LIST), replace=False)
    assert found.files["policies/tickets.cedar"] == worlds.POLICIES
    again = suggested(call(RULES, "GET", LIST), files=found.files, replace=False)
    assert again.files[FILE] == found.files[FILE]
    assert b'@id("suggested.coder.tickets_2")' in again.files["policies/suggested_more.cedar"]
    once = suggested(call(RULES, "GET", LIST), files=found.files)
    assert once.files[FILE] == found.files[FILE]


def test_several_scopes_and_an_approval_are_asked_for_again():
    asked = worlds.rules(
        b'@id("asked") permit (principal, action == Action::"tickets.reply", resource) when { context.approved };'
    )
    found = suggested(
        call(asked, "POST", REPLY, approved=True, scopes=["a", "b"]), call(asked, "POST", REPLY)
    )
    assert b'context.task.scopes.containsAll(["a", "b"]) && context.approved }' in found.files[FILE]
    rules, registry = load(found)
    unapproved = under(
        call(asked, "POST", REPLY, scopes=["a", "b"]), past(call(RULES, "GET", LIST)), rules, registry
    )
    assert (unapproved.then.effect, unapproved.then.rules) == ("hold", ("suggested.coder.tickets",))


def test_what_a_call_was_obliged_to_stays():
    whole = changed(
        raw(RULES, "GET", LIST),
        "why.obligations",
        {"drop_headers": ["cookie", "x-a"], "max_response": 7, "interception": True},
    )
    text = suggested(read(whole)).files[FILE].decode()
    assert '@drop_headers("cookie, x-a")\n@max_response("7")\n@require("interception")\n' in text
    rules, _ = load(suggested(read(whole)))
    duties = next(policy.obligations for policy in rules.policies if policy.id == "suggested.coder.tickets")
    assert (duties.drop_headers, duties.max_response, duties.interception) == (
        frozenset({"cookie", "x-a"}),
        7,
        True,
    )


def test_everybody_in_a_chain_needs_a_permit():
    found = suggested(call(RULES, "GET", LIST, agents=(LEAD, worlds.CODER)))
    assert [permit.agent for permit in found.permits] == ["coder", "lead"]
    assert (
        b"  - {id: lead, environment: development, tier: standard, business_owner"
        in found.files["agents.yaml"]
    )


def test_refused_calls_teach_nothing():
    found = suggest([call(RULES, "POST", REPLY)], past, FILES, replace=True)
    assert found.permits == ()
    assert FILE not in found.files


def test_agents_that_are_spiffe_ids():
    spiffe = Agent("spiffe://example.org/agents/coder", "development", "standard", "ada@example.org", "x")
    found = suggested(call(RULES, "GET", LIST, agents=(spiffe,)))
    assert [permit.id for permit in found.permits] == ["suggested.spiffe---example.org-agents-coder.tickets"]


def test_a_log_without_rules_gives_all_files():
    spied = [
        call(observe(), method, f"https://api.shop.example.org{path}")
        for method, path in (
            ("GET", "/v1/orders/7"),
            ("GET", "/v1/orders/8"),
            ("POST", "/v1/orders"),
            ("HEAD", "/v1/orders/9"),
            ("OPTIONS", "/"),
        )
    ]
    found = suggested(*spied, files={})
    assert (
        found.files["services/shop-example.yaml"].decode()
        == """\
# Used, and in no catalogue: 5 calls. Review names, groups and owners.
name: shop-example
hosts: [api.shop.example.org]
owner: ada@example.org
data_owner: grace@example.org
sensitivity: internal
environments: [development]
operations:
  options: {group: read, method: OPTIONS, path: /}  # 1 call
  v1.orders.post: {group: write, method: POST, path: /v1/orders}  # 1 call
  v1.orders.id.get: {group: read, method: GET, path: "/v1/orders/{id}"}  # 2 calls
"""
    )
    assert found.files["agents.yaml"].startswith(b"agents:\n  - {id: coder, ")
    assert found.added["shop-example.v1.orders.id.get"] == 2


def test_what_no_operation_names_becomes_one():
    rules = worlds.rules(b'@id("all") permit (principal, action, resource);')
    found = suggested(call(rules, "PATCH", f"{LIST}/7"), call(rules, "GET", LIST))
    text = found.files["services/tickets.yaml"].decode()
    added = [line for line in text.splitlines() if line not in worlds.TICKETS.decode().splitlines()]
    assert added == [
        '  v1.tickets.id.patch: {group: write, method: PATCH, path: "/v1/tickets/{id}"}  # 1 call'
    ]
    assert [permit.actions for permit in found.permits] == [
        (("tickets.list", 1), ("tickets.v1.tickets.id.patch", 1))
    ]


MCP = b"""\
name: tools
hosts: [tools.example.org]
owner: a
data_owner: b
sensitivity: internal
environments: [development]
protocol: mcp
operations:
  search: {group: read, tool: search}
"""


def test_tools_that_nobody_has_classed():
    import orjson

    knowing = '@id("k") permit (principal, action in Action::"tools", resource);@id("no") forbid (principal, action in [Action::"tools.mcp.call"], resource) when { context.facts.mcp.tool == "x" };'
    rules = worlds.rules(knowing.encode(), tools=MCP)
    calls = [
        call(
            rules,
            "POST",
            "https://tools.example.org/mcp",
            body=orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}),
            told=True,
        )
        for method, params in (
            ("tools/call", {"name": "find_it", "arguments": {}}),
            ("tools/call", {"name": "search", "arguments": {}}),
            ("tools/list", {}),
        )
    ]
    files = {**FILES, "services/tools.yaml": MCP, "policies/tickets.cedar": knowing.encode()}
    found = suggest(calls, lambda _: Past(rules.catalogue, Registry.of(worlds.AGENTS)), files, replace=True)
    assert b"  tool.find_it: {group: admin, tool: find_it}  # 1 call" in found.files["services/tools.yaml"]
    assert [permit.actions for permit in found.permits] == [
        (("tools.mcp.list", 1), ("tools.search", 1), ("tools.tool.find_it", 1))
    ]
    load(found)


def test_what_the_record_does_not_tell_is_said():
    rules = worlds.rules(b'@id("all") permit (principal, action, resource);', tools=MCP)
    recorded = call(
        rules,
        "POST",
        "https://tools.example.org/mcp",
        body=b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}',
    )
    found = suggest(
        [recorded, recorded], lambda _: NOTHING, {**FILES, "services/tools.yaml": MCP}, replace=True
    )
    assert found.permits == ()
    assert found.left_out == (
        "POST https://tools.example.org/mcp: the record does not hold what the mcp message asks for (2 times)",
    )


hosts = st.sampled_from(["api.a.example.org", "b.example.org", "read.org", "10.0.0.1", "localhost"])
paths = st.lists(st.sampled_from(["v1", "7", "8", "deadbeef01", "%20", "", "x", "graphql"]), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
urls = st.tuples(st.sampled_from(["http", "https"]), hosts, st.sampled_from(["", ":8443"]), paths).map(
    lambda parts: f"{parts[0]}://{parts[1]}{parts[2]}{parts[3]}"
)
observed = st.tuples(
    st.sampled_from(["GET", "HEAD", "POST", "DELETE", "OPTIONS"]), urls, st.sets(st.sampled_from(["a", "b"]))
)


@settings(max_examples=15, deadline=None)
@given(st.lists(observed, min_size=1, max_size=6))
def test_whatever_was_observed_can_be_allowed_again(asked):
    calls = [call(observe(), method, url, scopes=scopes) for method, url, scopes in asked]
    found = suggested(*calls, files={})
    again = suggest(calls, past, found.files, replace=True)
    assert again.added == {}  # every operation has its name now
    assert again.files == {**found.files}


def test_names_in_records_cannot_leave_their_place():
    hostile = dataclasses.replace(call(observe(), "GET", "https://a.example.org/x"))
    whole = changed(
        raw(observe(), "GET", "https://a.example.org/x"),
        "why.input.entities.0.attrs.business_owner",
        'a"); permit(principal, action, resource); //\n',
    )
    found = suggest([read(whole), hostile], past, {}, replace=True)
    rules, _ = load(found)
    assert [policy.id for policy in rules.policies if policy.effect == "permit"] == [
        "suggested.coder.a-example"
    ]


def test_what_was_said_is_learnt_where_the_record_tells():
    """Without rules nothing names a tool or a field; a record may tell of them all the same."""
    told = (
        ("/mcp/", {"mcp": {"method": "tools/call", "tool": "find", "uri": "", "batch": False}}),
        ("/mcp/", {"mcp": {"method": "tools/list", "tool": "", "uri": "", "batch": False}}),
        ("/mcp/", {"mcp": {"method": "", "tool": "", "uri": "", "batch": False}}),
        (
            "/graphql",
            {
                "graphql": {
                    "operation": "mutation",
                    "name": "",
                    "fields": ["addPet"],
                    "depth": 1,
                    "persisted": False,
                }
            },
        ),
        ("/v1/7", {}),
    )
    calls = [
        read(changed(raw(observe(), "POST", f"https://api.example.org{path}"), "why.facts", facts))
        for path, facts in told
    ]
    found = suggested(*calls, files={})
    text = found.files["services/example.yaml"].decode()
    assert "endpoints: {/graphql: graphql, /mcp/: mcp}\n" in text
    assert "  tool.find: {group: admin, tool: find}  # 1 call\n" in text
    assert "  mutation.addpet: {group: write, graphql: mutation.addPet}  # 1 call\n" in text
    assert [permit.actions for permit in found.permits] == [
        (
            ("example.mcp.list", 1),
            ("example.mcp.reply", 1),
            ("example.mutation.addpet", 1),
            ("example.tool.find", 1),
            ("example.v1.id.post", 1),
        )
    ]
