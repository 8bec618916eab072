"""What a call to a language model costs, from the tokens it used and the prices its service declares.

An exact model beats a prefix, a longer prefix a shorter one. A model that no price names, or that is not
known at all, costs what the dearest price would make it: not knowing is never cheaper than knowing.
"""

from collections.abc import Sequence

from proxy.policy.service_budget import Price, Used

_TOKENS = 1_000_000  # what a price is for


def cost(used: Used, prices: Sequence[Price]) -> int | None:
    """The cost in millionths of the currency, rounded up; None if no price is declared."""
    if not prices:
        return None
    return max(_of(used, price) for price in _fitting(used.model, prices) or prices)


def _fitting(model: str, prices: Sequence[Price]) -> list[Price]:
    """The most specific prices for a model: none for ``""``, more than one only if they name the same."""
    if not model:
        return []
    exact = [price for price in prices if price.model == model and not price.model.endswith("*")]
    if exact:
        return exact
    prefixes = [price for price in prices if price.model.endswith("*") and model.startswith(price.model[:-1])]
    longest = max((len(price.model) for price in prefixes), default=0)
    return [price for price in prefixes if len(price.model) == longest]


def _of(used: Used, price: Price) -> int:
    return -(-(used.input_tokens * price.input + used.output_tokens * price.output) // _TOKENS)
