"""Prices: the most specific one, and the dearest where none is known."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.price import cost
from proxy.policy.service_budget import Price, Used

MILLION = 1_000_000
PRICES = (
    Price("gpt-4o", 2_500_000, 10_000_000),
    Price("gpt-4o*", 5_000_000, 15_000_000),
    Price("gpt-4o-mini*", 150_000, 600_000),
    Price("o1", 15_000_000, 60_000_000),
    Price("cheap-in", 1, 90_000_000),
)

names = st.text("ab*-", max_size=4)
amounts = st.integers(0, 10**9)
some_prices = st.lists(st.builds(Price, names, amounts, amounts), min_size=1, max_size=5)
usages = st.builds(Used, st.just(0), amounts, amounts, names)


@pytest.mark.parametrize(
    ("model", "input_price", "output_price"),
    [
        ("gpt-4o", 2_500_000, 10_000_000),
        ("gpt-4o-2024-08-06", 5_000_000, 15_000_000),
        ("gpt-4o-mini", 150_000, 600_000),
        ("gpt-4o-mini-2024", 150_000, 600_000),
        ("o1", 15_000_000, 60_000_000),
    ],
)
def test_an_exact_model_beats_a_prefix_and_a_longer_prefix_a_shorter_one(model, input_price, output_price):
    assert cost(Used(0, MILLION, 0, model), PRICES) == input_price
    assert cost(Used(0, 0, MILLION, model), PRICES) == output_price
    assert cost(Used(0, MILLION, 2 * MILLION, model), PRICES) == input_price + 2 * output_price


@pytest.mark.parametrize("model", ["", "o1-mini", "GPT-4o", "gpt-4", "*", "gpt-4*"])
def test_a_model_that_no_price_names_costs_what_the_dearest_would(model):
    assert cost(Used(0, MILLION, 0, model), PRICES) == 15_000_000
    assert cost(Used(0, 0, MILLION, model), PRICES) == 90_000_000  # another one is dearest for this


def test_a_star_alone_prices_every_model_that_is_known():
    prices = (Price("*", 1, 1), Price("dear", 9, 9))
    assert cost(Used(0, MILLION, 0, "any"), prices) == 1
    assert cost(Used(0, MILLION, 0, ""), prices) == 9


def test_a_part_of_a_millionth_is_a_whole_one():
    assert cost(Used(0, 1, 0, "m"), (Price("m", 1, 0),)) == 1
    assert cost(Used(0, 0, 0, "m"), (Price("m", 1, 1),)) == 0


def test_without_prices_nothing_is_said():
    assert cost(Used(0, 5, 5, "m"), ()) is None


@given(usages, some_prices)
def test_it_is_the_price_of_one_of_them_rounded_up(used, prices):
    paid = cost(used, prices)
    exact = [Fraction(used.input_tokens * p.input + used.output_tokens * p.output, MILLION) for p in prices]
    assert any(price <= paid < price + 1 for price in exact)


@given(usages, some_prices, st.randoms())
def test_the_order_of_the_prices_says_nothing(used, prices, random):
    shuffled = prices.copy()
    random.shuffle(shuffled)
    assert cost(used, shuffled) == cost(used, prices)


@given(usages, some_prices)
def test_an_unknown_model_is_never_cheaper_than_a_known_one(used, prices):
    assert cost(used._replace(model=""), prices) >= cost(used, prices)


@given(usages, some_prices, amounts, amounts)
def test_more_tokens_never_cost_less(used, prices, more_in, more_out):
    larger = used._replace(
        input_tokens=used.input_tokens + more_in, output_tokens=used.output_tokens + more_out
    )
    assert cost(larger, prices) >= cost(used, prices)


@given(usages, some_prices)
def test_the_most_specific_price_is_found_as_by_looking_at_every_prefix(used, prices):
    """The naive way: the exact name, then ever shorter prefixes."""
    wanted = used.model
    keys = [f"{wanted[:length]}*" for length in range(len(wanted), -1, -1)] if wanted else []
    if wanted and not wanted.endswith("*"):
        keys.insert(0, wanted)
    chosen = next((named for key in keys if (named := [p for p in prices if p.model == key])), prices)
    totals = [used.input_tokens * p.input + used.output_tokens * p.output for p in chosen]
    assert cost(used, prices) == max(-(-total // MILLION) for total in totals)
