"""A slice decides as the whole set does, and as if it knew everything: what is left out is never read."""

import gc
import random
import weakref
from dataclasses import replace
from functools import lru_cache
from itertools import product

import cedarpy
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.decision import Allow, Deny, Hold
from proxy.policy.document import canonical
from proxy.policy.needs import Needs
from proxy.policy.slices import policies_text
from tests.policy.worlds import AGENTS, FILES, PAY, again, ask, rules, task

PRINCIPALS = ["principal", 'principal == Agent::"coder"', 'principal in Tier::"low"', "principal is Agent"]
ACTIONS = [
    *("action", 'action in Action::"read"', 'action in [Action::"write", Action::"pay"]'),
    *('action == Action::"tickets.get"', 'action in Action::"tickets"', 'action == Action::"http.read"'),
    *('action in [Action::"pay.charge", Action::"http.write"]', 'action == Action::"pay.http.admin"'),
]
RESOURCES = [
    *("resource", 'resource in Service::"tickets"', 'resource in Service::"pay"', "resource is Endpoint"),
    *('resource in Host::"tickets.example.org"', 'resource in Host::"*.tickets.example.org"'),
    *('resource in Host::"eu.tickets.example.org"', 'resource in Host::"x.example.org"'),
    *('resource == Endpoint::"https://pay.example.org"', 'resource == Endpoint::"http://pay.example.org"'),
    *('resource is Endpoint in Host::"x.example.org"', 'resource in Host::"::1"'),
]
CONDITIONS = [
    *("", "", "when { context.approved }", 'when { context.task.scopes.contains("a") }'),
    *('when { context.request.method == "GET" }', 'unless { context.request.path like "*7*" }'),
    *("when { context.request.time + 9223372036854775807 > 0 }", "unless { resource.catalogued }"),
    "when { context has facts.body.amount && context.facts.body.amount > 10 }",
    'when { context has facts.path.id && context.facts.path.id == "7" }',
    "when { context has budgets.hourly && context.budgets.hourly.used > 5 }",
    'when { context.request == context.request && !(context.request.content_type == "x") }',
]
QUESTIONS = [
    *(("GET", "https://tickets.example.org/v1/tickets/7"), ("POST", "https://pay.example.org/v1/charges")),
    *(("GET", "https://pay.example.org/v1/charges/7"), ("PROPFIND", "https://pay.example.org/")),
    *(("GET", "https://eu.tickets.example.org/v1/tickets"), ("POST", "http://pay.example.org/v1/charges")),
    *(("GET", "https://x.example.org/7"), ("POST", "http://x.example.org/"), ("GET", "https://[::1]/")),
    ("DELETE", "https://y.example.org/7"),
]
USED = {"daily": {"limit": 5_000_000, "used": 0}, "hourly": {"limit": 100, "used": 7}}


def known(question, needs=None):
    """Everything that could be known of the question's content, or what is needed of it."""
    everything = {"path": {"id": "7"}, "body": {"amount": 12}}
    groups = question.act.operation.fact_groups & (everything.keys() if needs is None else needs.facts)
    facts = {group: everything[group] for group in sorted(groups)}
    return question._replace(act=question.act._replace(facts=orjson.dumps(facts)))


def whole(question, ruleset, *, approved):
    """Cedar on the whole set, by the schema rules are written by, with everything that is known."""
    text = ruleset.describe(known(question)._replace(approved=approved)).document
    document = orjson.loads(text)
    entities = document.pop("entities")
    policies = ruleset.bundle["policies.json"].decode()
    answer = cedarpy.is_authorized(
        document, cedarpy.PolicySet.from_json_str(policies), entities, ruleset.schema
    )
    assert answer.decision is not cedarpy.Decision.NoDecision, answer.diagnostics.errors
    return answer.decision.name, tuple(sorted(answer.diagnostics.reasons)), answer.diagnostics.errors


