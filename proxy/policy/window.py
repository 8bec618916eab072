"""What tasks and agents have used of services in windows of time: a ledger that calls to them pass.

A window is fixed: it begins at a multiple of its length since the epoch. A request is counted for every
task and every agent of a chain, each once, or for none of them, so that delegation multiplies nothing.
What else a call uses is known when it has ended; it belongs to the window the call was counted in, so a
budget may be overrun by what is under way, and gives nothing more.

Rules of this file: it knows no clock and no store. Time is what callers say it is, and never goes back: a
clock that was set back leaves every budget in the window it was in until time has caught up. Of each
length there is one window, the present one; with its end all that was counted in it is dropped. Whoever
keeps the figures asks ``changed`` for them from time to time and hands them to ``restore`` at the next
start. The limit is in ``document``, and so in the input of the decision: to take it again needs no ledger.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, assert_never

import orjson

from proxy.errors import Code, Refusal
from proxy.identity.principal import Link
from proxy.policy.builtin import budget_rule
from proxy.policy.catalogue import Service
from proxy.policy.price import cost
from proxy.policy.service_budget import Per, ServiceBudget, Unit, Used
from proxy.policy.tally import Account, Counter, Kept, Window

NO_BUDGETS = b"{}"


class Subject(NamedTuple):
    """One link of a chain, by its ids."""

    agent: str
    task: str


class Left(NamedTuple):
    """What is left of a budget, and when (POSIX seconds) it begins anew."""

    budget: ServiceBudget
    left: int
    renews_at: int


class Taken:
    """One call, counted. It is settled once, by ``charge`` or ``give_back``; a second time does nothing."""

    __slots__ = ("_counters",)

    def __init__(self, counters: Sequence[Counter]) -> None:
        self._counters = counters

    def settle(self) -> Sequence[Counter]:
        """What it was counted in; nothing the next time."""
        counters, self._counters = self._counters, ()
        return counters


class Windows:
    """The present windows of all budgets. Use it from one thread; ``now`` is POSIX seconds everywhere."""

    __slots__ = ("_latest", "_windows")

    def __init__(self) -> None:
        self._latest = 0
        self._windows: dict[int, Window] = {}  # by length

    def document(self, service: Service | None, link: Link, now: int) -> bytes:
        """``context.budgets`` for one link: ``{"NAME":{"limit":N,"used":M},...}`` as canonical JSON."""
        if service is None or not service.budgets:
            return NO_BUDGETS
        at, accounts = self._at(now), _accounts(service, (Subject(link.agent.id, link.task.id),))
        members = {
            budget.name: {"limit": budget.limit, "used": self._total(budget, account, at)}
            for budget, account in accounts
        }
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)

    def take(self, service: Service | None, chain: Sequence[Link], now: int) -> Taken | Refusal | None:
        """Count one request for every link, or for none: RATE_LIMITED if a budget is spent.

        Rules have looked at the same figures, but other calls may have come between. None: there are no
        budgets, and nothing is counted.
        """
        if service is None or not service.budgets:
            return None
        at, accounts = self._at(now), _accounts(service, _links(chain))
        spent = [one for one in accounts if self._total(*one, at) >= one[0].limit]
        if not spent:
            return self._count(accounts, at)
        last, account = max(spent, key=lambda pair: _renewal(pair[0], at))
        return _refusal(service, last, account, self.retry_after(service, last.name, now))

    def count(self, service: Service, links: Sequence[Subject], now: int) -> Taken:
        """As ``take``, but of a call that has been made already: it counts, whatever is left."""
        return self._count(_accounts(service, links), self._at(now))

    def charge(self, service: Service, taken: Taken | None, used: Used) -> int | None:
        """Note what a call has used, now that it has ended; its cost in millionths, None without prices."""
        price = cost(used, service.prices)
        if taken is not None:
            self.add(taken, used, price or 0)
        return price

    def add(self, taken: Taken, used: Used, price: int) -> None:
        """As ``charge``, for a cost in millionths that is known already."""
        for counter in taken.settle():
            amount = _amount(counter.account.unit, used, price)
            if amount:
                counter.add(amount)

    def give_back(self, taken: Taken | None) -> None:
        """Undo ``take``: the call was refused after all, or provably nothing of it was sent."""
        for counter in taken.settle() if taken is not None else ():
            if counter.account.unit is Unit.REQUESTS:
                counter.add(-1)

    def retry_after(self, service: Service, budget_name: str, now: int) -> int:
        """The seconds until a budget begins anew, at least 1.

        :raises KeyError: if the service has no such budget.
        """
        for budget in service.budgets:
            if budget.name == budget_name:
                return max(1, _renewal(budget, self._at(now)) - now)
        raise KeyError(f"{service.name} has no budget {budget_name!r}")

    def left(self, service: Service, chain: Sequence[Link], now: int) -> tuple[Left, ...]:
        """What a call through this chain can still use of each budget: the least that is left at any link."""
        at = self._at(now)
        most = {budget: budget.limit if not chain else 0 for budget in service.budgets}
        for budget, account in _accounts(service, _links(chain)):
            most[budget] = max(most[budget], self._total(budget, account, at))
        return tuple(
            Left(budget, max(0, budget.limit - used), _renewal(budget, at)) for budget, used in most.items()
        )

    def changed(self, now: int) -> Kept:
        """What this run has counted, in all, on each present account that has changed since asked last."""
        at = self._at(now)
        self._windows = {length: window for length, window in self._windows.items() if at < window.end}
        tallies = []
        for window in self._windows.values():
            tallies += [counter.tally() for counter in window.changed]
            window.changed.clear()
        return Kept(at, tuple(tallies))

    def restore(self, kept: Kept) -> None:
        """What earlier runs have counted: it counts against the limits, ``changed`` never has it.

        A second figure for an account replaces the first. What was used in a window that is over is dropped.
        """
        at = self._at(max([kept.seen, *(tally.begin for tally in kept.tallies)]))
        for tally in kept.tallies:
            window = self._window(tally.length, at)
            if tally.begin == window.begin:
                window.counter(tally.account).before = tally.used

    def forget(self, task_id: str) -> None:
        """The task is over and calls no more: drop its accounts."""
        for window in self._windows.values():
            window.forget(task_id)

    def behind(self, now: int) -> int:
        """By how many seconds the clock has been set back; 0 if it has not, or time has caught up."""
        return max(0, self._latest - now)

    def _at(self, now: int) -> int:
        """What time it is: the latest it has ever been."""
        self._latest = max(self._latest, now)
        return self._latest

    def _window(self, length: int, at: int) -> Window:
        window = self._windows.get(length)
        if window is None or at >= window.end:
            window = self._windows[length] = Window(length, at)
        return window

    def _count(self, accounts: Iterable[tuple[ServiceBudget, Account]], at: int) -> Taken:
        counters = []
        for budget, account in accounts:
            counter = self._window(budget.window, at).counter(account)
            if budget.unit is Unit.REQUESTS:
                counter.add(1)
            counters.append(counter)
        return Taken(counters)

    def _total(self, budget: ServiceBudget, account: Account, at: int) -> int:
        window = self._windows.get(budget.window)
        return 0 if window is None or at >= window.end else window.total(account)


def _links(chain: Sequence[Link]) -> list[Subject]:
    """A chain by its ids, whoever calls first."""
    return [Subject(link.agent.id, link.task.id) for link in reversed(chain)]


def _accounts(service: Service, links: Sequence[Subject]) -> list[tuple[ServiceBudget, Account]]:
    """Of every budget the accounts of a chain: one for each task, or for each agent in it."""
    tasks = dict.fromkeys([link.task for link in links])
    agents = dict.fromkeys([link.agent for link in links])
    return [
        (budget, Account(service.name, budget.name, budget.unit, budget.per, subject))
        for budget in service.budgets
        for subject in (tasks if budget.per is Per.TASK else agents)
    ]


def _renewal(budget: ServiceBudget, at: int) -> int:
    """When the window ends in which the moment ``at`` lies."""
    return at - at % budget.window + budget.window


def _amount(unit: Unit, used: Used, price: int) -> int:
    """What a call adds to a budget when it has ended; as a request it was counted before."""
    match unit:
        case Unit.REQUESTS:
            return 0
        case Unit.OCTETS:
            return used.octets
        case Unit.TOKENS:
            return used.input_tokens + used.output_tokens
        case Unit.COST:
            return price
        case _:
            assert_never(unit)


def _refusal(service: Service, budget: ServiceBudget, account: Account, retry_after: int) -> Refusal:
    amount = f"{budget.limit} {budget.unit}"
    if budget.unit is Unit.COST:
        amount = f"a cost of {budget.limit // 1_000_000}.{budget.limit % 1_000_000:06d}"
    detail = (
        f"the {account.per} {account.subject} has used up the budget {budget.name!r} of {service.name}: "
        f"{amount} in {budget.window} seconds"
    )
    return Refusal(Code.RATE_LIMITED, detail, budget_rule(service, budget), retry_after)
