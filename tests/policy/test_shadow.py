"""A second rule set in the shadow: it is asked what it would be asked in force, and changes nothing."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.content import Act
from proxy.policy.decision import Allow, Deny
from proxy.policy.needs import NOTHING
from proxy.policy.shadow import ShadowPdp
from tests.policy.worlds import AGENTS, TICKETS, act, ask, right, rules, target, task

URL = "https://tickets.example.org/v1/tickets/7"
HEAD = b"name: tickets\nhosts: [tickets.example.org]\nowner: a@b.c\ndata_owner: a@b.c\nsensitivity: internal\nenvironments: [development]\n"
ALL = b'@id("all") permit (principal, action, resource);'


def loaded(policies: bytes, service: bytes = TICKETS) -> RuleSet:
    files = {"services/tickets.yaml": service, "policies/x.cedar": policies, "agents.yaml": b"agents: []\n"}
    found = load_rules(files, AGENTS)
    assert isinstance(found, RuleSet), [str(problem) for problem in found]
    return found


def both(enforced: RuleSet, shadow: RuleSet) -> ShadowPdp:
    return ShadowPdp(enforced, shadow, shadow.sha256)


def test_what_both_say_is_not_noted():
    enforced, shadow = rules(), rules()
    ruling = both(enforced, shadow).decide(ask("GET", URL))
    assert ruling == enforced.decide(ask("GET", URL))
    assert ruling.shadow is None


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        (b"", ("deny", "default_deny", ())),
        (ALL, ("allow", None, ("all",))),  # the effect is the same, the rule is not
        (b'@id("no") forbid (principal, action, resource);', ("deny", "policy_deny", ("no",))),
        (b'@id("ok") permit (principal, action, resource) when { context.approved };', ("hold", "approval_required", ("ok",))),
    ],
)  # fmt: skip
def test_a_difference_is_noted_and_the_first_is_enforced(policies, told):
    enforced, shadow = rules(), loaded(policies)
    ruling = both(enforced, shadow).decide(ask("GET", URL))
    assert ruling.decision == enforced.decide(ask("GET", URL)).decision
    assert ruling.ruleset_sha256 == enforced.sha256
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.code, ruling.shadow.rules) == told
    assert ruling.shadow.ruleset_sha256 == shadow.sha256
    assert orjson.loads(ruling.shadow.input)["principal"] == {"type": "Agent", "id": "coder"}


def test_what_may_be_shown_is_what_is_enforced():
    enforced, nothing = rules(), loaded(b"")
    question = ask("GET", URL)
    assert both(enforced, nothing).could(question) is enforced.could(question) is True
    assert both(nothing, enforced).could(question) is False


def test_either_may_want_to_know_and_only_the_first_has_to():
    reads = b'@id("r") permit (principal, action, resource) when { context.request.method == "GET" };'
    pdp = both(loaded(ALL), loaded(reads))
    site = pdp.site(target(URL).origin)
    assert site.wider is not None
    assert "method" in site.wider.request - site.needs.request
    assert both(loaded(ALL), loaded(ALL)).site(target("https://x.test/").origin).service is None


FACTS = (
    HEAD
    + b"""\
operations:
  reply:
    group: write
    method: POST
    path: "/v1/tickets/{id}/replies"
    facts: {body: {amount: long, "note?": string}, query: {"draft?": bool}}
