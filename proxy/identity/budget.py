"""What tasks have used of their budgets: an in-memory ledger that every request passes.

A request is taken from every task of its chain at once or from none, so that handing a task to many
agents never multiplies what it may use. Only tasks with a limit have an account; a chain without one
costs a few comparisons. Octets are known when they have passed, so a task may overrun that budget by what
is under way, and gets nothing more.

Rules of this file: it knows no clock and no store. Whoever keeps the figures asks ``changed`` for them
from time to time and hands them to ``restore`` at the next start.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.identity.principal import Budgets, Link
from proxy.identity.rights import limits


class Spent(NamedTuple):
    """What one task, with all that was delegated from it, has used."""

    requests: int
    octets: int


_NONE_SPENT = Spent(0, 0)


class _Account:
    """One task's account: what this run has used, and what earlier runs had."""

    __slots__ = ("before", "octets", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.octets = 0
        self.before = _NONE_SPENT

    def left(self, limit: Budgets) -> Budgets:
        requests, octets = limit.requests, limit.octets
        return Budgets(
            None if requests is None else max(0, requests - self.requests - self.before.requests),
            None if octets is None else max(0, octets - self.octets - self.before.octets),
        )


class Spending:
    """The accounts of all tasks that have a limit. Use it from one thread."""

    __slots__ = ("_accounts", "_changed")

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._changed: set[str] = set()

    def take(self, links: Sequence[Link]) -> Refusal | None:
        """Take one request from every task of the chain; or nothing, and say whose budget is spent."""
        limited = _limited(links)
        for link in reversed(limited):
            refusal = _refusal(limits(link.agent, link.task), self.left(link), link, links[-1])
            if refusal is not None:
                return refusal
        for link in limited:
            self._account(link.task.id).requests += 1
            self._changed.add(link.task.id)
        return None

    def give_back(self, links: Sequence[Link]) -> None:
        """Undo one ``take`` of the same chain: the request was refused after all, and nothing has left."""
        for link in _limited(links):
            account = self._accounts.get(link.task.id)
            if account is not None and account.requests > 0:
                account.requests -= 1
                self._changed.add(link.task.id)

    def charge(self, links: Sequence[Link], octets: int) -> None:
        """Note that so many octets have passed for a request that was taken.

        A task that was forgotten meanwhile is over and gets no new account.
        """
        for link in _limited(links):
            account = self._accounts.get(link.task.id)
            if account is not None:
                account.octets += octets
                self._changed.add(link.task.id)

    def left(self, link: Link) -> Budgets:
        """What the task of this link may still use: None where it has no limit, never below 0."""
        limit = limits(link.agent, link.task)
        account = self._accounts.get(link.task.id)
        return limit if account is None else account.left(limit)

    def changed(self) -> dict[str, Spent]:
        """By task id, all that this run has used, for each task where that changed since the last call."""
        changed, self._changed = self._changed, set()
        accounts = ((task_id, self._accounts[task_id]) for task_id in changed)
        return {task_id: Spent(account.requests, account.octets) for task_id, account in accounts}

    def restore(self, spent: Mapping[str, Spent]) -> None:
        """What earlier runs have used, by task id: it counts against the limits, ``changed`` never has it.

        A second figure for a task replaces the first.
        """
        for task_id, before in spent.items():
            self._account(task_id).before = before

    def forget(self, task_id: str) -> None:
        """The task is over: drop its account, if it has one. Ask ``changed`` first to keep its figures."""
        self._accounts.pop(task_id, None)
        self._changed.discard(task_id)

    def _account(self, task_id: str) -> _Account:
        account = self._accounts.get(task_id)
        if account is None:
            account = self._accounts[task_id] = _Account()
        return account


def _limited(links: Sequence[Link]) -> list[Link]:
    """The links whose task has a limit; it is asked for every request, so it makes no ``Budgets``."""
    limited = []
    for link in links:
        task, ceiling = link.task.budgets, link.agent.ceiling.budgets
        if (
            task.requests is not None
            or task.octets is not None
            or ceiling.requests is not None
            or ceiling.octets is not None
        ):
            limited.append(link)
    return limited


def _refusal(limit: Budgets, left: Budgets, link: Link, caller: Link) -> Refusal | None:
    if left.requests == 0:
        amount = f"{limit.requests} requests"
    elif left.octets == 0:
        amount = f"{limit.octets} octets"
    else:
        return None
    whose = "this task" if link is caller else f"the task that it was delegated from ({link.task.id})"
    return Refusal(Code.BUDGET_EXCEEDED, f"the budget of {amount} of {whose} is spent")
