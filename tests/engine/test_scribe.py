"""What can be waited for of what is recorded without waiting."""

import asyncio

from proxy.engine.scribe import Scribe
from proxy.wiring_parts import Entropy, SystemClock
from tests.engine.ports import Journal


def scribe(journal: Journal) -> Scribe:
    alarms: list[str] = []
    return Scribe(
        log=journal, clock=SystemClock(), entropy=Entropy(), origin="test", boot="BOOT", alarm=alarms.append
    )


async def test_nothing_is_waited_for_where_nothing_was_recorded():
    assert await scribe(Journal()).written() is True


async def test_what_comes_meanwhile_is_not_waited_for():
    journal = Journal()
    writer = scribe(journal)
    first, second = asyncio.Event(), asyncio.Event()
    journal.held = first
    writer.note("one", {})
    waiting = asyncio.ensure_future(writer.written())
    await asyncio.sleep(0)
    journal.held = second
    writer.note("two", {})
    assert not waiting.done()
    first.set()
    assert await waiting is True
    assert len(journal.entries) == 1
    second.set()
    assert await writer.written() is True
    assert len(journal.entries) == 2


async def test_what_was_lost_is_not_forgotten():
    journal = Journal()
    writer = scribe(journal)
    journal.broken = True
    writer.note("one", {})
    assert await writer.written() is False
    journal.broken = False
    writer.note("two", {})
    assert await writer.written() is False