"""
)
BY_ID = b'@id("id") permit (principal, action == Action::"tickets.reply", resource) when { context.facts.path.id == "7" };'
BY_AMOUNT = b'@id("amount") permit (principal, action == Action::"tickets.reply", resource) when { context.facts.body.amount < 10 };'
REPLY = URL + "/replies"


def test_each_is_given_the_facts_that_its_own_rules_read():
    known = {"path": {"id": "7"}, "body": {"amount": 7}}
    enforced, shadow = loaded(BY_ID, FACTS), loaded(BY_AMOUNT, FACTS)
    ruling = both(enforced, shadow).decide(ask("POST", REPLY, within=enforced, facts=known))
    assert ruling.decision == Allow(("id",))
    assert orjson.loads(ruling.input)["context"]["facts"] == {"path": {"id": "7"}}
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.rules) == ("allow", ("amount",))
    assert orjson.loads(ruling.shadow.input)["context"]["facts"] == {"body": {"amount": 7}}
    dear = both(enforced, shadow).decide(
        ask("POST", REPLY, within=enforced, facts=known | {"body": {"amount": 70}})
    )
    assert dear.shadow is not None
    assert (dear.shadow.effect, dear.shadow.code) == ("deny", "default_deny")


def test_a_field_that_the_shadow_does_not_declare_is_kept_from_it():
    narrower = FACTS.replace(b', "note?": string', b"")
    enforced, shadow = loaded(BY_ID, FACTS), loaded(BY_AMOUNT, narrower)
    known = {"path": {"id": "7"}, "body": {"amount": 7, "note": "x"}}
    ruling = both(enforced, shadow).decide(ask("POST", REPLY, within=enforced, facts=known))
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.rules) == ("allow", ("amount",))


def test_a_field_that_only_the_shadow_declares_was_never_read():
    undeclared = FACTS.replace(b'body: {amount: long, "note?": string}, ', b"")
    enforced, shadow = loaded(BY_ID, undeclared), loaded(BY_AMOUNT, FACTS)
    ruling = both(enforced, shadow).decide(ask("POST", REPLY, within=enforced, facts={"path": {"id": "7"}}))
    assert isinstance(ruling.decision, Allow)
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.code) == ("deny", "policy_error")


def test_an_operation_that_only_the_shadow_has_is_found_there():
    bare = HEAD
    enforced, shadow = (
        loaded(ALL, bare),
        loaded(b'@id("get") permit (principal, action == Action::"tickets.get", resource);'),
    )
    question = ask("GET", URL, within=enforced)
    assert question.act.operation.id == "tickets.http.read"
    ruling = both(enforced, shadow).decide(question)
    assert ruling.action == "tickets.http.read"
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.rules) == ("allow", ("get",))
    assert orjson.loads(ruling.shadow.input)["action"]["id"] == "tickets.get"


def test_an_operation_that_the_shadow_has_no_more_is_what_it_is_there():
    enforced, shadow = (
        rules(),
        loaded(b'@id("r") permit (principal, action == Action::"tickets.http.read", resource);', HEAD),
    )
    ruling = both(enforced, shadow).decide(ask("GET", URL))
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.rules) == ("allow", ("r",))


def test_a_service_that_the_shadow_has_not_is_a_host_like_any_other():
    other = HEAD.replace(b"tickets.example.org", b"other.example.org")
    enforced, shadow = (
        rules(),
        loaded(b'@id("h") permit (principal, action == Action::"http.read", resource);', other),
    )
    ruling = both(enforced, shadow).decide(ask("GET", URL))
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.rules) == ("allow", ("h",))
    back = both(shadow, enforced).decide(ask("GET", URL, within=shadow))
    assert back.service is None
    assert back.shadow is not None
    assert (back.shadow.effect, back.shadow.rules) == ("allow", ("tickets.read",))


CLOSING = (
    HEAD
    + b"""\
operations:
  close: {group: admin, method: PATCH, path: "/v1/tickets/{id}", when: {body: {state: [closed]}}}
  edit: {group: write, method: PATCH, path: "/v1/tickets/{id}"}
"""
)


def test_what_takes_the_content_to_tell_keeps_its_name():
    enforced = loaded(ALL, CLOSING)
    shadow = loaded(
        b'@id("c") permit (principal, action == Action::"tickets.close", resource);',
        CLOSING + b"encoded_slash: true\n",
    )
    question = ask("PATCH", URL, within=enforced)
    closing = next(one for one in enforced.catalogue.services[0].operations if one.id == "tickets.close")
    question = question._replace(act=Act(closing), request=question.request._replace(has_body=True))
    ruling = both(enforced, shadow).decide(question)
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.rules) == ("allow", ("c",))


MCP = (
    HEAD
    + b"""\
protocol: mcp
operations:
  find: {group: read, tool: search}
  files: {group: read, rpc: resources/read}
"""
)
GRAPHQL = (
    HEAD
    + b"""\
protocol: graphql
operations:
  me: {group: read, graphql: query.viewer}
  add: {group: write, graphql: mutation.add}
