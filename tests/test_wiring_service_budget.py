"""Budgets of services across restarts and crashes: what was used stays used."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.audit import record
from proxy.audit.record import Stamp, parse
from proxy.engine.subject import subject
from proxy.errors import Refusal
from proxy.identity.principal import Agent, Evidence, Link, Method, Principal, Right, Task
from proxy.policy.catalogue import Service
from proxy.policy.service_budget import Per, Price, ServiceBudget, Unit, Used
from proxy.policy.tally import Account, Kept, Tally
from proxy.policy.window import Windows
from proxy.store.tasks import TaskStore
from proxy.wiring_service_budget import ServiceKeeper, recount_services, services_left
from tests.store.making import NOW, Clock, begin, following, until

HOUR = 3_600
BUDGETS = (
    ServiceBudget("requests", Per.TASK, HOUR, Unit.REQUESTS, 9),
    ServiceBudget("octets", Per.AGENT, HOUR, Unit.OCTETS, 10**6),
    ServiceBudget("tokens", Per.AGENT, 60, Unit.TOKENS, 10**6),
    ServiceBudget("cost", Per.AGENT, HOUR, Unit.COST, 10**9),
)


def service(name="api", budgets=BUDGETS):
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
        prices=(Price("m", 1_000_000, 2_000_000),),
    )


API = service()


def link(agent="coder", task="t-1", services=None):
    who = Agent(agent, "development", "low", "ada", "grace")
    what = Task(task, agent, "p", (), "development", NOW, NOW + 10**6, "0" * 64)
    return Link(who, what, Right(frozenset(), services, "development", NOW + 10**6))


def principal(*links):
    return Principal(links or (link(),), (Evidence(Method.SESSION, "iss"),))


@dataclass
class Journal:
    """A log as the sidecar of one boot would write it."""

    boot: str = "one"
    entries: list[bytes] = field(default_factory=list)

    def _stamp(self, at: int) -> Stamp:
        number = len(self.entries)
        return Stamp(f"{self.boot}-{number}", at * 10**9 + 999, number, "test", self.boot, number)

    def decide(self, who=None, at=NOW, effect="allow", **why):
        stamp = self._stamp(at)
        told = {"effect": effect, "service": "api"} | why
        self.entries.append(
            record.decision(stamp, who=subject(who or principal()), what={}, why=told, credential=None)
        )
        return stamp.id

    def end(self, decision_id, at=NOW, **what):
        self.entries.append(record.outcome(self._stamp(at), decision_id=decision_id, what=what))

    @property
    def records(self):
        return [parse(entry) for entry in self.entries]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def own(path):
    """The link of an open task of the agent ``coder``."""
    with TaskStore.open(path) as store:
        return link(task=begin(store, 1).id)


@pytest.fixture
def journal():
    return Journal()


def told(windows, of_link, of_service=API, at=NOW):
    """What rules are told to be used."""
    document = json.loads(windows.document(of_service, of_link, at))
    return {name: member["used"] for name, member in document.items()}


def restored(path, boot="next"):
    """The ledger of the next start."""
    windows = Windows()
    with TaskStore.open(path) as store:
        windows.restore(store.service_usage(boot))
    return windows


# -- recounting --


def test_a_recount_adds_up_what_calls_used(path, own, journal):
    who = principal(own)
    for number in (1, 2):
        call = journal.decide(who)
        usage = {"model": "m", "input_tokens": 10, "output_tokens": 5, "cost": 7, "estimated": False}
        journal.end(call, bytes_up=number, bytes_down=100, used=usage)
    journal.decide(who)  # it was under way
    recount_services(path, journal.records, [API])
    expected = {"requests": 3, "octets": 203, "tokens": 30, "cost": 14}
    assert told(restored(path), own) == expected
    recount_services(path, journal.records, [API])  # twice changes nothing
    assert told(restored(path), own) == expected


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"model": "m", "input_tokens": 10, "output_tokens": 5}, 20),
        ({"model": "m", "input_tokens": 10, "output_tokens": 5, "cost": None}, 20),
        ({"model": "m", "input_tokens": 10, "output_tokens": 5, "cost": 0}, 0),
        ({"model": None, "input_tokens": "10", "output_tokens": True}, 0),
        (None, 0),
    ],
)
def test_a_cost_is_the_recorded_one_or_that_of_todays_prices(path, own, journal, usage, cost):
    journal.end(journal.decide(principal(own)), used=usage)
    recount_services(path, journal.records, [API])
    assert told(restored(path), own)["cost"] == cost


def test_what_was_refused_or_went_elsewhere_is_not_counted(path, own, journal):
    who = principal(own)
    journal.end(journal.decide(who, effect="deny"), bytes_up=9)
    for name in (None, "unknown", "free"):
        journal.end(journal.decide(who, service=name), bytes_up=9)
    journal.end("no such decision", bytes_up=9)
    recount_services(path, journal.records, [API, service("free", ())])
    assert set(told(restored(path), own).values()) == {0}


def test_every_link_of_a_chain_is_counted_once(path, own, journal):
    with TaskStore.open(path) as store:
        others = [link("helper", begin(store, 2).id), link("coder", begin(store, 3).id)]
    journal.end(journal.decide(principal(own, *others)), bytes_down=8)
    recount_services(path, journal.records, [API])
    windows = restored(path)
    for one in (own, *others):
        assert told(windows, one) == {"requests": 1, "octets": 8, "tokens": 0, "cost": 0}


def test_a_call_counts_in_the_window_it_was_recorded_in(path, own, journal):
    first = journal.decide(principal(own), at=NOW - 1)
    second = journal.decide(principal(own), at=NOW)
    for call in (first, second):
        journal.end(call, at=NOW + 1, bytes_up=5)
    journal.decide(principal(own), at=NOW - 1)  # the clock was set back
    recount_services(path, journal.records, [API])
    assert told(restored(path), own, at=NOW - 1) == {"requests": 2, "octets": 5, "tokens": 0, "cost": 0}


def test_a_recount_is_added_to_other_boots_and_never_lowers_what_was_kept(path, own, journal):
    account = Account("api", "requests", Unit.REQUESTS, Per.TASK, own.task.id)
    with TaskStore.open(path) as store:
        store.keep_service_usage("before", Kept(NOW, (Tally(account, HOUR, NOW, 2),)))
        store.keep_service_usage("one", Kept(NOW, (Tally(account, HOUR, NOW, 5),)))
    journal.decide(principal(own))
    recount_services(path, journal.records, [API])
    assert told(restored(path), own)["requests"] == 7


def test_without_budgets_there_is_nothing_to_recount(path, journal):
    journal.decide()
    recount_services(path, journal.records, [service(budgets=())])
    assert not path.exists()


def test_records_that_lack_parts_count_for_nobody(path, own, journal):
    who = {"agent": {"id": "coder"}, "chain": [{"agent": "coder"}, "t-1"]}
    for part in (who, {"chain": None}, {}):
        journal.entries.append(
            record.decision(
                journal._stamp(NOW),
                who=part,
                what={},
                why={"effect": "allow", "service": "api"},
                credential=None,
            )
        )
    recount_services(path, journal.records, [API])
    assert restored(path).changed(NOW).tallies == ()
    assert set(told(restored(path), own).values()) == {0}


calls = st.lists(
    st.tuples(
        st.sampled_from(["call", "call", "call", "end", "keep"]),
        st.integers(0, 3),  # who calls, or which call ends
        st.sampled_from([0, 0, 1, 40, HOUR, -90]),  # seconds that pass
        st.integers(0, 50),
    ),
    max_size=30,
)


@given(calls, st.integers(0, 30))
@settings(max_examples=25, deadline=None)
def test_a_crash_refills_a_budget_by_no_more_than_what_the_log_did_not_hold(tmp_path_factory, history, lost):
    """Any calls and clocks, then a crash that loses the last records: what was kept or logged is used."""
    path = tmp_path_factory.mktemp("crash") / "tasks.sqlite3"
    with TaskStore.open(path) as store:
        links = [
            link(agent, begin(store, n, agent).id) for n, agent in enumerate(("coder", "coder", "helper"))
        ]
    chains = [(links[0],), (links[1],), (links[2],), (links[0], links[2])]
    live, journal, under_way, now = Windows(), Journal(), [], NOW
    latest = now
    made = []  # what every entry of the log adds, and to whom
    with TaskStore.open(path) as store:
        for what, which, seconds, octets in history:
            now += seconds
            latest = max(latest, now)
            if what == "call":
                taken = live.take(API, chains[which], now)
                if not isinstance(taken, Refusal):
                    under_way.append((journal.decide(principal(*chains[which]), now), taken))
                    made.append(1)
            elif what == "end" and under_way:
                call, taken = under_way.pop(which % len(under_way))
                live.charge(API, taken, Used(octets=octets))
                journal.end(call, now, bytes_up=octets)
                made.append(octets)
            elif what == "keep":
                store.keep_service_usage("one", live.changed(now))
    entries = journal.entries[: max(0, len(journal.entries) - lost)]
    recount_services(path, [parse(entry) for entry in entries], [API])
    again, missing = restored(path), sum(made[len(entries) :])
    for one in links:
        before, after = told(live, one, at=latest), told(again, one, at=latest)
        for name, figure in before.items():
            assert figure - missing <= after[name] <= figure


# -- keeping --


async def test_what_is_used_is_kept_and_found_at_the_next_start(path, own):
    account = Account("api", "requests", Unit.REQUESTS, Per.TASK, own.task.id)
    clock, alarms = Clock(), []
    async with following(path, clock, boot="one") as book:
        windows = Windows()
        keeper = await ServiceKeeper.start(book, windows, alarms.append, clock)
        windows.take(API, (own,), NOW)
        await until(lambda: told(restored(path), own)["requests"] == 1)
        taken = windows.take(API, (own,), NOW)
        windows.charge(API, taken, Used(octets=5))
        await keeper.close()
    async with following(path, clock, boot="two") as book:
        windows = Windows()
        keeper = await ServiceKeeper.start(book, windows, alarms.append, clock)
        assert told(windows, own) == {"requests": 2, "octets": 5, "tokens": 0, "cost": 0}
        windows.take(API, (own,), NOW)
        await keeper.close()
    with TaskStore.open(path) as store:
        assert Tally(account, HOUR, NOW, 2) in store.service_usage("two").tallies
        assert Tally(account, HOUR, NOW, 3) in store.service_usage("three").tallies
    assert alarms == []


async def test_what_is_over_is_gone_from_the_file_once_something_else_is_kept(path, own):
    clock = Clock()
    async with following(path, clock) as book:
        windows = Windows()
        keeper = await ServiceKeeper.start(book, windows, str, clock)
        windows.take(API, (own,), NOW)
        await until(lambda: told(restored(path), own)["requests"] == 1)
        clock.time += HOUR
        windows.take(API, (own,), NOW + HOUR)
        await keeper.close()
    with TaskStore.open(path) as store:
        assert {tally.begin for tally in store.service_usage("x").tallies} == {NOW + HOUR}


async def test_the_end_of_a_task_drops_its_accounts(path, own):
    async with following(path, Clock()) as book:
        windows = Windows()
        keeper = await ServiceKeeper.start(book, windows, str, Clock())
        windows.take(API, (own,), NOW)
        await book.end(own.task.id, "done")
        await until(lambda: told(windows, own)["requests"] == 0)
        await keeper.close()


async def test_what_cannot_be_kept_is_alarmed_once_and_kept_later(path, own):
    alarms, clock = [], Clock()
    async with following(path, clock) as book:
        windows = Windows()
        keeper = await ServiceKeeper.start(book, windows, alarms.append, clock)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("ALTER TABLE service_usage RENAME TO away")
            windows.take(API, (own,), NOW)
            await until(lambda: alarms)
            windows.take(API, (own,), NOW)
            connection.execute("ALTER TABLE away RENAME TO service_usage")
        await until(lambda: told(restored(path), own)["requests"] == 2)
        await keeper.close()
    assert len(alarms) == 1
    assert "what was used of services cannot be kept" in alarms[0]


async def test_a_clock_that_is_set_back_is_alarmed(path, own):
    alarms, clock = [], Clock()
    async with following(path, clock) as book:
        windows = Windows()
        windows.take(API, (own,), NOW + 100)
        keeper = await ServiceKeeper.start(book, windows, alarms.append, clock)
        await until(lambda: alarms)
        await keeper.close()
    assert alarms == [
        "the clock was set back by 100 seconds: until it has caught up, no budget of a service begins anew"
    ]


# -- the desk --


def test_what_is_left_is_told_of_the_services_that_were_given():
    other, free, windows = service("other"), service("free", ()), Windows()
    windows.take(API, (link(),), NOW)
    for granted, names in (
        (None, {"api", "other"}),
        (frozenset({"api", "free"}), {"api"}),
        (frozenset(), set()),
    ):
        left = services_left([API, other, free], windows, principal(link(services=granted)), NOW)
        assert set(left) == names
    assert left == {}
    left = services_left([API], windows, principal(), NOW)["api"]
    assert [(one.budget.name, one.left) for one in left][:2] == [("requests", 8), ("octets", 10**6)]
