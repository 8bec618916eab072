"""What follows an end or an order: leases handed back once, whoever is slow or fails, and orders given twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.control.operations import RevokeReport
from proxy.identity.principal import Task
from proxy.identity.revocation import Kind
from proxy.store.tasks import TaskBook, TaskStore
from proxy.wiring_chronicle import Chronicle
from proxy.wiring_revocation import Consequences
from tests.engine.ports import Engine, Purse, engine
from tests.store.making import Clock, begin, following, order, until


class Broken(Purse):
    """It hands nothing back."""

    async def release(self, task: Task) -> int:
        await super().release(task)
        raise OSError("the provider is down")


@dataclass
class House:
    engine: Engine
    book: TaskBook
    store: TaskStore
    clock: Clock
    purse: Purse
    consequences: Consequences
    alarms: list[str]


@asynccontextmanager
async def house(directory: Path, purse: Purse | None = None) -> AsyncIterator[House]:
    """An engine, a book and what joins them; the engine's agent ``one`` can hold tasks of the book."""
    path, clock, alarms, kept = directory / "tasks.sqlite3", Clock(), [], purse or Purse()
    async with engine() as e, following(path, clock) as book:
        chronicle = Chronicle(book, e.scribe, alarms.append, None)
        consequences = Consequences(e.server, e.pool, kept, chronicle, book, alarms.append)
        consequences.attach()
        with TaskStore.open(path) as store:
            yield House(e, book, store, clock, kept, consequences, alarms)
        await consequences.settled()


def family(h: House) -> list[Task]:
    """A task, what was delegated from it, and another one."""
    root = begin(h.store, 1, "coder")
    return [root, begin(h.store, 2, "tester", parent=root), begin(h.store, 3, "other")]


async def known(h: House, *tasks: Task) -> None:
    await h.book.refresh()
    assert all(h.book.get(task.id) for task in tasks)


async def test_an_end_hands_back_the_leases_of_all_that_ended(tmp_path):
    async with house(tmp_path) as h:
        root, child, other = family(h)
        await known(h, root, child, other)
        await h.book.end(root.id, "over")
        await h.consequences.settled()
        assert sorted(h.purse.released) == sorted([root.id, child.id])
        assert h.alarms == []


async def test_d10_a_task_whose_time_is_up_hands_its_leases_back(tmp_path):
    """Its token, and the credentials that were issued for it, may be valid for long."""
    async with house(tmp_path) as h:
        brief = begin(h.store, 4, "coder", lifetime=10)
        long = begin(h.store, 5, "coder")
        await known(h, brief, long)
        h.clock.time += 11
        h.store.end(begin(h.store, 6, "coder").id, "", int(h.clock.time))  # so that somebody looks
        await until(lambda: brief.id in h.purse.released)
        assert long.id not in h.purse.released


async def test_an_order_hands_back_each_lease_once_and_counts_it(tmp_path):
    """Also where a connection takes its time to end: the leases have long been handed back by then."""
    async with house(tmp_path) as h, await h.engine.client("one") as client:
        root, child, other = family(h)
        await known(h, root, child, other)
        await client.send(h.engine.head("/slow"))
        await h.engine.upstream.until(lambda: len(h.engine.upstream.requests) == 1)
        report = await h.consequences.revoke(order(Kind.ALL))
        assert report is not None
        assert (report.ended_tasks, report.connections, report.leases) == (3, 1, 3)
        assert sorted(h.purse.released) == sorted([root.id, child.id, other.id])


async def test_a_provider_that_fails_is_told_and_holds_up_nothing(tmp_path):
    async with house(tmp_path, Broken()) as h:
        root, child, other = family(h)
        await known(h, root, child, other)
        report = await h.consequences.revoke(order(Kind.TASK, root.id))
        assert report is not None
        assert (report.ended_tasks, report.leases) == (2, 0)
        assert [
            task.id in alarm for task, alarm in zip((root, child), sorted_by(h, root, child), strict=True)
        ]
        assert len(h.alarms) == 2
        assert other.id not in h.purse.released


def sorted_by(h: House, *tasks: Task) -> list[str]:
    return [next(alarm for alarm in h.alarms if task.id in alarm) for task in tasks]


async def test_the_second_of_two_equal_orders_returns_no_sooner_than_the_first(tmp_path):
    async with house(tmp_path) as h, await h.engine.client("one") as client:
        await client.send(h.engine.head("/slow"))
        await h.engine.upstream.until(lambda: len(h.engine.upstream.requests) == 1)
        ended: list[str] = []

        async def carry_out(name: str, at: int) -> RevokeReport | None:
            report = await h.consequences.revoke(order(Kind.AGENT, "one", at_ns=at))
            ended.append(name)
            assert h.engine.outcomes == [("cut", "revoked", None)]
            return report

        reports = await asyncio.gather(*(carry_out(f"{number}", number + 1) for number in range(3)))
        assert len(ended) == 3
        assert {report.connections for report in reports if report} == {1}
        assert await client.at_end()


async def test_an_order_about_a_task_that_is_not_there(tmp_path):
    async with house(tmp_path) as h:
        assert await h.consequences.revoke(order(Kind.TASK, "t-" + "a" * 26)) is None
        assert h.purse.released == []
