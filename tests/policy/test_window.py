"""Budgets in windows of time: each subject once a call, and no clock, restart or delegation refills one."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.errors import Code, Refusal
from proxy.identity.principal import Agent, Link, Right, Task
from proxy.policy.catalogue import Service
from proxy.policy.service_budget import Per, Price, ServiceBudget, Unit, Used
from proxy.policy.tally import Account, Kept, Tally
from proxy.policy.window import NO_BUDGETS, Subject, Taken, Windows

HOUR = 3_600
NOW = 1_800_000_000  # begins an hour
assert NOW % HOUR == 0


def budget(name="hourly", per=Per.TASK, unit=Unit.REQUESTS, limit=2, window=HOUR):
    return ServiceBudget(name, per, window, unit, limit)


def service(*budgets, name="api", prices=()):
    return Service(
        name,
        (f"{name}.example",),
        ("https",),
        (443,),
        "ada",
        "grace",
        "internal",
        (),
        (),
        None,
        budgets=budgets,
        prices=prices,
    )


def link(agent="coder", task="t-1"):
    who = Agent(agent, "development", "low", "ada", "grace")
    what = Task(task, agent, "p", (), "development", 0, 2 * NOW, "0" * 64)
    return Link(who, what, Right(frozenset(), None, "development", 2 * NOW))


def chain(*pairs):
    return tuple(link(agent, task) for agent, task in pairs)


ONE = chain(("coder", "t-1"))


def used(windows, of_service, of_link=ONE[0], now=NOW):
    document = json.loads(windows.document(of_service, of_link, now))
    return {name: member["used"] for name, member in document.items()}


def fill(windows, of_service, links=ONE, now=NOW):
    """Calls until one is refused."""
    for calls in range(1_000):
        answer = windows.take(of_service, links, now)
        if isinstance(answer, Refusal):
            return calls, answer
    raise AssertionError("never refused")


# -- counting --


def test_a_service_without_budgets_is_not_counted():
    windows = Windows()
    for of_service in (None, service()):
        assert windows.document(of_service, ONE[0], NOW) is NO_BUDGETS
        assert windows.take(of_service, ONE, NOW) is None
    windows.give_back(None)
    assert windows.charge(service(), None, Used(octets=5)) is None
    assert windows.changed(NOW) == Kept(NOW, ())


def test_the_document_is_canonical_and_has_the_limit():
    api = service(budget("b", limit=7), budget("a", per=Per.AGENT, unit=Unit.OCTETS, limit=9))
    windows = Windows()
    windows.charge(api, windows.take(api, ONE, NOW), Used(octets=4))
    assert windows.document(api, ONE[0], NOW) == b'{"a":{"limit":9,"used":4},"b":{"limit":7,"used":1}}'


def test_to_look_counts_nothing():
    api, windows = service(budget()), Windows()
    windows.document(api, ONE[0], NOW)
    windows.left(api, ONE, NOW)
    assert windows.changed(NOW).tallies == ()


def test_requests_up_to_the_limit_and_again_in_the_next_window():
    api, windows = service(budget(limit=3)), Windows()
    for begin in (NOW, NOW + HOUR, NOW + 5 * HOUR):
        calls, refusal = fill(windows, api, now=begin)
        assert calls == 3
        assert refusal == Refusal(
            Code.RATE_LIMITED,
            "the task t-1 has used up the budget 'hourly' of api: 3 requests in 3600 seconds",
            "gatepass.budget.api.hourly",
            HOUR,
        )
        assert isinstance(windows.take(api, ONE, begin + HOUR - 1), Refusal)


def test_a_refused_call_is_counted_nowhere():
    api = service(budget("mine", limit=1), budget("ours", per=Per.AGENT, limit=9))
    windows = Windows()
    assert fill(windows, api)[0] == 1
    assert used(windows, api) == {"mine": 1, "ours": 1}
    windows.changed(NOW)
    assert isinstance(windows.take(api, ONE, NOW), Refusal)
    assert windows.changed(NOW).tallies == ()


def test_every_task_and_every_agent_of_a_chain_counts_once():
    api = service(budget("tasks", limit=9), budget("agents", per=Per.AGENT, limit=9))
    windows = Windows()
    links = chain(("coder", "t-1"), ("helper", "t-2"), ("coder", "t-3"), ("coder", "t-3"))
    windows.take(api, links, NOW)
    for one in links:
        assert used(windows, api, one) == {"tasks": 1, "agents": 1}
    windows.take(api, links[:1], NOW)
    assert used(windows, api, links[0]) == {"tasks": 2, "agents": 2}
    assert used(windows, api, links[1]) == {"tasks": 1, "agents": 1}
    assert used(windows, api, links[2]) == {"tasks": 1, "agents": 2}


def test_an_agent_and_a_task_of_the_same_name_are_two():
    api = service(budget("tasks"), budget("agents", per=Per.AGENT))
    windows = Windows()
    windows.take(api, chain(("x", "y")), NOW)
    assert used(windows, api, link("y", "x")) == {"tasks": 0, "agents": 0}
    windows.forget("x")
    assert used(windows, api, link("x", "y")) == {"tasks": 1, "agents": 1}


def test_a_spent_budget_above_refuses_all_that_was_delegated():
    api, windows = service(budget(limit=1)), Windows()
    root = ("lead", "t-0")
    assert isinstance(windows.take(api, chain(root, ("coder", "t-1")), NOW), Taken)
    answer = windows.take(api, chain(root, ("coder", "t-2")), NOW)
    assert isinstance(answer, Refusal)
    assert "the task t-0 has" in answer.detail


def test_of_several_spent_budgets_the_one_that_renews_last_is_named():
    api = service(budget("short", limit=1, window=60), budget("long", limit=1), budget("far", limit=9))
    refusal = fill(Windows(), api, now=NOW + 10)[1]
    assert (refusal.rule, refusal.retry_after) == ("gatepass.budget.api.long", HOUR - 10)


def test_services_and_budgets_do_not_share():
    windows = Windows()
    one, other = service(budget("a"), budget("b")), service(budget("a"), name="other")
    fill(windows, one)
    assert used(windows, other) == {"a": 0}
    assert used(windows, one) == {"a": 2, "b": 2}


def test_a_budget_that_becomes_another_starts_anew_and_comes_back_as_it_was():
    windows, before = Windows(), service(budget(limit=5))
    fill(windows, before)
    for other in (
        budget(limit=5, unit=Unit.OCTETS),
        budget(limit=5, per=Per.AGENT),
        budget(limit=5, window=60),
    ):
        assert used(windows, service(other)) == {"hourly": 0}
    assert used(windows, service(budget(limit=9))) == {"hourly": 5}  # a new limit is no new budget
    assert used(windows, before) == {"hourly": 5}


@pytest.mark.parametrize(
    ("unit", "amount"), [(Unit.REQUESTS, 1), (Unit.OCTETS, 7), (Unit.TOKENS, 30), (Unit.COST, 50)]
)
def test_what_a_call_uses_is_known_when_it_has_ended(unit, amount):
    api = service(budget(unit=unit, limit=10**6), prices=(Price("m", 1_000_000, 2_000_000),))
    windows = Windows()
    taken = windows.take(api, ONE, NOW)
    call = Used(octets=7, input_tokens=10, output_tokens=20, model="m")
    assert windows.charge(api, taken, call) == 50
    assert used(windows, api) == {"hourly": amount}
    assert windows.charge(api, taken, call) == 50  # it was settled
    windows.give_back(taken)
    assert used(windows, api) == {"hourly": amount}


def test_a_cost_without_prices_is_not_known():
    api, windows = service(budget(unit=Unit.COST)), Windows()
    assert windows.charge(api, windows.take(api, ONE, NOW), Used(input_tokens=5)) is None
    assert used(windows, api) == {"hourly": 0}


def test_a_cost_is_named_in_the_currency():
    api = service(budget(unit=Unit.COST, limit=5_250_000), prices=(Price("*", 10**12, 0),))
    windows = Windows()
    windows.charge(api, windows.take(api, ONE, NOW), Used(input_tokens=6, model="m"))
    refusal = windows.take(api, ONE, NOW)
    assert isinstance(refusal, Refusal)
    assert "a cost of 5.250000 in 3600 seconds" in refusal.detail


def test_a_budget_may_be_overrun_by_what_is_under_way_and_gives_no_more():
    api, windows = service(budget(unit=Unit.OCTETS, limit=10)), Windows()
    under_way = [windows.take(api, ONE, NOW) for _ in range(3)]
    for taken in under_way:
        windows.charge(api, taken, Used(octets=8))
    assert used(windows, api) == {"hourly": 24}
    assert isinstance(windows.take(api, ONE, NOW), Refusal)


def test_a_call_is_charged_to_the_window_it_was_counted_in():
    api, windows = service(budget(unit=Unit.OCTETS, limit=100)), Windows()
    taken = windows.take(api, ONE, NOW)
    later = windows.take(api, ONE, NOW + HOUR)
    windows.charge(api, taken, Used(octets=60))
    assert used(windows, api, now=NOW + HOUR) == {"hourly": 0}
    windows.charge(api, later, Used(octets=5))
    assert used(windows, api, now=NOW + HOUR) == {"hourly": 5}


def test_what_is_given_back_can_be_taken_once_more():
    api, windows = service(budget(limit=1), budget("octets", unit=Unit.OCTETS)), Windows()
    taken = windows.take(api, ONE, NOW)
    windows.give_back(taken)
    windows.give_back(taken)
    windows.charge(api, taken, Used(octets=9))
    assert used(windows, api) == {"hourly": 0, "octets": 0}
    assert fill(windows, api)[0] == 1


def test_figures_stay_within_what_json_can_say():
    api, windows = service(budget(unit=Unit.OCTETS, limit=5)), Windows()
    calls = [windows.take(api, ONE, NOW) for _ in range(2)]
    for taken in calls:
        windows.charge(api, taken, Used(octets=2**60))
        assert used(windows, api) == {"hourly": 2**53 - 1}
    (tally,) = windows.changed(NOW).tallies
    assert tally.used == 2**53 - 1
    windows.restore(Kept(NOW, (tally,)))
    assert used(windows, api) == {"hourly": 2**53 - 1}


# -- time --


@given(st.integers(0, 2**40), st.integers(1, 400 * 86_400))
def test_the_wait_ends_where_the_next_window_begins(now, window):
    api = service(budget(window=window))
    wait = Windows().retry_after(api, "hourly", now)
    assert 1 <= wait <= window
    assert (now + wait) % window == 0


def test_a_budget_that_there_is_not_has_no_wait():
    with pytest.raises(KeyError):
        Windows().retry_after(service(budget()), "yearly", NOW)


def test_a_clock_that_steps_back_refills_nothing():
    api, windows = service(budget()), Windows()
    fill(windows, api, now=NOW - 1)
    fill(windows, api, now=NOW + 1)
    for now in (NOW - 1, NOW, NOW - 10 * HOUR, 0):
        assert used(windows, api, now=now) == {"hourly": 2}
        refusal = windows.take(api, ONE, now)
        assert isinstance(refusal, Refusal)
        assert refusal.retry_after == NOW + HOUR - now  # the truth, by this clock
    assert windows.behind(NOW) == 1
    assert windows.behind(NOW + 2) == 0
    assert fill(windows, api, now=NOW + HOUR)[0] == 2


def test_a_step_back_refills_nothing_after_a_restart_either():
    api, windows = service(budget(), budget("minute", window=60)), Windows()
    fill(windows, api, now=NOW)
    fill(windows, api, now=NOW + 60)
    again = Windows()
    again.restore(windows.changed(NOW + 70))
    assert again.behind(NOW) == 70
    assert isinstance(again.take(api, ONE, NOW), Refusal)


def test_what_has_ended_is_dropped():
    api = service(budget("a", window=60), budget("b", window=HOUR))
    windows = Windows()
    for number in range(100):
        windows.take(api, chain((f"a-{number}", f"t-{number}")), NOW)
    assert len(windows.changed(NOW).tallies) == 200
    windows.take(api, chain(("a-0", "t-0")), NOW + 60)
    assert [(one.length, one.begin, one.used) for one in windows.changed(NOW + 60).tallies] == [
        (60, NOW + 60, 1),
        (HOUR, NOW, 2),
    ]
    assert [len(one._tasks) for one in windows._windows.values()] == [1, 100]
    windows.changed(NOW + HOUR)
    assert windows._windows == {}


# -- from run to run --


def test_changes_are_absolute_and_told_once():
    api, windows = service(budget(limit=9)), Windows()
    account = Account("api", "hourly", Unit.REQUESTS, Per.TASK, "t-1")
    for number in (1, 2):
        taken = windows.take(api, ONE, NOW)
        assert windows.changed(NOW + number) == Kept(NOW + number, (Tally(account, HOUR, NOW, number),))
        assert windows.changed(NOW + number) == Kept(NOW + number, ())
    windows.give_back(taken)
    assert windows.changed(NOW + 2).tallies == (Tally(account, HOUR, NOW, 1),)


def test_what_earlier_runs_used_counts_but_is_not_told():
    api, windows = service(budget(limit=5)), Windows()
    account = Account("api", "hourly", Unit.REQUESTS, Per.TASK, "t-1")
    windows.restore(Kept(NOW, (Tally(account, HOUR, NOW, 3),)))
    assert windows.changed(NOW).tallies == ()
    assert used(windows, api) == {"hourly": 3}
    windows.take(api, ONE, NOW)
    assert windows.changed(NOW).tallies == (Tally(account, HOUR, NOW, 1),)
    windows.restore(Kept(NOW, (Tally(account, HOUR, NOW, 4),)))  # it replaces, and leaves what this run has
    assert used(windows, api) == {"hourly": 5}
    windows.restore(Kept(NOW + HOUR, (Tally(account, HOUR, NOW, 5),)))  # that window is over
    assert used(windows, api) == {"hourly": 0}


def test_a_task_that_is_over_leaves_no_account():
    api, windows = service(budget(), budget("agents", per=Per.AGENT)), Windows()
    taken = windows.take(api, ONE, NOW)
    windows.forget("t-1")
    windows.forget("t-unknown")
    windows.charge(api, taken, Used(octets=5))
    assert used(windows, api) == {"hourly": 0, "agents": 1}
    assert [one.account.per for one in windows.changed(NOW).tallies] == [Per.AGENT]


def test_what_is_left_is_the_least_along_the_chain():
    api, windows = service(budget(limit=5), budget("agents", per=Per.AGENT, limit=1)), Windows()
    lead = ("lead", "t-0")
    windows.take(api, chain(lead), NOW)
    links = chain(lead, ("coder", "t-1"))
    assert windows.left(api, links, NOW) == (
        (api.budgets[0], 4, NOW + HOUR),
        (api.budgets[1], 0, NOW + HOUR),
    )
    assert windows.left(api, (), NOW)[0].left == 0  # nobody has nothing
    assert windows.left(service(), links, NOW) == ()


def test_a_recount_counts_also_what_was_over_the_limit():
    api, windows = service(budget(limit=1)), Windows()
    for _ in range(3):
        windows.add(windows.count(api, [Subject("coder", "t-1")], NOW), Used(), 0)
    assert used(windows, api) == {"hourly": 3}


# -- any history --

AGENTS, TASKS = ("a", "b"), ("t-1", "t-2", "t-3")
BUDGETS = (
    budget("quick", window=7, limit=2),
    budget("tasks", window=20, limit=3),
    budget("agents", per=Per.AGENT, window=20, limit=4),
    budget("octets", per=Per.AGENT, unit=Unit.OCTETS, window=11, limit=10),
)
API = service(*BUDGETS)
chains = st.lists(st.tuples(st.sampled_from(AGENTS), st.sampled_from(TASKS)), min_size=1, max_size=3)


class History(RuleBasedStateMachine):
    """Any calls at any times, with restarts, against a list of what was admitted and when."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = Windows()
        self.clock = 0
        self.latest = 0
        self.admitted: Counter[tuple[str, str, int]] = Counter()  # by budget, subject and window
        self.octets: Counter[tuple[str, str, int]] = Counter()
        self.under_way: list[tuple[Taken, list[tuple[ServiceBudget, str]], int]] = []
        self.kept: dict[tuple[Account, int], int] = {}  # by runs that are over
        self.this_run: dict[tuple[Account, int], int] = {}

    @initialize(start=st.integers(0, 1_000))
    def begin(self, start):
        self.clock = start

    def _now(self) -> int:
        self.latest = max(self.latest, self.clock)
        return self.latest

    def _place(self, of_budget, subject, at):
        return of_budget.name, subject, at // of_budget.window

    def _count(self, of_budget, subject, at) -> int:
        counts = self.octets if of_budget.unit is Unit.OCTETS else self.admitted
        return counts[self._place(of_budget, subject, at)]

    def _subjects(self, pairs):
        for of_budget in BUDGETS:
            index = 1 if of_budget.per is Per.TASK else 0
            for subject in {pair[index] for pair in pairs}:
                yield of_budget, subject

    @rule(step=st.sampled_from([1, 1, 3, 8, 25, -1, -9, -30]))
    def pass_time(self, step):
        self.clock = max(0, self.clock + step)

    @rule(pairs=chains)
    def take(self, pairs):
        answer, at = self.windows.take(API, chain(*pairs), self.clock), self._now()
        subjects = list(self._subjects(pairs))
        room = all(self._count(*one, at) < one[0].limit for one in subjects)
        assert isinstance(answer, Taken) is room
        if isinstance(answer, Taken):
            self.under_way.append((answer, subjects, at))
            self.admitted.update(self._place(*one, at) for one in subjects if one[0].unit is Unit.REQUESTS)
        else:
            assert isinstance(answer, Refusal)
            assert answer.retry_after is not None
            assert answer.retry_after >= 1

    @rule(which=st.integers(0, 9))
    def give_back(self, which):
        if self.under_way:
            taken, subjects, at = self.under_way.pop(which % len(self.under_way))
            self.windows.give_back(taken)
            self.admitted.subtract(self._place(*one, at) for one in subjects if one[0].unit is Unit.REQUESTS)

    @rule(which=st.integers(0, 9), octets=st.integers(0, 8))
    def charge(self, which, octets):
        if self.under_way:
            taken, subjects, at = self.under_way.pop(which % len(self.under_way))
            self.windows.charge(API, taken, Used(octets=octets))
            for of_budget, subject in subjects:
                if of_budget.unit is Unit.OCTETS:
                    self.octets[self._place(of_budget, subject, at)] += octets

    @rule()
    def keep(self):
        kept = self.windows.changed(self.clock)
        assert kept.seen == self._now()
        for one in kept.tallies:
            assert one.begin <= kept.seen < one.begin + one.length
            self.this_run[one.account, one.begin] = one.used

    @rule()
    def restart(self):
        self.keep()
        for place, count in self.this_run.items():
            self.kept[place] = self.kept.get(place, 0) + count
        lengths = {one.name: one.window for one in BUDGETS}
        tallies = [
            Tally(account, lengths[account.budget], begin, count)
            for (account, begin), count in self.kept.items()
        ]
        self.this_run, self.under_way = {}, []
        self.windows = Windows()
        self.windows.restore(Kept(self._now(), tuple(tallies)))

    @invariant()
    def no_more_than_the_limit_is_admitted_in_any_window(self):
        limits = {one.name: one.limit for one in BUDGETS}
        assert all(0 <= count <= limits[place[0]] for place, count in self.admitted.items())

    @invariant()
    def rules_and_desk_are_told_the_same_figures(self):
        at = self._now()
        for name, task in zip(AGENTS, TASKS, strict=False):
            one = link(name, task)
            told = json.loads(self.windows.document(API, one, self.clock))
            for left in self.windows.left(API, (one,), self.clock):
                subject = task if left.budget.per is Per.TASK else name
                count = self._count(left.budget, subject, at)
                assert told[left.budget.name] == {"limit": left.budget.limit, "used": count}
                assert left.left == max(0, left.budget.limit - count)
                assert left.renews_at == (at // left.budget.window + 1) * left.budget.window


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
