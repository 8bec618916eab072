import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.identity.principal import Agent, Ceiling
from proxy.identity.registry import Registry
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.observe import observe
from proxy.policy.rebuilt import UNKNOWN_PAST, Past
from proxy.policy.replay import Changed, Difference, Effect, Replayed, compare, under
from tests.policy import worlds
from tests.policy.recordings import SPENT, call

LIST = "https://tickets.example.org/v1/tickets"
REPLY = f"{LIST}/7/replies"
AGENTS = Registry.of(worlds.AGENTS)
RULES = worlds.rules()


def past(rules: RuleSet = RULES, agents: Registry = AGENTS) -> Past:
    return Past(rules.catalogue, agents)


def rules(policies: str, **services: bytes) -> RuleSet:
    return worlds.rules(policies.encode(), **services)


def service(text: bytes, policies: str) -> RuleSet:
    """Other rules in which the service of the recorded calls is this one."""
    loaded = load_rules({"services/tickets.yaml": text, "policies/a.cedar": policies.encode()}, worlds.AGENTS)
    assert isinstance(loaded, RuleSet), [str(problem) for problem in loaded]
    return loaded


def then(
    new: RuleSet, recorded=None, before: Past | None = None, agents: Registry = AGENTS, **more
) -> Changed:
    found = recorded or call(RULES, "GET", LIST, **more)
    return under(found, before or past(), new, agents)


ALL = '@id("all") permit (principal, action, resource);'
NONE = '@id("none") forbid (principal, action, resource);'
ASKED = '@id("asked") permit (principal, action, resource) when { context.approved };'


@pytest.mark.parametrize(
    ("policies", "method", "url", "difference", "detail"),
    [
        (worlds.POLICIES.decode(), "GET", LIST, Difference.SAME, ""),
        (worlds.POLICIES.decode(), "POST", REPLY, Difference.SAME, "no rule permits"),
        (
            worlds.POLICIES.decode(),
            "POST",
            "https://tickets.example.org/v1/export/secret",
            Difference.SAME,
            "Exports",
        ),
        (ALL, "GET", LIST, Difference.OTHER_RULE, ""),
        (ALL, "POST", REPLY, Difference.NEWLY_ALLOWED, ""),
        (NONE, "GET", LIST, Difference.NEWLY_DENIED, "the rule none forbids"),
        (NONE, "POST", REPLY, Difference.OTHER_RULE, "the rule none forbids"),
        (ASKED, "GET", LIST, Difference.NEWLY_HELD, "a person has to approve"),
        (ASKED, "POST", REPLY, Difference.NEWLY_HELD, "a person has to approve"),
        (ALL, "GET", "https://else.example.org/x", Difference.NEWLY_ALLOWED, ""),
    ],
)
def test_what_would_be_otherwise(policies, method, url, difference, detail):
    found = then(rules(policies), call(RULES, method, url))
    assert found.difference is difference
    assert detail in found.then.why


def test_held_calls():
    asking = rules(ASKED)
    held, approved = call(asking, "GET", LIST), call(asking, "GET", LIST, approved=True)
    assert then(asking, held).difference is Difference.SAME
    assert then(asking, approved).difference is Difference.SAME
    assert then(rules(ALL), held).difference is Difference.NEWLY_ALLOWED
    assert then(rules(NONE), approved).difference is Difference.NEWLY_DENIED


def test_what_something_else_refused_stays_refused():
    found = then(rules(ALL), otherwise=SPENT)
    assert (found.difference, found.then.why) == (
        Difference.SAME,
        "refused with budget_exceeded whatever the rules say",
    )
    unmet = then(rules(ALL), otherwise=Refusal(Code.OBLIGATION_UNMET, "no"))
    assert (unmet.difference, "content" in unmet.then.why) == (Difference.UNREPLAYABLE, True)
    late = then(rules(ALL), otherwise=Refusal(Code.RATE_LIMITED, "no"))
    assert late.difference is Difference.SAME


def test_a_grant_is_looked_at_again():
    found = then(rules(ALL), services=("other",))
    assert (found.difference, "this task was not given" in found.then.why) == (Difference.SAME, True)
    moved = service(worlds.TICKETS.replace(b"name: tickets", b"name: other"), ALL)
    assert then(moved, services=("other",)).difference is Difference.NEWLY_ALLOWED


