"""What the log tells of tasks and orders: all that happens with nobody watching, in order, and once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from proxy.audit.record import Record, parse
from proxy.control.operations import RevokeReport, TaskAsked
from proxy.engine.scribe import Scribe
from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.identity.task import Manifest, make_task, manifest_bytes
from proxy.store.tasks import TaskBook, TaskStore
from proxy.wiring_chronicle import Chronicle
from proxy.wiring_parts import Entropy, SystemClock
from proxy.wiring_tasks import start_task
from tests.engine.ports import Journal
from tests.store.making import Clock, begin, following, order
from tests.support.world import World, new_task, office, world

TOLD = {"task.open", "task.end", "revocation", "revocation.lifted"}


def words(record: Record) -> tuple[str, str]:
    """What a record tells, and of whom."""
    return record.kind, record.task or str(record.raw["body"]["id"])


def told(records: list[Record]) -> list[tuple[str, str]]:
    return [words(record) for record in records if record.kind in TOLD]


def body(record: Record) -> dict[str, object]:
    return record.raw["body"]


def last_run(w: World) -> list[Record]:
    """The records since the last start."""
    records = w.records
    boots = [number for number, record in enumerate(records) if record.kind == "boot"]
    return records[boots[-1] :]


@contextmanager
def down(directory: Path) -> Iterator[TaskStore]:
    """The task file, while no sidecar runs."""
    with TaskStore.open(directory / "state" / "tasks.sqlite3") as store:
        yield store


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


# -- a whole sidecar --


async def test_all_that_happened_while_nothing_ran_is_told_at_the_start_in_order_and_once(tmp_path):
    async with world(tmp_path) as w:
        first, second = w.another_task().task.id, w.another_task().task.id
        own = w.started.task.id
        await until(lambda: told(w.records) == [("task.open", task) for task in (own, first, second)])
    with down(tmp_path) as store:
        third = new_task(store, w.keyring, w.rules, purpose="at night").task.id
        store.end(first, "done", int(time.time()), by="ada")
        store.revoke(order(Kind.TASK, second))
        store.revoke(order(Kind.AGENT, "tester"))
        store.lift(Kind.AGENT, "tester", "grace")
    async with world(tmp_path) as again:
        last = again.started.task.id
        assert [record.kind for record in last_run(again)][:2] == ["boot", "rules.load"]
        late = last_run(again)[2:]  # before the first call
    assert [words(record) for record in late] == [
        ("task.open", third),
        ("task.end", first),
        ("revocation", second),
        ("task.end", second),
        ("revocation", "tester"),
        *(("task.end", task) for task in sorted((own, third))),
        ("revocation.lifted", "tester"),
        ("task.open", last),
    ]
    assert all(body(record)["late"] is True for record in late)
    facts = ("by", "detail", "state")
    assert [body(late[0]).get(name) for name in facts] == ["cli", "at night", "open"]
    assert [body(late[1]).get(name) for name in facts] == ["ada", "ended: done", "ended"]
    assert [body(late[3]).get(name) for name in facts] == ["cli", "revoked: leaked", "revoked"]
    assert [body(late[7]).get(name) for name in facts[:2]] == ["grace", "agent tester by grace"]
    everything = told(again.records)
    assert len(everything) == len(set(everything)) == 12


async def test_a_late_order_says_whom_it_ended_and_cut_nothing(tmp_path):
    async with world(tmp_path) as w:
        own = w.started.task
    given = Order(Kind.AGENT, "tester", "leaked", "cli", time.time_ns())
    with down(tmp_path) as store:
        store.revoke(given)
        store.lift(Kind.AGENT, "tester", "cli", given.ordered_at_ns + 5)
    async with world(tmp_path) as w:
        (ordered,) = (body(record) for record in w.records if record.kind == "revocation")
        (lifted,) = (body(record) for record in w.records if record.kind == "revocation.lifted")
    assert (ordered["tasks"], ordered["tasks_ended"], ordered["connections_cut"]) == ([own.id], 1, 0)
    assert (ordered["reason"], ordered["ordered_by"], ordered["leases"]) == ("leaked", "cli", 0)
    assert ordered["at_ns"] == ordered["ordered_at_ns"] == str(given.ordered_at_ns)
    assert lifted["at_ns"] == str(given.ordered_at_ns + 5)


async def test_what_was_told_is_not_told_at_the_next_start(tmp_path):
    for number in range(3):
        async with world(tmp_path) as w:
            assert told(last_run(w)) == [("task.open", w.started.task.id)]
        assert len(told(w.records)) == number + 1


async def test_a_task_that_expired_while_nothing_ran_is_told_with_when_it_did(tmp_path):
    async with world(tmp_path) as w:
        pass
    with down(tmp_path) as store:
        begun = int(time.time()) - 3600
        asked = w.started.task
        started = start_task(store, office(w.keyring, w.rules), _asked(asked.agent, 600), begun)
    async with world(tmp_path) as w:
        late = [record for record in last_run(w) if record.task == started.task.id]
    assert [record.kind for record in late] == ["task.open", "task.end"]
    assert [body(record)["at_ns"] for record in late] == [f"{begun}{'0' * 9}", f"{begun + 600}{'0' * 9}"]
    assert (body(late[1])["state"], body(late[1])["late"]) == ("expired", True)
    assert body(late[1])["detail"] == "expired: its time was up"


async def test_what_comes_and_goes_between_two_looks_is_told(tmp_path):
    async with world(tmp_path) as w:
        task = w.another_task().task.id
        w.store.end(task, "done", int(time.time()), by="ada")
        w.store.revoke(order(Kind.KEY, "k"))
        w.store.lift(Kind.KEY, "k", "ada")
        await until(lambda: ("revocation.lifted", "k") in told(w.records))
    new = [record for record in w.records if record.kind in TOLD and record.task != w.started.task.id]
    assert sorted(map(words, new)) == sorted(
        [("task.open", task), ("task.end", task), ("revocation", "k"), ("revocation.lifted", "k")]
    )
    assert not any("late" in body(record) or "at_ns" in body(record) for record in new)


async def test_an_order_that_is_carried_out_has_one_record(tmp_path):
    async with world(tmp_path) as w:
        task = w.another_task()
        async with w.tunnel(task):
            given = Order(Kind.TASK, task.task.id, "leaked", "cli", time.time_ns())
            report = await w.sidecar.parts.consequences.revoke(given)
        assert (report.connections, report.ended_tasks) == (1, 1)
        await until(lambda: ("task.end", task.task.id) in told(w.records))
    (ordered,) = (record for record in w.records if record.kind == "revocation")
    assert (ordered.task, body(ordered)["connections_cut"]) == (task.task.id, 1)
    async with world(tmp_path) as again:
        assert told(last_run(again)) == [("task.open", again.started.task.id)]


async def test_whoever_lifts_is_named(tmp_path):
    async with world(tmp_path) as w:
        await w.sidecar.parts.consequences.revoke(order(Kind.KEY, "k"))
        assert await w.sidecar.parts.consequences.lift(Kind.KEY, "k", "control:ada") is True
        assert await w.sidecar.parts.consequences.lift(Kind.KEY, "k", "control:ada") is False
    (lifted,) = (body(record) for record in w.records if record.kind == "revocation.lifted")
    assert lifted == {"kind": "key", "id": "k", "by": "control:ada", "detail": "key k by control:ada"}


async def test_the_mark_follows_while_it_runs(tmp_path):
    async with world(tmp_path) as w:
        for _ in range(2):
            w.another_task()
            seq = w.store.changes(0, 0).seq
            await until(lambda seq=seq: w.store.recorded("log") == seq)
            assert sum(record.kind == "task.open" for record in w.records) >= 2


async def test_many_changes_are_told_page_by_page(tmp_path):
    async with world(tmp_path) as w:
        pass
    ids = many(tmp_path / "state" / "tasks.sqlite3", 500)
    with down(tmp_path) as store:
        store.revoke(order(Kind.AGENT, "other"))
    async with world(tmp_path) as w:
        await until(lambda: ("task.open", w.started.task.id) in told(w.records))
    mine = [one for one in told(last_run(w)) if one[1] != w.started.task.id]
    opened = [("task.open", task) for task in ids]
    assert mine == [*opened, ("revocation", "other"), *(("task.end", task) for task in sorted(ids))]


def _asked(agent: str, ttl: int):
    return TaskAsked(agent=agent, purpose="a test", ttl_s=ttl)


def many(path: Path, number: int) -> list[str]:
    """So many tasks of ``other``."""
    now, ids = int(time.time()), []
    with TaskStore.open(path) as store:
        for each in range(number):
            manifest = Manifest("other", "p", (), "development", now, now + 600, None, f"{each:032x}")
            task = make_task(manifest)
            store.create(task, manifest_bytes(manifest), (), "cli")
            ids.append(task.id)
    return ids


# -- the chronicle alone, with a log in memory --


class Scene:
    """A chronicle of ``book`` that writes to ``journal``."""

    def __init__(self, book: TaskBook, journal: Journal, log: str | None, patience: float) -> None:
        self.book = book
        self.journal = journal
        self.alarms: list[str] = []
        scribe = Scribe(
            log=journal,
            clock=SystemClock(),
            entropy=Entropy(),
            origin="test",
            boot="BOOT",
            alarm=self.alarms.append,
        )
        self.chronicle = Chronicle(book, scribe, self.alarms.append, log, patience)

    @property
    def told(self) -> list[tuple[str, str]]:
        return told([parse(entry) for entry in self.journal.entries])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def store(path):
    with TaskStore.open(path) as store:
        yield store


@asynccontextmanager
async def telling(
    path: Path, *, log: str | None = "log", patience: float = 10, journal: Journal | None = None
) -> AsyncIterator[Scene]:
    async with following(path, Clock()) as book:
        scene = Scene(book, journal or Journal(), log, patience)
        scene.chronicle.attach()
        await scene.chronicle.start()
        try:
            yield scene
        finally:
            await scene.chronicle.close()


def opened(*tasks) -> list[tuple[str, str]]:
    return [("task.open", task.id) for task in tasks]


async def test_a_log_that_keeps_no_mark_tells_what_happens_while_it_lives(path, store):
    before = begin(store, 1)
    for number in (2, 3):
        async with telling(path, log=None) as scene:
            task = begin(store, number)
            await until(lambda scene=scene: scene.told != [])
        assert scene.told == opened(task)
    assert store.recorded("log") == 0
    async with telling(path) as scene:
        assert scene.told[0] == ("task.open", before.id)
        assert len(scene.told) == 3


async def test_a_history_that_is_longer_than_patience_is_told_while_it_runs(path, store):
    tasks = [begin(store, number) for number in range(3)]
    async with telling(path, patience=0) as scene:
        assert scene.told == []
        await until(lambda: scene.told == opened(*tasks))
        await until(lambda: store.recorded("log") == 3)


async def test_what_a_stop_had_no_patience_for_is_left_to_the_next_start(path, store):
    tasks = [begin(store, number) for number in range(3)]
    async with following(path, Clock()) as book:
        scene = Scene(book, Journal(), "log", 0)
        scene.chronicle.attach()
        await scene.chronicle.start()
        await scene.chronicle.close()
        assert scene.told == []
    assert store.recorded("log") == 0
    async with telling(path) as scene:
        assert scene.told == opened(*tasks)


async def test_a_chronicle_that_never_started_ends(path):
    async with following(path, Clock()) as book:
        await Scene(book, Journal(), "log", 1).chronicle.close()


async def test_the_mark_does_not_pass_what_the_log_has_lost(path, store):
    journal = Journal()
    journal.broken = True
    tasks = [begin(store, number) for number in range(2)]
    async with telling(path, journal=journal) as scene:
        tasks.append(begin(store, 2))
        await until(lambda: len(scene.alarms) == 3)
        journal.broken = False
        tasks.append(begin(store, 3))  # told, but behind a gap
        await until(lambda: scene.told != [])
    assert store.recorded("log") == 0
    async with telling(path) as scene:
        assert scene.told == opened(*tasks)


async def test_the_mark_waits_for_records_that_are_not_durable_yet(path, store):
    journal = Journal()
    async with telling(path, journal=journal) as scene:
        first = begin(store, 1)
        await until(lambda: store.recorded("log") == 1)
        journal.held = asyncio.Event()
        second = begin(store, 2)
        await until(lambda: scene.book.get(second.id) is not None)
        closing = asyncio.ensure_future(scene.chronicle.close())
        for _ in range(3):
            await scene.book.refresh()
        assert (closing.done(), store.recorded("log")) == (False, 1)
        journal.held.set()
        await closing
        assert store.recorded("log") == 2
    assert scene.told == opened(first, second)


async def test_the_mark_waits_for_orders_that_are_being_carried_out(path, store):
    async with telling(path) as scene:
        scene.book.on_revoke(lambda given, _: scene.chronicle.carrying_out(given))
        given = order(Kind.ALL)
        await scene.book.revoke(given)
        task_free = order(Kind.KEY, "k")
        await scene.book.revoke(task_free)
        scene.chronicle.carried_out(task_free, (), RevokeReport(0, 0, 0, 0, 0))
        assert await scene.book.lift(Kind.ALL, EVERYTHING, "ada")
        await until(lambda: ("revocation.lifted", "*") in scene.told)
        await scene.chronicle.close()
        assert scene.told == [("revocation", "k"), ("revocation.lifted", "*")]
        assert store.recorded("log") == 0
        scene.chronicle.carried_out(given, (), RevokeReport(0, 0, 0, 0, 0))
    assert store.recorded("log") == 3
    assert scene.told == [("revocation", "k"), ("revocation.lifted", "*"), ("revocation", "*")]


async def test_a_file_that_cannot_be_read_is_told_of_once_and_read_later(path, store):
    async with telling(path) as scene:
        store._connection.execute("ALTER TABLE lifted RENAME TO gone")
        tasks = []
        for number in range(3):
            tasks.append(begin(store, number))
            for _ in range(3):
                await scene.book.refresh()
        await until(lambda: scene.alarms != [])
        store._connection.execute("ALTER TABLE gone RENAME TO lifted")
        await until(lambda: scene.told == opened(*tasks))
    (alarm,) = scene.alarms
    assert alarm.startswith("changes of tasks are recorded later: ")
    assert store.recorded("log") == 3


async def test_a_mark_that_cannot_be_kept_is_told_of_and_kept_later(path, store):
    async with telling(path) as scene:
        store._connection.execute("ALTER TABLE recorded RENAME TO gone")
        task = begin(store)
        await until(lambda: scene.alarms != [])
        assert scene.told == opened(task)
        store._connection.execute("ALTER TABLE gone RENAME TO recorded")
        await until(lambda: store.recorded("log") == 1)
    (alarm,) = scene.alarms
    assert alarm.startswith("the next start may record changes of tasks again: ")


async def test_the_very_same_order_given_twice_is_told_at_least_twice(path, store):
    nothing = RevokeReport(0, 0, 0, 0, 0)
    async with telling(path) as scene:
        given = order(Kind.KEY, "k")
        scene.book.on_revoke(lambda given, _: scene.chronicle.carrying_out(given))
        await scene.book.revoke(given)
        await scene.book.lift(Kind.KEY, "k")
        await scene.book.revoke(given)
        await until(lambda: ("revocation.lifted", "k") in scene.told)
        for _ in range(2):
            scene.chronicle.carried_out(given, (), nothing)
    assert store.recorded("log") == 3
    assert scene.told.count(("revocation", "k")) >= 2
