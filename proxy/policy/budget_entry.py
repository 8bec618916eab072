"""The budgets and prices of a service, as its file declares them."""

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from proxy.policy.entry import Model
from proxy.policy.service_budget import Per, Price, ServiceBudget, Unit

MAX_LIMIT = 10**15  # within what JSON numbers hold exactly, in millionths too
MAX_WINDOW = 366 * 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WINDOW = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_MODEL = re.compile(r"[!-)+-~]{0,200}[!-~]")
_TAKEN = frozenset({"in", "is", "has", "like", "if", "then", "else", "true", "false"})  # words of Cedar


def millionths(value: object) -> int:
    """An amount of money in millionths; what YAML read is exact to more digits than that.

    :raises ValueError: if it is none, is negative, too large, or has more than six decimal places.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("an amount, such as 2.50")  # noqa: TRY004 - pydantic wants ValueError
    amount = Decimal(repr(value)) * 1_000_000
    if not amount.is_finite() or amount < 0 or amount > MAX_LIMIT or amount != amount.to_integral_value():
        raise ValueError("an amount, such as 2.50: not negative, and of six decimal places at most")
    return int(amount)


def _budget_name(value: str) -> str:
    if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", value) is None or value in _TAKEN:
        raise ValueError("a name of lower-case letters, digits and underscores that is no word of Cedar")
    return value


def _model_name(value: str) -> str:
    if _MODEL.fullmatch(value) is None:
        raise ValueError("the name of a model, or a prefix that ends with *")
    return value


Amount = Annotated[int, BeforeValidator(millionths)]
Count = Annotated[int, Field(ge=1, le=MAX_LIMIT)]
BudgetName = Annotated[str, AfterValidator(_budget_name)]
ModelName = Annotated[str, AfterValidator(_model_name)]


class BudgetEntry(Model):
    """One budget: exactly one of its four units is given."""

    per: Literal["task", "agent"]
    window: str
    requests: Count | None = None
    octets: Count | None = None
    tokens: Count | None = None
    cost: Amount | None = None

    @field_validator("window")
    @classmethod
    def _window(cls, value: str) -> str:
        found = _WINDOW.fullmatch(value)
        if found is None or int(found[1]) * _SECONDS[found[2]] > MAX_WINDOW:
            raise ValueError("a length of time, such as 30s, 10m, 1h or 1d, of at most 366d")
        return value

    @field_validator("cost")
    @classmethod
    def _some(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("a budget of nothing allows nothing; forbid it by a rule")
        return value

    @model_validator(mode="after")
    def _one_unit(self) -> "BudgetEntry":
        if len(self._limits()) != 1:
            raise ValueError(f"exactly one of {', '.join(Unit)}")
        return self

    def _limits(self) -> list[tuple[Unit, int]]:
        given = {
            Unit.REQUESTS: self.requests,
            Unit.OCTETS: self.octets,
            Unit.TOKENS: self.tokens,
            Unit.COST: self.cost,
        }
        return [(unit, limit) for unit, limit in given.items() if limit is not None]

    @property
    def unit(self) -> Unit:
        """What is counted."""
        return self._limits()[0][0]

    def budget(self, name: str) -> ServiceBudget:
        """The entry as a value."""
        window = int(self.window[:-1]) * _SECONDS[self.window[-1]]
        unit, limit = self._limits()[0]
        return ServiceBudget(name, Per(self.per), window, unit, limit)


class PriceEntry(Model):
    """What a million tokens cost."""

    input: Amount
    output: Amount

    def price(self, model: str) -> Price:
        """The entry as a value."""
        return Price(model, self.input, self.output)
