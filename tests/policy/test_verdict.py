"""What an answer comes to: holds, budgets, obligations, and the words for them."""

import pytest

from proxy.errors import Code
from proxy.policy.decision import Allow, Deny, Hold
from proxy.policy.obligation import NO_OBLIGATIONS, Obligations
from tests.policy.worlds import GET, PAY, again, ask, rules

CHARGE = "https://pay.example.org/v1/charges"
USED = {"daily": {"limit": 5_000_000, "used": 0}, "hourly": {"limit": 100, "used": 7}}
SPENT = {**USED, "hourly": {"limit": 100, "used": 100}}
BOTH = {"daily": {"limit": 5_000_000, "used": 6_000_000}, "hourly": {"limit": 100, "used": 100}}
BY_PERSON = """@id("charge") permit (principal, action == Action::"pay.charge", resource)
when { context.approved };
@id("small") permit (principal, action == Action::"pay.charge", resource)
when { context.facts.body.amount < 10 };
@id("large") forbid (principal, action == Action::"pay.charge", resource)
when { context.facts.body.amount > 1000 };
@id("night") forbid (principal, action == Action::"pay.charge", resource)
when { context.facts.body.amount == 500 } unless { context.approved };
@id("broken") forbid (principal, action == Action::"pay.charge", resource)
when { context.facts.body.amount == 666 && context.facts.body.amount + 9223372036854775807 > 0 };
@id("get") permit (principal, action == Action::"pay.get", resource);
"""


def pay(text=BY_PERSON):
    return rules(text.encode(), pay=PAY)


def charge(ruleset, amount, budgets=USED, *, approved=False, time=1_700_000_000):
    question = ask("POST", CHARGE, within=ruleset, facts={"body": {"amount": amount}}, budgets=budgets,
                   approved=approved, time=time)  # fmt: skip
    return ruleset.decide(question)


# -- holds --


def test_what_approval_would_allow_is_held():
    ruleset = pay()
    ruling = charge(ruleset, 50)
    assert isinstance(ruling.decision, Hold)
    refusal = ruling.decision.refusal
    assert (refusal.code, refusal.rule, ruling.decision.rules) == (
        Code.APPROVAL_REQUIRED,
        "charge",
        ("charge",),
    )
    assert refusal.detail == f"a person has to approve POST {CHARGE}, as the rule charge wants"
    assert b'"approved":false' in ruling.input
    assert again(ruling, ruleset) == (False, ())
    held = charge(ruleset, 500).decision
    assert isinstance(held, Hold)
    assert held.rules == ("charge",)


def test_what_is_allowed_as_it_stands_does_not_wait():
    assert charge(pay(), 5).decision == Allow(("small",))


def test_approved_it_is_allowed_and_never_held_again():
    ruling = charge(pay(), 50, approved=True)
    assert ruling.decision == Allow(("charge",))
    assert b'"approved":true' in ruling.input
    assert isinstance(charge(pay(), 5000, approved=True).decision, Deny)


def test_what_approval_would_not_allow_is_denied():
    decision = charge(pay(), 5000).decision
    assert isinstance(decision, Deny)
    assert (decision.refusal.code, decision.refusal.rule) == (Code.POLICY_DENY, "large")


def test_an_error_is_neither_allowed_nor_held():
    for approved in (False, True):
        decision = charge(pay(), 666, approved=approved).decision
        assert isinstance(decision, Deny)
        assert decision.refusal.code is Code.POLICY_ERROR
        assert "broken" in decision.errors[0]


def test_where_nobody_reads_it_approval_changes_nothing():
    ruleset = pay('@id("a") permit (principal, action in Action::"read", resource);')
    for approved in (False, True):
        ruling = charge(ruleset, 1, approved=approved)
        assert isinstance(ruling.decision, Deny)
        assert b"approved" not in ruling.input


# -- budgets --