"""
)
GRPC = HEAD + b"protocol: grpc\noperations:\n  pay: {group: write, grpc: shop.v1.Cart/Pay}\n"
AWS = HEAD + b"protocol: aws-query\noperations:\n  who: {group: read, aws: GetCallerIdentity}\n"


def renamed(service: bytes, *names: bytes) -> bytes:
    for name in names:
        service = service.replace(b"  %s:" % name, b"  new%s:" % name)
    return service


def bare(service: bytes) -> bytes:
    return service.partition(b"operations:")[0]


@pytest.mark.parametrize(
    ("enforced", "shadow", "name", "there"),
    [
        (MCP, renamed(MCP, b"find"), "tickets.find", "tickets.newfind"),
        (MCP, bare(MCP), "tickets.find", "tickets.mcp.call"),
        (MCP, bare(MCP), "tickets.files", "tickets.mcp.other"),
        (MCP, MCP + b"encoded_slash: true\n", "tickets.mcp.list", "tickets.mcp.list"),
        (MCP, HEAD, "tickets.find", "tickets.http.write"),
        (GRAPHQL, renamed(GRAPHQL, b"me"), "tickets.me", "tickets.newme"),
        (GRAPHQL, bare(GRAPHQL), "tickets.me", "tickets.graphql.query"),
        (GRAPHQL, bare(GRAPHQL), "tickets.add", "tickets.graphql.mutation"),
        (GRPC, bare(GRPC), "tickets.pay", "tickets.grpc.call"),
        (AWS, bare(AWS), "tickets.who", "tickets.aws.call"),
    ],
)
def test_what_is_not_rest_is_looked_up_by_what_names_it(enforced, shadow, name, there):
    first, second = loaded(ALL, enforced), loaded(b"", shadow)
    operation = next(one for one in first.catalogue.services[0].all_operations if one.id == name)
    question = ask("POST", URL, within=first)._replace(act=Act(operation))
    ruling = both(first, second).decide(question)
    assert isinstance(ruling.decision, Allow)
    assert ruling.shadow is not None
    assert orjson.loads(ruling.shadow.input)["action"]["id"] == there
    assert ruling.shadow.code == "default_deny"


BUDGET = HEAD + b"budgets:\n  hourly: {per: task, window: 1h, requests: 100}\n"
STRICTER = BUDGET.replace(b"100", b"5") + b"  daily: {per: agent, window: 1d, requests: 7}\n"


def test_budgets_are_those_of_the_shadow_with_what_is_counted():
    enforced, shadow = loaded(ALL, BUDGET), loaded(ALL, STRICTER)
    used = {"hourly": {"limit": 100, "used": 6}}
    ruling = both(enforced, shadow).decide(ask("GET", URL, within=enforced, budgets=used))
    assert isinstance(ruling.decision, Allow)
    assert ruling.shadow is not None
    assert (ruling.shadow.effect, ruling.shadow.code) == ("deny", "rate_limited")
    told = orjson.loads(ruling.shadow.input)["context"]["budgets"]
    assert told == {"hourly": {"limit": 5, "used": 6}, "daily": {"limit": 7, "used": 0}}
    none = both(enforced, loaded(b"", HEAD)).decide(ask("GET", URL, within=enforced, budgets=used))
    assert none.shadow is not None
    assert none.shadow.code == "default_deny"


class Broken:
    """It fails at everything."""

    def site(self, origin):
        raise RuntimeError(f"nothing is known of {origin}")

    def decide(self, question):
        raise RuntimeError

    def could(self, question):
        raise RuntimeError


class Undecided(Broken):
    def site(self, origin):
        return rules().site(origin)._replace(needs=NOTHING)


def test_whatever_fails_in_the_shadow_is_a_difference_and_nothing_else():
    enforced = rules()
    for broken in (Broken(), Undecided()):
        ruling = ShadowPdp(enforced, broken, "0" * 64).decide(ask("GET", URL))
        assert ruling.decision == enforced.decide(ask("GET", URL)).decision
        assert ruling.shadow is not None
        assert (ruling.shadow.effect, ruling.shadow.code) == ("deny", "policy_error")
        assert (ruling.shadow.ruleset_sha256, ruling.shadow.input) == ("0" * 64, b"null")


paths = st.sampled_from(
    ["/v1/tickets", "/v1/tickets/7", "/v1/tickets/7/replies", "/v1/export/a", "/secret", "/"]
)
methods = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])
scopes = st.lists(st.sampled_from(["reply", "other"]), unique=True)
SETS = {"default": rules(), "all": loaded(ALL), "none": loaded(b""), "bare": loaded(ALL, HEAD)}


@given(methods, paths, scopes, st.sampled_from(sorted(SETS)), st.sampled_from(sorted(SETS)))
def test_the_shadow_says_what_it_would_say_in_force(method, path, wanted, one, other):
    enforced, shadow = SETS[one], SETS[other]
    url, of = f"https://tickets.example.org{path}", task(scopes=tuple(wanted))
    question = ask(method, url, within=enforced, of=of, left=right(of, *wanted))
    first = enforced.decide(question)
    second = shadow.decide(question._replace(act=act(method, target(url, method), shadow)))
    ruling = both(enforced, shadow).decide(question)
    assert (ruling.decision, ruling.input) == (first.decision, first.input)
    told = "deny" if isinstance(second.decision, Deny) else "allow"
    if ruling.shadow is None:
        assert told == ("deny" if isinstance(first.decision, Deny) else "allow")
    else:
        assert (ruling.shadow.effect, ruling.shadow.input) == (told, second.input)
