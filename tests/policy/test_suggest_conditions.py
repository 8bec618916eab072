import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.identity.registry import Registry, parse_agents
from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.rebuilt import Past
from proxy.policy.recorded import RecordedCall
from proxy.policy.replay import Difference, under
from proxy.policy.statement import Policy, parse_policies
from proxy.policy.suggest import FILE, suggest
from proxy.policy.suggest_cases import FILE as CASES
from proxy.policy.suggest_cases import cases_for
from proxy.policy.suggest_conditions import beyond, clauses, demands_approval
from tests.policy import worlds
from tests.policy.recordings import call
from tests.policy.test_suggest import AGENTS_FILE

REFUND = """
@id("refund")
permit (principal in Tier::"standard", action == Action::"tickets.refund", resource in Service::"tickets")
when { context.task.scopes.contains("refund") && (context.facts.body.amount <= 100 || context.approved) }
unless { context.request.path like "/v1/test/*" || context.task.delegated };
"""
PLAIN = """
@id("plain")
permit (principal, action, resource in Service::"tickets");
"""
ANY = """
@id("any")
permit (principal, action, resource);
"""
TAKEN = (
    'when { resource in Service::"tickets" }',
    'when { context.task.scopes.contains("refund") }',
    "when { context.facts.body.amount <= 100 || context.approved }",
    'unless { context.request.path like "/v1/test/*" }',
    "unless { context.task.delegated }",
)


def permits(*texts: str) -> dict[str, Policy]:
    read = parse_policies("".join(texts).encode(), "policies/test.cedar")
    return {policy.id: policy for policy in read if isinstance(policy, Policy)}


def test_everything_but_who_and_what_is_taken_over_in_its_order():
    assert clauses(["refund"], permits(REFUND)) == TAKEN


def test_what_was_taken_over_reads_again_as_what_it_was():
    text = '@id("again") permit (principal, action, resource)\n' + "\n".join(TAKEN) + ";"
    assert clauses(["again"], permits(text)) == TAKEN


def test_of_several_permits_the_one_that_demands_most():
    known = permits(REFUND, PLAIN, ANY)
    assert clauses(["any", "plain", "refund"], known) == TAKEN
    assert clauses(["any", "plain"], known) == TAKEN[:1]
    assert clauses(["any"], known) == ()


def test_what_is_not_known_demands_nothing():
    assert clauses([], permits(REFUND)) == ()
    assert clauses(["observe", "gone"], permits(REFUND)) == ()


def test_what_is_demanded_anyway_is_not_said_twice():
    said = ['resource in Service::"tickets"']
    assert beyond(TAKEN, ["refund", "more"], said) == TAKEN[2:]
    assert beyond(TAKEN, [], said) == TAKEN[1:]
    assert beyond(TAKEN + TAKEN, [], []) == TAKEN
    assert beyond((), ["refund"], said) == ()


def test_several_scopes_that_the_use_had_are_not_said_twice():
    several = (
        'when { context.task.scopes.containsAll(["a", "b"]) }',
        'when { context.task.scopes.containsAll(["a", "\\u{7f}"]) }',
        'when { context.task.scopes.containsAny(["a"]) }',
    )
    assert beyond(several, ["a", "b", "c"], []) == several[1:]
    assert beyond(several, ["a"], []) == several


def test_an_approval_is_demanded_where_it_is_read():
    assert demands_approval(TAKEN)
    assert not demands_approval(TAKEN[:2])
    assert not demands_approval(())


# -- what it comes to --

CHARGE = b"""
@id("charge") permit (principal, action == Action::"pay.charge", resource in Service::"pay")
when { context.task.scopes.contains("pay") && (context.facts.body.amount <= 100 || context.approved) };
@id("look") permit (principal, action == Action::"pay.get", resource);
"""
RULES = worlds.rules(CHARGE, pay=worlds.PAY)
FILES = {
    **worlds.FILES,
    "agents.yaml": AGENTS_FILE,
    "services/pay.yaml": worlds.PAY,
    "policies/tickets.cedar": CHARGE,
}
PAST = Past(RULES.catalogue, Registry.of(worlds.AGENTS))


def charge(amount: int, *, approved: bool = False, scopes: tuple[str, ...] = ("pay",)) -> RecordedCall:
    content = orjson.dumps({"amount": amount})
    url = "https://pay.example.org/v1/charges"
    return call(RULES, "POST", url, scopes=scopes, body=content, approved=approved)


def learnt(calls) -> tuple[str, RuleSet, Registry, list[Case | object]]:
    found = suggest(calls, lambda _: PAST, FILES, replace=True)
    registry = parse_agents(AGENTS_FILE, "agents.yaml")
    assert isinstance(registry, Registry)
    rules = load_rules(found.files, registry)
    assert isinstance(rules, RuleSet), rules
    data = cases_for(found.permits, found.seen, rules, registry)
    cases = [] if data is None else parse_cases(data, CASES)
    return found.files.get(FILE, b"").decode(), rules, registry, cases


def test_what_waited_for_a_person_waits_again():
    calls = [charge(100), charge(500), charge(500, approved=True)]
    text, rules, registry, cases = learnt(calls)
    assert [recorded.effect for recorded in calls] == ["allow", "hold", "allow"]
    assert text.count("@id(") == 1
    assert text.endswith(
        """\
when { context.task.environment == "development" && context.task.scopes.contains("pay") }
when { context.facts.body.amount <= 100 || context.approved };
"""
    )
    for recorded in calls:
        then = under(recorded, PAST, rules, registry)
        assert then.difference is Difference.OTHER_RULE, then
    assert [(case.expect.value, case.body) for case in cases] == [
        ("allow", b'{"amount":100}'),
        ("deny", b'{"amount":100}'),
    ]


def test_what_was_only_ever_approved_has_a_case_with_an_approval():
    _, _, _, cases = learnt([charge(500, approved=True)])
    assert [(case.expect.value, case.approved) for case in cases] == [("allow", True), ("deny", True)]


@settings(max_examples=40)
@given(
    st.lists(
        st.builds(
            charge,
            st.integers(0, 300),
            approved=st.booleans(),
            scopes=st.sampled_from([(), ("pay",), ("more", "pay")]),
        )
        | st.builds(lambda: call(RULES, "GET", "https://pay.example.org/v1/charges/7")),
        max_size=6,
    )
)
def test_nothing_is_allowed_that_was_not(calls):
    _, rules, registry, _ = learnt(calls)
    for recorded in calls:
        then = under(recorded, PAST, rules, registry)
        assert then.difference is not Difference.NEWLY_ALLOWED, then
        if recorded.effect == "allow":
            assert then.difference is Difference.OTHER_RULE, then
