"""Budgets of a service: how much of it one task or one agent may use in a window of time.

Values only; ``window`` counts. A window is fixed: it begins at a multiple of its length since the epoch.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Per(StrEnum):
    """Who has the budget: every task of a chain for itself, or every agent in it."""

    TASK = "task"
    AGENT = "agent"


class Unit(StrEnum):
    """What is counted. Octets are those of both directions; cost is in millionths of the currency."""

    REQUESTS = "requests"
    OCTETS = "octets"
    TOKENS = "tokens"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class ServiceBudget:
    """One budget of a service; ``window`` is in seconds. Rules see it as ``context.budgets.NAME``."""

    name: str
    per: Per
    window: int
    unit: Unit
    limit: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs a million tokens, in millionths of the currency. ``model`` may end with ``*``."""

    model: str
    input: int
    output: int


class Used(NamedTuple):
    """What one call has used. ``model`` is "" if none is known; ``estimated`` tokens were not reported."""

    octets: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""
    estimated: bool = False