def compare(question, ruleset):
    """One decision by its slice against both ways of taking it on the whole set."""
    ruling = ruleset.decide(known(question, ruleset.site(question.target.origin).needs))
    word, reasons, errors = whole(question, ruleset, approved=question.approved)
    allowed = word == "Allow" and not errors
    assert isinstance(ruling.decision, Allow) is allowed
    allowed_again, reasons_again = again(ruling, ruleset)
    assert (allowed_again, reasons_again) == (allowed, reasons)
    if isinstance(ruling.decision, Hold):
        assert not question.approved
        assert not errors
        assert whole(question, ruleset, approved=True) == ("Allow", ruling.decision.rules, [])
    elif reasons and (not errors or word == "Deny"):
        assert ruling.decision.rules == reasons
    if isinstance(ruling.decision, Deny):
        assert sorted(ruling.decision.errors) == sorted(errors)
        if not question.approved and not errors:
            assert whole(question, ruleset, approved=True)[0] == "Deny"


POLICY = st.builds(
    "{} ({}, {}, {}) {};".format,
    st.sampled_from(["permit", "permit", "forbid"]),
    st.sampled_from(PRINCIPALS),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.sampled_from(CONDITIONS),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(POLICY, max_size=8), st.booleans())
def test_a_slice_decides_as_the_whole_set(policies, approved):
    text = "\n".join(f'@id("p{index}") {policy}' for index, policy in enumerate(policies))
    ruleset = load_rules({**FILES, "services/pay.yaml": PAY, "policies/tickets.cedar": text.encode()}, AGENTS)
    assert isinstance(ruleset, RuleSet), [str(problem) for problem in ruleset]
    for (method, url), agent in product(QUESTIONS, AGENTS):
        compare(
            ask(method, url, within=ruleset, agent=agent, of=task(scopes=("a",)), budgets=USED,
                approved=approved), ruleset
        )  # fmt: skip


SERVICES = 20


@lru_cache(maxsize=1)
def large():
    """1,000 policies over many services, and every kind of policy that there is above."""
    dice = random.Random(7)
    services, policies = {}, []
    for number in range(SERVICES):
        text = FILES["services/tickets.yaml"].replace(b"tickets", b"s%d" % number)
        services[f"services/s{number}.yaml"] = text
    while len(policies) < 1000:
        number = dice.randrange(SERVICES)
        head = [dice.choice(PRINCIPALS), dice.choice(ACTIONS), dice.choice(RESOURCES)]
        head[1:] = [part.replace("tickets", f"s{number}") for part in head[1:]]
        effect, condition = dice.choice(["permit"] * 9 + ["forbid"]), dice.choice(CONDITIONS)
        if f's{number}"' not in head[2] and (effect == "forbid" or "9223" in condition):
            continue  # one of these anywhere, and nothing is allowed
        policies.append(f'@id("p{len(policies)}") {effect} ({", ".join(head)}) {condition};')
    files = {**services, "services/pay.yaml": PAY, "policies/a.cedar": "\n".join(policies).encode()}
    ruleset = load_rules(files, AGENTS)
    assert isinstance(ruleset, RuleSet), [str(problem) for problem in ruleset][:3]
    return ruleset


def test_slices_of_a_thousand_policies_decide_as_the_whole_set():
    ruleset = large()
    effects = set()
    for number, (method, url) in product(range(0, SERVICES, 4), QUESTIONS):
        question = ask(
            method, url.replace("tickets", f"s{number}"), within=ruleset, of=task(scopes=("a",)), budgets=USED
        )
        compare(question, ruleset)
        effects.add(
            type(ruleset.decide(known(question, ruleset.site(question.target.origin).needs)).decision)
        )
    assert {Deny, Allow} <= effects


