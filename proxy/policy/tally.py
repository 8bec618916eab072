"""The accounts of one window of time: who has used how much of which budget of a service in it.

Times are POSIX seconds. Figures stop growing where canonical JSON could no longer say them.
"""

from typing import NamedTuple

from proxy.policy.service_budget import Per, Unit

_MOST = 2**53 - 1


class Account(NamedTuple):
    """Whose figures: one subject (a task's or an agent's id, as ``per`` says), one budget of a service.

    A budget that counts something else, or for others, under the same name is another budget.
    """

    service: str
    budget: str
    unit: Unit
    per: Per
    subject: str


class Tally(NamedTuple):
    """What was used of a budget in the window of ``length`` seconds that begins at ``begin``."""

    account: Account
    length: int
    begin: int
    used: int


class Kept(NamedTuple):
    """What is kept from run to run; ``seen`` is the latest time that there was."""

    seen: int
    tallies: tuple[Tally, ...]


class Counter:
    """One account in one window: ``used`` in this run, ``before`` in earlier ones."""

    __slots__ = ("account", "before", "used", "window")

    def __init__(self, account: Account, window: "Window") -> None:
        self.account = account
        self.window = window
        self.used = 0
        self.before = 0

    @property
    def total(self) -> int:
        """What all runs have used."""
        return min(self.used + self.before, _MOST)

    def add(self, amount: int) -> None:
        """Count so much more; less only of what was added before."""
        self.used = min(self.used + amount, _MOST)
        self.window.changed.add(self)

    def tally(self) -> Tally:
        """What this run has used."""
        return Tally(self.account, self.window.length, self.window.begin, self.used)


class Window:
    """One window, from ``begin`` to before ``end``; ``changed`` is news for whoever keeps the figures."""

    __slots__ = ("_agents", "_tasks", "begin", "changed", "end", "length")

    def __init__(self, length: int, at: int) -> None:
        """The window of this length in which the moment ``at`` lies."""
        self.length = length
        self.begin = at - at % length
        self.end = self.begin + length
        self.changed: set[Counter] = set()
        self._tasks: dict[str, dict[Account, Counter]] = {}  # by subject
        self._agents: dict[str, dict[Account, Counter]] = {}

    def total(self, account: Account) -> int:
        """What was used, in all runs."""
        counter = self._of(account).get(account.subject, {}).get(account)
        return 0 if counter is None else counter.total

    def counter(self, account: Account) -> Counter:
        """The account's counter, a new one if it has none."""
        counters = self._of(account).setdefault(account.subject, {})
        found = counters.get(account)
        if found is None:
            found = counters[account] = Counter(account, self)
        return found

    def forget(self, task_id: str) -> None:
        """Drop the accounts of a task."""
        self.changed.difference_update(self._tasks.pop(task_id, {}).values())

    def _of(self, account: Account) -> dict[str, dict[Account, Counter]]:
        return self._tasks if account.per is Per.TASK else self._agents