def test_the_registry_is_the_new_one():
    low = Registry.of([Agent("coder", "development", "low", "a", "b")])
    assert then(RULES, agents=low).difference is Difference.NEWLY_DENIED
    gone = then(RULES, agents=Registry.of([]))
    assert (gone.difference, gone.then.why) == (Difference.NEWLY_DENIED, "agents.yaml has no agent coder")
    moved = then(RULES, agents=Registry.of([Agent("coder", "production", "standard", "a", "b")]))
    assert (moved.difference, "agents.yaml has coder in production" in moved.then.why) == (
        Difference.NEWLY_DENIED,
        True,
    )
    unowned = then(RULES, agents=Registry.of([Agent("coder", "production", "standard", "", "")]))
    assert "nobody answers" in unowned.then.why


def test_ceilings():
    def agents(*scopes: str) -> Registry:
        return Registry.of(
            [Agent("coder", "development", "standard", "a", "b", ceiling=Ceiling(scopes=scopes))]
        )

    recorded = call(RULES, "POST", REPLY, scopes=["reply"])
    assert then(RULES, recorded, agents=agents("reply")).difference is Difference.SAME
    assert then(RULES, recorded, agents=agents("other")).difference is Difference.NEWLY_DENIED
    cut = past(agents=agents("reply"))
    assert then(RULES, recorded, cut, agents("reply")).difference is Difference.SAME
    wider = then(RULES, recorded, cut, agents("reply", "other"))
    assert (wider.difference, "a wider ceiling now" in wider.then.why) == (Difference.UNREPLAYABLE, True)
    services = Registry.of(
        [Agent("coder", "development", "standard", "a", "b", ceiling=Ceiling(services=("other",)))]
    )
    assert then(RULES, agents=services).difference is Difference.NEWLY_DENIED


def test_everybody_in_the_chain_is_asked():
    lead = Agent("lead", "development", "standard", "a", "b")
    both = Registry.of([*worlds.AGENTS, lead])
    recorded = call(RULES, "GET", LIST, agents=(lead, worlds.CODER))
    assert then(RULES, recorded, past(agents=both), both).difference is Difference.SAME
    only = rules('@id("tickets.read") permit (principal == Agent::"coder", action, resource);')
    assert then(only, recorded, past(agents=both), both).difference is Difference.NEWLY_DENIED


SHOP = b"""\
name: tickets
hosts: [tickets.example.org]
owner: a
data_owner: b
sensitivity: internal
environments: [development]
operations:
  close: {group: admin, method: GET, path: "/v1/tickets", when: {query: {state: [closed]}}}
  flagged: {group: admin, method: GET, path: "/v1/tickets", when: {query: {flag: ~}}}
  list: {group: read, method: GET, path: "/v1/tickets"}
  drop: {group: delete, method: POST, path: "/v1/tickets/{id}/replies", when: {body: {action: drop}}}
  reply: {group: write, method: POST, path: "/v1/tickets/{id}/replies", facts: {body: {text: string, "size?": long}}}
"""


def lacks(found: Changed) -> str:
    assert found.difference is Difference.UNREPLAYABLE, found
    return found.then.why


def test_a_condition_on_what_is_not_recorded_is_unreplayable():
    new = service(SHOP, ALL)
    assert then(new, call(RULES, "GET", LIST)).then.actions == ("tickets.list",)
    assert then(new, call(RULES, "GET", f"{LIST}?flag=1")).then.actions == ("tickets.flagged",)
    assert lacks(then(new, call(RULES, "GET", f"{LIST}?state=open"))).endswith(
        "the value of the query parameter state"
    )
    assert lacks(then(new, call(RULES, "POST", REPLY, body=b"{}"))).endswith(
        "the field action of the content"
    )
    assert then(new, call(RULES, "POST", REPLY)).then.actions == ("tickets.reply",)


def test_a_service_that_is_described_as_before_needs_no_content():
    new, old = service(SHOP, ALL), service(SHOP, NONE)
    recorded = call(old, "POST", REPLY, body=b'{"action": "drop", "text": "x"}')
    assert then(new, recorded, past(old)).then.actions == ("tickets.drop",)
    recorded = call(old, "GET", f"{LIST}?state=closed")
    assert then(new, recorded, past(old)).then.actions == ("tickets.close",)