def test_a_spent_budget_refuses_for_as_long_as_its_window_lasts():
    ruleset = pay()
    start = 1_700_000_000 // 3600 * 3600
    decision = charge(ruleset, 5, SPENT, time=start + 100).decision
    assert isinstance(decision, Deny)
    refusal = decision.refusal
    assert (refusal.code, refusal.rule, refusal.retry_after) == (
        Code.RATE_LIMITED, "gatepass.budget.pay.hourly", 3500
    )  # fmt: skip
    assert (
        refusal.detail
        == "The budget hourly of the service pay is spent for this task. It counts anew in 3500 s."
    )
    later = charge(ruleset, 5, SPENT, time=start + 3599).decision
    assert isinstance(later, Deny)
    assert later.refusal.retry_after == 1
    assert charge(ruleset, 5).decision == Allow(("small",))


def test_with_several_the_longest_counts():
    decision = charge(pay(), 5, BOTH, time=86_400 * 20_000 + 5_000).decision
    assert isinstance(decision, Deny)
    assert decision.rules == ("gatepass.budget.pay.daily", "gatepass.budget.pay.hourly")
    assert decision.refusal.retry_after == 81_400


def test_budgets_are_heard_last_and_approval_does_not_help():
    decision = charge(pay(), 5000, SPENT).decision
    assert isinstance(decision, Deny)
    assert decision.rules == ("gatepass.budget.pay.hourly", "large")
    assert (decision.refusal.code, decision.refusal.rule) == (Code.POLICY_DENY, "large")
    waiting = charge(pay(), 50, SPENT).decision
    assert isinstance(waiting, Deny)
    assert waiting.refusal.code is Code.RATE_LIMITED


def test_counters_are_in_the_input_and_must_be_right():
    ruleset = pay()
    ruling = charge(ruleset, 5, SPENT)
    assert b'"budgets":{"daily":{"limit":5000000,"used":0},"hourly":{"limit":100,"used":100}}' in ruling.input
    assert again(ruling, ruleset) == (False, ("gatepass.budget.pay.hourly",))
    for wrong in ({}, {"hourly": USED["hourly"]}, {**USED, "more": USED["hourly"]}):
        decision = charge(ruleset, 5, wrong).decision
        assert isinstance(decision, Deny)
        assert decision.refusal.code is Code.POLICY_ERROR


def test_a_service_without_budgets_has_none():
    assert b"budgets" not in rules(pay=PAY).decide(ask("GET", GET)).input


# -- obligations and words --

ALL = '@id("all") {} permit (principal, action, resource); @id("read") {} permit (principal, action in Action::"read", resource);'


def test_the_obligations_of_all_determining_permits_add_up():
    text = ALL.format(
        '@drop_headers("cookie") @max_response("2MiB")', '@drop_headers("x-a") @max_response("1KiB")'
    )
    ruleset = rules(text.encode())
    assert ruleset.decide(ask("GET", GET, within=ruleset)).decision == Allow(
        ("all", "read"), Obligations(drop_headers=frozenset({"cookie", "x-a"}), max_response=1024)
    )
    writing = ruleset.decide(ask("POST", GET, within=ruleset)).decision
    assert isinstance(writing, Allow)
    assert writing.obligations == Obligations(drop_headers=frozenset({"cookie"}), max_response=2 << 20)
    assert rules(ALL.format("", "").encode()).decide(ask("GET", GET)).decision.obligations is NO_OBLIGATIONS


@pytest.mark.parametrize(
    ("notes", "detail"),
    [
        ('@reason("No.") @advice("Ask a person.")', "No. Ask a person."),
        ('@advice("Ask a person.")', f"the rule no forbids GET {GET} Ask a person."),
        ('@reason("No.")', "No."),
    ],
)
def test_advice_follows_the_reason(notes, detail):
    ruleset = rules(f'@id("no") {notes} forbid (principal, action, resource);'.encode())
    assert ruleset.decide(ask("GET", GET)).decision.refusal.detail == detail
