"""Budgets: taken at every ancestor at once, so that fan-out never multiplies them."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from proxy.errors import Code, Refusal
from proxy.identity.budget import Spending, Spent
from proxy.identity.principal import NO_BUDGETS, Budgets, Ceiling, Link
from proxy.identity.rights import limits
from tests.identity.families import Family, agent


def spent(words: str) -> Refusal:
    return Refusal(Code.BUDGET_EXCEEDED, f"the budget of {words} is spent")


def pair(above: Budgets, below: Budgets) -> tuple[Link, Link]:
    world = Family(agent("lead"), agent("coder"))
    root = world.begin("lead", budgets=above)
    one, other = world.links(world.child(root, "coder", budgets=below))
    return one, other


def test_a_budget_of_requests_is_spent_one_by_one():
    chain = pair(NO_BUDGETS, Budgets(requests=2))
    spending = Spending()
    assert spending.left(chain[-1]) == Budgets(requests=2)
    assert spending.take(chain) is None
    assert spending.left(chain[-1]) == Budgets(requests=1)
    assert spending.take(chain) is None
    assert spending.take(chain) == spent("2 requests of this task")
    assert spending.left(chain[-1]) == Budgets(requests=0)


def test_the_budget_of_an_ancestor_is_named_as_such():
    chain = pair(Budgets(requests=1), Budgets(requests=5))
    spending = Spending()
    assert spending.take(chain) is None
    assert spending.take(chain) == spent(
        f"1 requests of the task that it was delegated from ({chain[0].task.id})"
    )


def test_of_two_spent_budgets_the_nearest_to_the_caller_is_named():
    chain = pair(Budgets(requests=1), Budgets(requests=1))
    spending = Spending()
    assert spending.take(chain) is None
    assert spending.take(chain) == spent("1 requests of this task")


def test_a_request_that_is_refused_takes_nothing():
    above, below = pair(Budgets(requests=5), Budgets(requests=1))
    spending = Spending()
    assert spending.take((above, below)) is None
    assert spending.take((above, below)) == spent("1 requests of this task")
    assert spending.left(above) == Budgets(requests=4)
    assert spending.changed() == {above.task.id: Spent(1, 0), below.task.id: Spent(1, 0)}
    assert spending.take((above, below)) is not None
    assert spending.changed() == {}


def test_a_budget_of_octets_ends_when_it_is_used_up():
    chain = pair(Budgets(octets=100), NO_BUDGETS)
    spending = Spending()
    for octets, left in ((60, 40), (60, 0)):  # what is under way may overrun
        assert spending.take(chain) is None
        spending.charge(chain, octets)
        assert spending.left(chain[0]) == Budgets(octets=left)
    assert spending.take(chain) == spent(
        f"100 octets of the task that it was delegated from ({chain[0].task.id})"
    )
    assert spending.take(chain[:1]) == spent("100 octets of this task")
    assert spending.changed() == {chain[0].task.id: Spent(2, 120)}


def test_a_ceiling_is_a_budget():
    for ceiling, words in ((Budgets(requests=1), "1 requests"), (Budgets(octets=1), "1 octets")):
        world = Family(agent("lead", ceiling=Ceiling(budgets=ceiling)))
        for budgets in (NO_BUDGETS, Budgets(requests=9, octets=9)):
            chain = world.links(world.begin("lead", budgets=budgets))
            spending = Spending()
            assert spending.take(chain) is None
            spending.charge(chain, 1)
            assert spending.take(chain) == spent(f"{words} of this task")


def test_what_is_given_back_can_be_taken_again():
    chain = pair(Budgets(requests=1), Budgets(requests=1))
    spending = Spending()
    spending.give_back(chain)  # nothing was taken
    for _ in range(3):
        assert spending.take(chain) is None
        spending.give_back(chain)
        spending.give_back(chain)
    assert spending.take(chain) is None
    assert spending.take(chain) is not None


def test_a_chain_without_a_limit_leaves_no_trace():
    chain = pair(NO_BUDGETS, NO_BUDGETS)
    spending = Spending()
    assert spending.take(chain) is None
    spending.charge(chain, 10**9)
    spending.give_back(chain)
    assert spending.left(chain[0]) == NO_BUDGETS
    assert spending.changed() == {}


def test_what_earlier_runs_used_counts_but_is_not_reported():
    chain = pair(Budgets(requests=5, octets=100), NO_BUDGETS)
    task = chain[0].task.id
    spending = Spending()
    spending.restore({task: Spent(3, 30)})
    assert spending.changed() == {}
    assert spending.left(chain[0]) == Budgets(2, 70)
    assert spending.take(chain) is None
    spending.charge(chain, 7)
    assert spending.changed() == {task: Spent(1, 7)}
    spending.restore({task: Spent(4, 30)})  # it replaces, and leaves what this run has used
    assert spending.left(chain[0]) == Budgets(0, 63)
    assert spending.take(chain) is not None


def test_changes_are_absolute_and_told_once():
    chain = pair(Budgets(requests=5), NO_BUDGETS)
    task = chain[0].task.id
    spending = Spending()
    for number in (1, 2):
        assert spending.take(chain) is None
        assert spending.changed() == {task: Spent(number, 0)}
        assert spending.changed() == {}


def test_a_task_that_is_over_leaves_no_account():
    chain = pair(Budgets(requests=5), NO_BUDGETS)
    spending = Spending()
    assert spending.take(chain) is None
    spending.forget(chain[0].task.id)
    assert spending.changed() == {}
    spending.charge(chain, 9)  # its last octets arrive late
    spending.give_back(chain)
    assert spending.changed() == {}
    spending.forget("t-unknown")


@given(
    parent=st.integers(1, 12),
    children=st.lists(st.none() | st.integers(1, 12), min_size=1, max_size=4),
    moves=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60),
)
def test_the_children_of_a_task_never_use_more_than_it_has(parent, children, moves):
    """For any interleaving: each move is a child that takes, or that gives back what it took."""
    world = Family(agent("lead"), *(agent(f"c{number}") for number in range(len(children))))
    root = world.begin("lead", budgets=Budgets(requests=parent))
    chains = [
        world.links(world.child(root, f"c{number}", budgets=Budgets(requests=budget)))
        for number, budget in enumerate(children)
    ]
    spending, used = Spending(), Counter()
    for which, takes in moves:
        number = which % len(chains)
        own = children[number]
        if not takes:
            if used[number]:
                spending.give_back(chains[number])
                used[number] -= 1
            continue
        refusal = spending.take(chains[number])
        room = used.total() < parent and (own is None or used[number] < own)
        assert (refusal is None) is room
        used[number] += refusal is None
    assert used.total() <= parent
    assert spending.left(chains[0][0]) == Budgets(requests=parent - used.total())


class Ledger(RuleBasedStateMachine):
    """A tree of tasks and any order of calls, restarts included, against a plain count of what happened."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.world = Family(*(agent(name) for name in "abcdefgh"))
        self.spending = Spending()
        self.used: dict[str, Spent] = {}
        self.under_way: list[tuple[Link, ...]] = []
        self.kept: dict[str, Spent] = {}  # by earlier runs
        self.this_run: dict[str, Spent] = {}
        self.made = 0

    def _add(self, links, requests: int, octets: int) -> None:
        for link in links:
            before = self.used.get(link.task.id, Spent(0, 0))
            self.used[link.task.id] = Spent(before.requests + requests, before.octets + octets)

    @rule(target=tasks, requests=st.none() | st.integers(1, 5), octets=st.none() | st.integers(1, 50))
    def begin(self, requests, octets):
        self.made += 1
        return self.world.begin("a", budgets=Budgets(requests, octets), depth=7, nonce=f"{self.made:032x}")

    @rule(target=tasks, parent=tasks, requests=st.none() | st.integers(1, 5))
    def delegate(self, parent, requests):
        if parent.depth == 0:
            return parent
        self.made += 1
        name, nonce = "abcdefgh"[8 - parent.depth], f"{self.made:032x}"
        return self.world.child(parent, name, budgets=Budgets(requests), nonce=nonce)

    @rule(task=tasks)
    def take(self, task):
        links = self.world.links(task)
        if self.spending.take(links) is None:
            self._add(links, 1, 0)
            self.under_way.append(links)
        else:
            assert any(0 in {self._left(link).requests, self._left(link).octets} for link in links)

    @rule(which=st.integers(0, 20))
    def give_back(self, which):
        if self.under_way:
            links = self.under_way.pop(which % len(self.under_way))
            self.spending.give_back(links)
            self._add(links, -1, 0)

    @rule(which=st.integers(0, 20), octets=st.integers(0, 30))
    def charge(self, which, octets):
        if self.under_way:
            links = self.under_way.pop(which % len(self.under_way))
            self.spending.charge(links, octets)
            self._add(links, 0, octets)

    @rule()
    def write(self):
        self.this_run |= self.spending.changed()

    @rule()
    def restart(self):
        self.write()
        for task, (requests, octets) in self.this_run.items():
            before = self.kept.get(task, Spent(0, 0))
            self.kept[task] = Spent(before.requests + requests, before.octets + octets)
        self.this_run, self.under_way = {}, []
        self.spending = Spending()
        self.spending.restore(self.kept)

    def _left(self, link: Link) -> Budgets:
        limit, used = limits(link.agent, link.task), self.used.get(link.task.id, Spent(0, 0))
        return Budgets(
            None if limit.requests is None else max(0, limit.requests - used.requests),
            None if limit.octets is None else max(0, limit.octets - used.octets),
        )

    @invariant()
    def nothing_is_used_that_was_not_there(self):
        for task in self.world.tasks.by_id.values():
            link = self.world.links(task)[-1]
            assert self.spending.left(link) == self._left(link)
            requests = link.task.budgets.requests
            assert requests is None or self.used.get(task.id, Spent(0, 0)).requests <= requests


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