def test_facts_are_those_that_were_recorded():
    reading = '@id("r") permit (principal, action == Action::"tickets.reply", resource) when { context.facts.body.text == "x" && !(context.facts.body has size) };'
    old = service(SHOP, reading)
    recorded = call(old, "POST", REPLY, body=b'{"text": "x"}')
    assert recorded.effect == "allow"
    assert then(old, recorded, past(old)).difference is Difference.SAME
    size = reading.replace('context.facts.body.text == "x"', 'context.facts.body.text == "y"')
    assert then(service(SHOP, size), recorded, past(old)).difference is Difference.NEWLY_DENIED
    blind = call(service(SHOP, ALL), "POST", REPLY, body=b'{"text": "x"}')
    assert lacks(then(old, blind, past(old))).endswith("context.facts.body.text")
    more = SHOP.replace(b'"size?": long', b'"size?": long, "more?": string')
    assert lacks(then(service(more, reading), recorded, past(old))).endswith("context.facts.body.more")
    typed = SHOP.replace(b'"size?": long', b'"size?": string')
    assert then(service(typed, reading), recorded, past(old)).difference is Difference.SAME
    sized = call(old, "POST", REPLY, body=b'{"text": "x", "size": 3}')
    assert lacks(then(service(typed, reading), sized, past(old))).endswith("context.facts.body.size")


def test_request_facts():
    reading = '@id("r") permit (principal, action, resource) when { context.request.path == "/v1/tickets" && context.request.method == "GET" && !context.request.has_body && context.request.content_type == "" && context.request.upgrade == "" && context.request.time == 1700000000 };'
    assert then(rules(reading)).difference is Difference.OTHER_RULE
    late = reading.replace("== 1700000000", "> 1700000000")
    assert then(rules(late)).difference is Difference.NEWLY_DENIED


def test_a_new_budget_is_unreplayable():
    new = service(SHOP + b"budgets: {hourly: {per: task, window: 1h, requests: 5}}\n", ALL)
    assert lacks(then(new)).endswith("what was used of the budget hourly")
    counted = call(new, "GET", LIST, used={"hourly": 4})
    assert then(new, counted, past(new)).difference is Difference.SAME
    fewer = service(SHOP + b"budgets: {hourly: {per: task, window: 1h, requests: 4}}\n", ALL)
    assert then(fewer, counted, past(new)).difference is Difference.NEWLY_DENIED


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
TOOLS = "https://tools.example.org/mcp"


def message(method: str, **params) -> bytes:
    import orjson

    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def test_mcp():
    def mcp(text: bytes, policies: str) -> RuleSet:
        return rules(policies, tools=text)

    old = mcp(MCP, ALL)
    search = call(old, "POST", TOOLS, body=message("tools/call", name="search", arguments={}))
    other = call(old, "POST", TOOLS, body=message("tools/call", name="erase", arguments={}))
    listing = call(old, "POST", TOOLS, body=message("tools/list"))
    assert (search.actions, other.actions, listing.actions) == (
        ("tools.search",),
        ("tools.mcp.call",),
        ("tools.mcp.list",),
    )
    read = mcp(MCP, '@id("r") permit (principal, action in Action::"read", resource);')
    assert then(read, search, past(old)).difference is Difference.OTHER_RULE
    assert then(read, other, past(old)).difference is Difference.NEWLY_DENIED
    assert then(read, listing, past(old)).difference is Difference.OTHER_RULE
    named = mcp(MCP + b"  erase: {group: delete, tool: erase}\n", ALL)
    assert then(named, search, past(old)).then.actions == ("tools.search",)
    assert lacks(then(named, other, past(old))).endswith("what the mcp message asks for")
    knowing = mcp(
        MCP,
        ALL
        + '@id("k") forbid (principal, action in [Action::"tools.search", Action::"tools.mcp.call", Action::"tools.mcp.list"], resource) when { context.facts.mcp.tool == "x" };',
    )
    seen = call(knowing, "POST", TOOLS, body=message("tools/call", name="erase", arguments={}))
    assert then(named, seen, past(knowing)).then.actions == ("tools.erase",)
    assert then(
        named, call(knowing, "POST", TOOLS, body=message("tools/list")), past(knowing)
    ).then.actions == ("tools.mcp.list",)
    assert lacks(then(knowing, search, past(old))).endswith("context.facts.mcp")


