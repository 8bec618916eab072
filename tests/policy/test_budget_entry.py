from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.budget_entry import MAX_LIMIT, millionths
from proxy.policy.service_budget import Per, Price, ServiceBudget, Unit
from proxy.policy.service_file import parse_service
from tests.policy.worlds_catalogue import BARE, FULL, parsed

LLM = BARE + "operations:\n  chat: {group: write, method: POST, path: /v1/chat, llm: openai}\n"


def test_budgets_and_prices_are_read():
    service = parsed(FULL)
    assert service.budgets == (
        ServiceBudget("hourly", Per.TASK, 3600, Unit.REQUESTS, 100),
        ServiceBudget("spend", Per.AGENT, 86_400, Unit.COST, 5_000_000),
    )
    assert service.prices == (Price("gpt-4o*", 2_500_000, 10_000_000),)


@pytest.mark.parametrize(
    ("window", "seconds"), [("30s", 30), ("10m", 600), ("1h", 3600), ("1d", 86_400), ("366d", 366 * 86_400)]
)
def test_windows(window, seconds):
    service = parsed(BARE + f"budgets: {{b: {{per: task, window: {window}, octets: 1}}}}\n")
    assert service.budgets == (ServiceBudget("b", Per.TASK, seconds, Unit.OCTETS, 1),)


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ("{per: task, window: 1h}", "budgets.b: exactly one of requests, octets, tokens, cost"),
        ("{per: task, window: 1h, requests: 1, octets: 1}", "budgets.b: exactly one of"),
        ("{per: team, window: 1h, requests: 1}", "budgets.b.per"),
        ("{per: task, window: 0h, requests: 1}", "budgets.b.window: a length of time"),
        ("{per: task, window: 60, requests: 1}", "budgets.b.window"),
        ("{per: task, window: 367d, requests: 1}", "of at most 366d"),
        ("{per: task, window: 1 h, requests: 1}", "budgets.b.window: a length of time"),
        ("{per: task, window: 1h, requests: 0}", "budgets.b.requests"),
        ("{per: task, window: 1h, requests: 1.0}", "budgets.b.requests"),
        ("{per: task, window: 1h, octets: 1000000000000001}", "budgets.b.octets"),
        ("{per: task, window: 1h, cost: 0.00}", "budgets.b.cost: a budget of nothing"),
        ("{per: task, window: 1h, cost: -1}", "budgets.b.cost: an amount"),
        ("{per: task, window: 1h, cost: 0.0000001}", "six decimal places"),
        ("{per: task, window: 1h, cost: '5'}", "budgets.b.cost: an amount"),
        ("{per: task, window: 1h, cost: true}", "budgets.b.cost: an amount"),
        ("{per: task, window: 1h, cost: .inf}", "budgets.b.cost: an amount"),
        ("{per: task, window: 1h, cost: .nan}", "budgets.b.cost: an amount"),
        ("{per: task, window: 1h, cost: 5}", "a budget of cost needs prices"),
    ],
)
def test_what_is_wrong_with_a_budget_is_named(budgets, words):
    problems = parse_service((LLM + f"budgets:\n  b: {budgets}\n").encode(), "f")
    assert isinstance(problems, list)
    assert [problem.line for problem in problems] == [10]
    assert words in problems[0].message


@pytest.mark.parametrize("name", ["in", "has", "A", "a-b", "1a", "", "a" * 33])
def test_a_budget_is_called_what_rules_can_write(name):
    budget = "{per: task, window: 1h, requests: 1}"
    problems = parse_service((BARE + f"budgets: {{'{name}': {budget}}}\n").encode(), "f")
    assert isinstance(problems, list)
    assert "no word of Cedar" in problems[0].message


@pytest.mark.parametrize("unit", ["tokens", "cost"])
def test_tokens_are_counted_of_calls_to_language_models_only(unit):
    text = (
        BARE
        + f"prices: {{m: {{input: 1, output: 1}}}}\nbudgets: {{b: {{per: task, window: 1h, {unit}: 1}}}}\n"
    )
    problems = parse_service(text.encode(), "f")
    assert [str(problem) for problem in problems] == [
        f"f:8: budgets.b: no operation has llm, so no {unit} would ever be counted"
    ]


@pytest.mark.parametrize("model", ["a b", "a*b", "", "x" * 202])
def test_a_price_has_the_name_of_a_model(model):
    problems = parse_service((LLM + f"prices: {{'{model}': {{input: 1, output: 1}}}}\n").encode(), "f")
    assert isinstance(problems, list)
    assert "the name of a model" in problems[0].message


def test_what_is_free_has_a_price_of_nothing():
    assert parsed(LLM + "prices: {'*': {input: 0, output: 0.0}}\n").prices == (Price("*", 0, 0),)


@given(st.integers(0, 10**12))
def test_amounts_of_up_to_six_places_are_exact(amount):
    assert millionths(float(Decimal(amount) / 1_000_000)) == amount


@given(st.one_of(st.floats(), st.integers(), st.booleans(), st.text(), st.none()))
def test_an_amount_is_exact_or_refused(value):
    try:
        amount = millionths(value)
    except ValueError:
        return
    assert 0 <= amount <= MAX_LIMIT
    assert Decimal(amount) == Decimal(repr(value)) * 1_000_000