def test_a_slice_holds_what_could_match_there_and_nothing_else():
    text = b"""@id("all") permit (principal, action, resource);
    @id("tickets") permit (principal, action, resource in Service::"tickets");
    @id("get") permit (principal, action == Action::"tickets.get", resource);
    @id("host") permit (principal, action, resource in Host::"eu.tickets.example.org");
    @id("port") permit (principal, action, resource == Endpoint::"https://tickets.example.org:8443");
    @id("here") permit (principal, action, resource == Endpoint::"https://tickets.example.org");
    @id("pay") permit (principal, action in Action::"pay", resource);"""
    ruleset = rules(text, pay=PAY)
    found = {}
    for url in ("https://tickets.example.org", "https://pay.example.org", "https://tickets.example.org:8443",
                "https://eu.tickets.example.org:8443", "https://x.example.org"):  # fmt: skip
        where = ruleset._place(ask("GET", url + "/").target.origin).slice
        found[url[8:]] = " ".join(
            policy.id for policy in where.policies if not policy.id.startswith("gatepass.")
        )
    assert found == {
        "tickets.example.org": "all get tickets host here",
        "pay.example.org": "all pay",
        "tickets.example.org:8443": "all port",
        "eu.tickets.example.org:8443": "all host",
        "x.example.org": "all",
    }


def test_what_is_read_is_told_by_place():
    text = b"""@id("a") permit (principal, action == Action::"pay.charge", resource)
    when { context.facts.body.amount < 10 && context.approved };
    @id("b") permit (principal, action, resource in Host::"x.example.org")
    when { context.request.method == "GET" };
    @id("c") @drop_fields("/a") permit (principal, action, resource in Service::"tickets");"""
    ruleset = rules(text, pay=PAY)
    keys = frozenset({"query_keys"})  # what a built-in rule reads

    def needs(url):
        return ruleset.site(ask("GET", url).target.origin).needs

    assert needs("https://pay.example.org/") == Needs(keys, frozenset({"body"}), approval=True, content=False)
    assert needs("https://tickets.example.org/") == Needs(keys, frozenset(), approval=False, content=True)
    elsewhere = Needs(keys | {"method"}, frozenset(), approval=False, content=False)
    assert needs("https://x.example.org/") == needs("https://y.example.org/") == elsewhere


def test_an_action_is_told_only_what_its_own_policies_read():
    text = b"""@id("a") permit (principal, action == Action::"pay.charge", resource)
    when { context.facts.body.amount < 10 && context.approved };
    @id("b") permit (principal, action in Action::"read", resource in Service::"pay")
    when { context.request.method == "GET" };"""
    ruleset = rules(text, pay=PAY)

    def context(method, url):
        question = ask(method, url, within=ruleset, budgets=USED)
        facts = ruleset.site(question.target.origin).needs
        return orjson.loads(ruleset.decide(known(question, facts)).input)["context"]

    charge = context("POST", "https://pay.example.org/v1/charges")
    assert (charge["approved"], charge["facts"]) == (False, {"body": {"amount": 12}})
    assert charge["request"].keys() == {"query_keys"}
    get = context("GET", "https://pay.example.org/v1/charges/7")
    assert get.keys() == {"budgets", "request", "task"}
    assert get["request"].keys() == {"method", "query_keys"}


def test_a_rule_set_that_nobody_has_any_more_is_gone_at_once():
    """What a reload leaves behind is out of the collector's sight (``wiring_reload.gently``): no cycles."""
    ruleset = rules(b'@id("host") permit (principal, action, resource in Host::"x.example.org");', pay=PAY)
    for host in ("tickets.example.org", "x.example.org", "y.example.org"):
        ruleset.decide(ask("GET", f"https://{host}/", within=ruleset))
        ruleset.could(ask("GET", f"https://{host}/", within=ruleset))
    left = [weakref.ref(ruleset), weakref.ref(ruleset._slices)]
    gc.disable()
    try:
        del ruleset
        assert [one() for one in left] == [None, None]
    finally:
        gc.enable()


ONE = next(policy for policy in rules().policies if policy.id == "tickets.read")


@given(st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=5))
def test_policies_are_written_as_canonical_json(names):
    policies = [replace(ONE, notes=replace(ONE.notes, id=name)) for name in names]
    whole = {"staticPolicies": dict.fromkeys(names, ONE.json), "templates": {}, "templateLinks": []}
    assert policies_text(policies) == canonical(whole)