def test_observed_calls():
    observed = call(observe(), "GET", LIST)
    assert then(RULES, observed, UNKNOWN_PAST).then.actions == ("tickets.list",)
    assert then(RULES, observed, UNKNOWN_PAST).difference is Difference.OTHER_RULE


def test_other_engines_are_unreplayable():
    import dataclasses

    recorded = dataclasses.replace(call(RULES, "GET", LIST), engine="https://pdp.example.org")
    assert "https://pdp.example.org decided" in lacks(then(RULES, recorded))


def test_paths_that_are_not_what_was_sent():
    import dataclasses

    recorded = dataclasses.replace(call(RULES, "GET", LIST), path="/v1/gp_[sha256:00112233]")
    assert lacks(then(RULES, recorded)).endswith("a placeholder stood in it")
    recorded = dataclasses.replace(call(RULES, "GET", LIST), path="/a%2Fb")
    assert then(RULES, recorded).then.why.startswith("the path has an encoded slash")
    recorded = dataclasses.replace(call(RULES, "GET", LIST), path="/a/../b")
    assert lacks(then(RULES, recorded)).endswith("the URL in canonical form")


@given(
    st.sampled_from(["allow", "deny", "hold"]),
    st.none() | st.sampled_from(Effect),
    st.sets(st.integers(0, 3)),
    st.sets(st.integers(0, 3)),
)
def test_every_pair_of_ends_has_one_difference(was, now, rules, then_rules):
    found = compare(was, map(str, rules), now, map(str, then_rules))
    assert (found is Difference.SAME) == (now == was and rules == then_rules)
    assert (found is Difference.NEWLY_ALLOWED) == (now is Effect.ALLOW and was != "allow")
    assert (found is Difference.UNREPLAYABLE) == (now is None)


def test_the_table_groups_what_changes_alike():
    found = Replayed()
    for url, new in (
        (LIST, NONE),
        (f"{LIST}/1", NONE),
        (LIST, NONE),
        (LIST, worlds.POLICIES.decode()),
        (REPLY, ALL),
    ):
        found.add(then(rules(new), call(RULES, "POST" if url == REPLY else "GET", url)))
    rows = [(row.difference, row.agent, row.actions, row.was, row.now, row.count) for row in found.table()]
    assert rows == [
        (Difference.NEWLY_ALLOWED, "coder", ("tickets.reply",), "deny", "allow all", 1),
        (Difference.NEWLY_DENIED, "coder", ("tickets.list",), "allow tickets.read", "deny none", 2),
        (Difference.NEWLY_DENIED, "coder", ("tickets.get",), "allow tickets.read", "deny none", 1),
    ]
    assert all(row.example == "01HZZZZZZZZZZZZZZZZZZZZZZZ" and row.url for row in found.table())
    assert found.summary() == {
        "newly allowed": 1, "newly denied": 3, "newly held": 0, "other rule": 0, "unreplayable": 0, "same": 1,
        "not asked": 0,
    }  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    st.sampled_from(
        ["/v1/tickets", "/v1/tickets/7", "/v1/tickets/7/replies", "/v1/export/x", "/secret", "/"]
    ),
    st.sets(st.sampled_from(["reply", "x"])),
    st.sampled_from(["tickets.example.org", "a.tickets.example.org", "else.example.org"]),
)
def test_under_the_same_rules_nothing_changes(method, path, scopes, host):
    recorded = call(RULES, method, f"https://{host}{path}", scopes=scopes)
    assert then(RULES, recorded).difference is Difference.SAME
    assert then(RULES, recorded, UNKNOWN_PAST).difference is Difference.SAME


def test_facts_that_were_too_long_for_the_record_are_lacking_and_no_denial():
    """Else a call that new rules let through would look refused, because a digest is no string."""
    only = '(principal, action == Action::"tickets.reply", resource) when { context.facts.body.text'
    was = service(SHOP, f'@id("no") forbid {only} == "" }};')
    recorded = call(was, "POST", REPLY, body=b'{"action": "x", "text": "%s"}' % (b"a" * 70_000))
    assert recorded.effect == "deny"
    new = service(SHOP, f'@id("long") permit {only} != "" }};')
    assert "too long" in lacks(then(new, recorded, past(was)))
