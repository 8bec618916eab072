"""The watched file: what is new holds at once, what is gone a little later, what is broken changes nothing."""

import os
from contextlib import asynccontextmanager

import pytest

from proxy.identity.revocation import Kind
from proxy.problems import Problem
from proxy.store.revocation_file import RevocationFile
from tests.store.making import until

TICK = 0.002
NEVER = 3600.0


class World:
    """A file, what its watcher told, and the time it reads."""

    def __init__(self, path) -> None:
        self.path = path
        self.told: list[set[str]] = []
        self.failures: list[str] = []
        self.now_ns = 7

    def push(self, *agents: str) -> None:
        self.put(self.text(*agents))

    def put(self, text: str) -> None:
        """As a fleet tool should: written aside, and put in place whole."""
        aside = self.path.with_name("aside")
        aside.write_text(text)
        aside.replace(self.path)

    def text(self, *agents: str) -> str:
        return (
            "revocations:\n" + "".join(f"  - agent: {agent}\n" for agent in agents)
            if agents
            else "revocations: []\n"
        )

    @asynccontextmanager
    async def watched(self, settled: float = 0.0):
        watcher = RevocationFile.open(self.path, lambda: self.now_ns)
        watcher.follow(
            lambda orders: self.told.append({order.id for order in orders}),
            self.failures.append,
            interval=TICK,
            settled=settled,
        )
        try:
            yield watcher
        finally:
            await watcher.close()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "revocations.yaml")


def test_the_first_look_gives_the_orders_or_the_problems(world):
    world.push("a", "b")
    watcher = RevocationFile.open(world.path, lambda: 9)
    assert [(order.kind, order.id, order.ordered_at_ns) for order in watcher.orders] == [
        (Kind.AGENT, "a", 9),
        (Kind.AGENT, "b", 9),
    ]
    assert watcher.orders[0].ordered_by == f"file:{world.path}"
    world.path.write_text("revocations:\n  - agent\n")
    assert [problem.line for problem in RevocationFile.open(world.path, lambda: 9)] == [2]


def test_a_file_that_is_not_there_is_a_problem_at_the_start(world):
    (problem,) = RevocationFile.open(world.path, lambda: 9)
    assert isinstance(problem, Problem)
    assert "No such file" in problem.message


async def test_what_is_new_is_told_at_once(world):
    world.push("a")
    async with world.watched(settled=NEVER) as watcher:
        world.now_ns = 8
        world.push("a", "b")
        await until(lambda: world.told == [{"a", "b"}])
        assert [order.ordered_at_ns for order in watcher.orders] == [7, 8]
    assert world.failures == []


async def test_what_was_added_between_the_first_look_and_the_watch_is_told(world):
    world.push("a")
    watcher = RevocationFile.open(world.path, lambda: 1)
    world.push("b")
    watcher.follow(lambda orders: world.told.append({order.id for order in orders}), world.failures.append)
    await until(lambda: world.told == [{"a", "b"}])
    await watcher.close()


async def test_what_is_gone_is_told_when_the_file_has_settled(world):
    world.push("a", "b")
    async with world.watched(settled=0.01):
        world.push("b", "c")
        await until(lambda: len(world.told) == 2)
        assert world.told == [{"a", "b", "c"}, {"b", "c"}]
        world.push()
        await until(lambda: len(world.told) == 3)
        assert world.told[-1] == set()


async def test_what_is_gone_for_a_moment_is_not_gone(world):
    world.push("a", "b")
    async with world.watched(settled=NEVER) as watcher:
        world.path.write_text(world.text("a"))  # half of it
        world.path.write_text(world.text("a", "b"))
        world.path.write_text(world.text("a"))
        world.push("a", "c")
        await until(lambda: world.told == [{"a", "b", "c"}])
        assert {order.id for order in watcher.orders} == {"a", "b", "c"}


async def test_a_broken_or_vanished_file_keeps_the_last_orders_and_is_told_once(world):
    world.push("a")
    async with world.watched(settled=0.01) as watcher:
        world.put("revocations:\n  - agent\n")
        await until(lambda: len(world.failures) == 1)
        world.path.unlink()
        await until(lambda: len(world.failures) == 2)
        await until(lambda: watcher._settles_at == float("inf"))
        world.put("")
        await until(lambda: len(world.failures) == 3)
        await until(lambda: watcher._settles_at == float("inf"))
        assert [order.id for order in watcher.orders] == ["a"]
        world.push("a", "b")
        await until(lambda: world.told == [{"a", "b"}])
    assert f"{world.path}:2" in world.failures[0]
    assert "No such file" in world.failures[1]
    assert len(world.failures) == 3


async def test_a_change_that_stat_cannot_tell_is_read_when_the_file_settles(world):
    world.push("a")
    async with world.watched(settled=NEVER) as watcher:
        found = world.path.stat()
        await until(lambda: watcher._settles_at is not None)
        with world.path.open("r+b") as file:
            file.write(world.text("b").encode())
        os.utime(world.path, ns=(found.st_atime_ns, found.st_mtime_ns))

        def settled() -> bool:
            watcher._settles_at = 0.0
            return world.told != [] and world.told[-1] == {"b"}

        await until(settled)


async def test_a_file_that_is_too_large_is_a_mistake(world):
    world.push("a")
    async with world.watched():
        world.put(world.text("b") + "#" * 2**20 + "\n")
        await until(lambda: world.failures != [])
        assert "larger" in world.failures[0]
        assert world.told == []


async def test_a_closed_watcher_tells_nothing(world):
    world.push("a")
    async with world.watched() as watcher:
        pass
    world.push("b")
    assert not watcher._thread.is_alive()
    assert world.told == world.failures == []
