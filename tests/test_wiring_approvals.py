"""Approvals, joined: every event has its record once, whoever made it; operators answer; agents see their own."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.audit.record import Record, parse
from proxy.engine.scribe import Scribe
from proxy.errors import Code, Refusal
from proxy.identity.principal import Agent, Evidence, Link, Method, Principal, Right, Task
from proxy.identity.registry import Registry
from proxy.identity.ways import token
from proxy.policy.approval import ADMIN, Approval, Denial, Grant, Obstacle, State
from proxy.store.approvals import ApprovalBook, ApprovalStore
from proxy.wiring_approvals import Answers, ApprovalChronicle, approver, own
from proxy.wiring_parts import Entropy, SystemClock
from tests.engine.ports import Journal
from tests.store.asking import ADA, NOW, ONCE, TERMS, approving, asked
from tests.store.making import Clock, until

BOUND = {
    "agent": "coder",
    "task": "t-1",
    "purpose": "pay bills",
    "chain": ["lead", "coder"],
    "owners": ["grace@example.org"],
    "method": "POST",
    "url": "https://api.test/pay",
    "actions": ["shop.pay"],
    "facts": [{"body": {"amount": 500}}],
    "rules": ["pay"],
    "request_sha256": asked().request_sha256,
    "ruleset_sha256": "1" * 64,
    "asked_at": NOW,
    "expires_at": NOW + 3600,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "approvals.sqlite3"


@pytest.fixture
def store(path):
    with ApprovalStore.open(path) as store:
        yield store


class Scene:
    """A chronicle of ``book`` that writes to ``journal``."""

    def __init__(self, book: ApprovalBook, journal: Journal, log: str | None, patience: float) -> None:
        self.book = book
        self.journal = journal
        self.alarms: list[str] = []
        scribe = Scribe(
            log=journal,
            clock=SystemClock(),
            entropy=Entropy(),
            origin="test",
            boot="B",
            alarm=self.alarms.append,
        )
        self.chronicle = ApprovalChronicle(book, scribe, self.alarms.append, log, patience)

    @property
    def records(self) -> list[Record]:
        return [parse(entry) for entry in self.journal.entries]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [
            (record.kind.removeprefix("approval."), str(record.raw["body"]["id"])) for record in self.records
        ]


@asynccontextmanager
async def telling(
    path: Path, *, log: str | None = "log", patience: float = 10, journal: Journal | None = None
) -> AsyncIterator[Scene]:
    alarms: list[str] = []
    async with approving(path, Clock(), alarms.append) as book:
        scene = Scene(book, journal or Journal(), log, patience)
        await scene.chronicle.start()
        try:
            yield scene
        finally:
            await scene.chronicle.close()
    assert alarms == []


def filed(store, content="body 1") -> str:
    return store.file(asked(content), NOW, TERMS).id


async def test_everything_is_recorded_with_all_that_is_bound(path, store):
    async with telling(path) as scene:
        mine = (await scene.book.file(asked())).id
        store.answer(mine, Grant(2, 600, "fine"), ADA, NOW + 1)  # another process
        await until(lambda: len(scene.told) == 2)
        assert isinstance(await scene.book.redeem(asked()), Approval)
        store.answer(mine, Denial("enough"), ADA, NOW + 2)
        await until(lambda: len(scene.told) == 4)
        assert scene.told == [(kind, mine) for kind in ("request", "grant", "use", "deny")]
        bodies = [record.raw["body"] for record in scene.records]
        assert [(record.agent, record.task) for record in scene.records] == [("coder", "t-1")] * 4
        assert scene.alarms == []
    for body in bodies:
        assert {name: body[name] for name in BOUND} == BOUND
        assert body.keys().isdisjoint({"late", "at_ns"})
    own_facts = [
        {name: body[name] for name in body.keys() - BOUND.keys() - {"id", "detail"}} for body in bodies
    ]
    assert own_facts == [
        {"at": NOW},
        {"at": NOW + 1, "approver": "login:ada", "granted_until": NOW + 601, "reason": "fine", "uses": 2},
        {"at": NOW, "approver": "login:ada", "use": 1, "uses": 2},
        {"at": NOW + 2, "approver": "login:ada", "reason": "enough"},
    ]
    assert [record.detail for record in scene.records] == [
        f"{mine}: POST https://api.test/pay {words}"
        for words in (
            "waits for approval",
            "approved 2 times by login:ada",
            "use 1 of 2, approved by login:ada",
            "denied by login:ada",
        )
    ]


async def test_what_happened_while_nothing_ran_is_told_at_the_start_and_once(path, store):
    async with telling(path) as scene:
        first = (await scene.book.file(asked())).id
    assert scene.told == [("request", first)]
    second = filed(store, "body 2")
    store.answer(first, ONCE, ADA, NOW + 1)
    store.expire(NOW + 3600)
    async with telling(path) as scene:
        late = scene.records
    assert scene.told == [("request", second), ("grant", first), ("expire", first), ("expire", second)]
    assert [record.raw["body"]["late"] for record in late] == [True] * 4
    assert [record.raw["body"]["at_ns"] for record in late] == [
        f"{at}{'0' * 9}" for at in (NOW, NOW + 1, NOW + 601, NOW + 3600)
    ]
    assert late[1].detail.endswith("approved once by login:ada")
    assert late[2].detail.endswith("is over: it was not used in time")
    assert late[3].detail.endswith("is over: nobody answered in time")
    async with telling(path) as scene:
        assert scene.told == []


async def test_the_mark_follows_while_it_runs(path, store):
    async with telling(path) as scene:
        filed(store)
        await until(lambda: store.recorded("log") == 1)
        assert len(scene.told) == 1


async def test_a_log_that_keeps_no_mark_tells_what_happens_while_it_lives(path, store):
    filed(store, "before")
    async with telling(path, log=None) as scene:
        mine = filed(store)
        await until(lambda: scene.told == [("request", mine)])
    assert store.recorded("log") == 0
    async with telling(path) as scene:
        assert len(scene.told) == 2


async def test_a_long_history_is_told_while_it_runs_page_by_page(path, store):
    for number in range(130):
        store.answer(filed(store, str(number)), Denial(""), ADA, NOW)
    async with telling(path, patience=0) as scene:
        assert scene.told == []
        await until(lambda: len(scene.told) == 260)
        await until(lambda: store.recorded("log") == 260)
    assert len(set(scene.told)) == 260


async def test_a_stop_without_patience_leaves_the_rest_to_the_next_start(path, store):
    filed(store)
    alarms: list[str] = []
    async with approving(path, Clock(), alarms.append) as book:
        scene = Scene(book, Journal(), "log", 0)
        await scene.chronicle.start()
        await scene.chronicle.close()
    assert scene.told == []
    async with telling(path) as scene:
        assert len(scene.told) == 1


async def test_the_mark_does_not_pass_what_the_log_has_lost(path, store):
    journal = Journal()
    journal.broken = True
    async with telling(path, journal=journal) as scene:
        first = filed(store, "a")
        await until(lambda: scene.alarms != [])
        journal.broken = False
        second = filed(store, "b")
        await until(lambda: scene.told == [("request", second)])
    assert store.recorded("log") == 0
    async with telling(path) as scene:
        assert scene.told == [("request", first), ("request", second)]


async def test_the_mark_waits_for_records_that_are_not_durable_yet(path, store):
    journal = Journal()
    async with telling(path, journal=journal) as scene:
        journal.held = asyncio.Event()
        filed(store)
        await until(lambda: journal.waiting == 1)
        assert store.recorded("log") == 0
        journal.held.set()
        await until(lambda: store.recorded("log") == 1)
        assert len(scene.told) == 1


async def test_a_file_that_cannot_be_read_is_told_once_and_tried_again(path, store):
    async with telling(path) as scene:
        mine = filed(store)
        await until(lambda: store.recorded("log") == 1)
        store._connection.execute("UPDATE requests SET asked = '{}'")
        store._connection.execute(
            "INSERT INTO events (request, kind, at, facts) VALUES (?, 'use', 1, '{}')", (mine,)
        )
        await until(lambda: len(scene.alarms) == 1)
        assert "recorded later" in scene.alarms[0]
        row = store._connection.execute("SELECT count(*) FROM events").fetchone()
        assert row == (2,)
        store._connection.execute("DELETE FROM events WHERE seq = 2")
        other = filed(store, "body 2")
        await until(lambda: ("request", other) in scene.told)


async def test_a_chronicle_that_never_started_ends(path):
    async with approving(path, Clock(), [].append) as book:
        await Scene(book, Journal(), "log", 1).chronicle.close()


# -- operators --


def registry() -> Registry:
    agents = [Agent(name, "production", "1", "grace", "grace") for name in ("coder", "lead", "other")]
    return Registry.of(agents, {"coder": [token("ci", "robot-7", {})], "other": [token("ci", "robot-8", {})]})


async def test_operators_see_requests_and_answer_them(path, store):
    answers, mine = Answers(path, registry), filed(store)
    (entry,) = await answers.entries(State.WAITING, 10)
    assert entry == await answers.entry(mine) == store.get(mine)
    assert await answers.entries(State.DENIED, 10) == ()
    assert await answers.entry("ap-none") is None
    before = int(time.time())
    store.file(asked("later"), before, TERMS)
    later = next(one.id for one in store.list() if one.id != mine)
    said = await answers.answer(later, Grant(3, 60, "ok"), "login:ada")
    assert (said.answered_by, said.uses, said.state) == ("login:ada", 3, State.APPROVED)
    assert said.answered_at >= before
    assert (await answers.answer("ap-none", Denial(""), ADMIN)).obstacle is Obstacle.UNKNOWN


@pytest.mark.parametrize("operator", ["ci:robot-7", "login:coder", "login:Lead"])
async def test_d13_an_operator_that_is_an_agent_of_the_chain_may_not(path, store, operator):
    store.file(asked(), int(time.time()), TERMS)
    (entry,) = store.list()
    said = await Answers(path, registry).answer(entry.id, ONCE, operator)
    assert said.obstacle is Obstacle.NOT_THEIRS
    assert store.redeem(asked(), int(time.time())) is None


@pytest.mark.parametrize("operator", [ADMIN, "login:ada", "ci:robot-8", "ci:robot-9"])
async def test_others_may(path, store, operator):
    store.file(asked(), int(time.time()), TERMS)
    (entry,) = store.list()
    assert (await Answers(path, registry).answer(entry.id, ONCE, operator)).state is State.APPROVED


def test_an_operator_is_every_agent_that_its_token_fits():
    assert approver("ci:robot-7", registry()).agents == {"coder"}
    assert approver(ADMIN, registry()).agents == approver("ci:", registry()).agents == frozenset()


# -- agents --


def principal(agent: str = "coder", task: str = "t-1") -> Principal:
    held = Task(task, agent, "p", (), "production", NOW, NOW + 600, "0" * 64)
    link = Link(
        Agent(agent, "production", "1", "", ""), held, Right(frozenset(), None, "production", NOW + 600)
    )
    return Principal((link,), (Evidence(Method.SESSION, "iss"),))


async def test_an_agent_sees_its_own_requests_and_no_more_of_them_than_it_knows(path, store):
    denied, mine = filed(store), filed(store, "body 2")
    store.answer(denied, Denial("no money"), ADA, NOW)
    store.answer(mine, ONCE, ADA, NOW)
    store.file(asked("body 3", task="t-2"), NOW, TERMS)
    async with approving(path, Clock(), [].append) as book:
        said = await own(book, principal())
        assert await own(book, principal(agent="other")) == []
        assert await own(book, principal(task="t-none")) == []
    place = {"method": "POST", "url": "https://api.test/pay", "asked_at": NOW}
    assert sorted(said, key=lambda one: one["state"]) == [
        {"id": mine, "state": "approved", "expires_at": NOW + 600, "reason": ""} | place,
        {"id": denied, "state": "denied", "expires_at": NOW + 3600, "reason": "no money"} | place,
    ]


async def test_a_queue_that_cannot_be_read_is_a_failure_of_ours(path):
    async with approving(path, Clock(), [].append) as book:
        pass
    said = await own(book, principal())
    assert isinstance(said, Refusal)
    assert said.code is Code.INTERNAL
