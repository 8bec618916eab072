"""The book of tasks: from memory, and never behind the file for long."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest

from proxy.credential.placeholder import Holding, digest, mint
from proxy.identity.principal import Task, TaskState
from proxy.identity.task import Manifest, make_task, manifest_bytes
from proxy.store.tasks import INTERVAL_S, KEEP_S, TaskBook, TaskStore, TaskStoreError

START = 1_800_000_000
PLACEHOLDER = mint(bytes(range(24))).encode()


class Clock:
    def __init__(self) -> None:
        self.time = float(START)

    def __call__(self) -> float:
        return self.time


class World:
    """A file, a clock set by hand, another process's store, and a book with a note of what ended."""

    def __init__(self, path) -> None:
        self.path = path
        self.clock = Clock()
        self.other = TaskStore.open(path)
        self.ended: list[Task] = []
        self.book: TaskBook

    @asynccontextmanager
    async def opened(self, interval: float = 0.005, boot: str = "one"):
        self.book = await TaskBook.open(self.path, now=self.clock, boot=boot, interval=interval)
        self.book.on_end(self.ended.append)
        try:
            yield self.book
        finally:
            await self.book.close()

    def make(self, number: int = 0, lifetime: int = 600) -> tuple[Task, bytes, list[Holding]]:
        data = manifest_bytes(
            Manifest("coder", "p", (), "development", START, START + lifetime, None, f"{number:032x}")
        )
        task = make_task(
            Manifest("coder", "p", (), "development", START, START + lifetime, None, f"{number:032x}")
        )
        return task, data, [Holding(digest(PLACEHOLDER), task.id, "forge", "coder")] if number == 0 else []

    def start(self, number: int = 0, lifetime: int = 600) -> Task:
        task, data, holdings = self.make(number, lifetime)
        self.other.create(task, data, holdings)
        return task

    def state(self, task: Task) -> TaskState | None:
        found = self.book.get(task.id)
        return found.state if found else None


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "tasks.sqlite3")
    yield world
    world.other.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def test_open_tasks_are_there_from_the_start(world):
    task = world.start()
    async with world.opened() as book:
        assert book.get(task.id) == task
        assert book.holding(PLACEHOLDER) == Holding(digest(PLACEHOLDER), task.id, "forge", "coder")
        assert book.get("t-none") is None
        assert book.holding(b"gp_none") is None


async def test_what_another_process_does_is_followed(world):
    async with world.opened() as book:
        task = world.start()
        await until(lambda: book.get(task.id) is not None)
        assert book.holding(PLACEHOLDER).service == "forge"
        world.other.end(task.id, "done", START)
        await until(lambda: world.ended != [])
        assert world.state(task) is TaskState.ENDED
        assert [each.id for each in world.ended] == [task.id]


async def test_a_revocation_holds_within_the_promised_time(world):
    task = world.start()
    async with world.opened(interval=INTERVAL_S) as book:
        began = time.monotonic()
        world.other.end(task.id, "stop", START, TaskState.REVOKED)
        await until(lambda: book.get(task.id).state is TaskState.REVOKED)
        assert time.monotonic() - began < 2  # 0.05 s, on a machine that may be busy


async def test_a_refresh_looks_at_once(world):
    async with world.opened(interval=3600) as book:
        task = world.start()
        assert book.get(task.id) is None
        await book.refresh()
        assert book.get(task.id) == task


async def test_every_refresh_sees_what_was_written_before_it(world):
    async with world.opened(interval=3600) as book:
        waiting = []
        for number in range(1, 20):
            task = world.start(number)
            waiting.append((task, asyncio.ensure_future(book.refresh())))
            await asyncio.sleep(0)
        for task, look in waiting:
            await look
            assert book.get(task.id) == task


async def test_a_refresh_that_nobody_waits_for_any_more_harms_no_other(world):
    async with world.opened(interval=3600) as book:
        first, second = (asyncio.ensure_future(book.refresh()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        task = world.start()
        await second
        await book.refresh()
        assert book.get(task.id) == task


async def test_creating_and_ending_in_this_process_hold_at_once(world):
    async with world.opened(interval=3600) as book:
        task, data, holdings = world.make()
        await book.create(task, data, holdings)
        assert book.get(task.id) == task
        assert world.other.get(task.id).task == task
        (ended,) = await book.end(task.id, "done")
        assert ended == book.get(task.id)
        assert ended.state is TaskState.ENDED
        await until(lambda: world.ended == [ended])
        assert world.other.get(task.id).reason == "done"
        assert await book.end(task.id, "again") == ()
        assert await book.end("t-none", "done") is None
        with pytest.raises(TaskStoreError):
            await book.create(task, data, holdings)


async def test_a_task_expires_by_the_clock_here_and_on_disk(world):
    # As near to its end as lets it be seen open.
    world.clock.time = START + 599.9
    task, later = world.start(0), world.start(1, lifetime=601)
    async with world.opened() as book:
        assert world.state(task) is TaskState.OPEN
        world.clock.time = START + 600
        await until(lambda: world.ended != [])
        assert world.state(task) is TaskState.EXPIRED
        assert world.state(later) is TaskState.OPEN
        await until(lambda: world.other.get(task.id).task.state is TaskState.EXPIRED)
        await book.refresh()
        assert [each.id for each in world.ended] == [task.id]


async def test_a_task_that_was_due_before_the_start_is_over(world):
    task = world.start()
    world.clock.time = START + 700
    async with world.opened():
        assert world.state(task) is TaskState.EXPIRED


async def test_what_has_been_over_for_long_is_forgotten(world):
    task = world.start()
    async with world.opened() as book:
        await book.end(task.id, "done")
        world.clock.time = START + 600 + KEEP_S
        world.start(1, lifetime=10_000)
        await until(lambda: book.get(task.id) is None)
        assert book.holding(PLACEHOLDER) is None


async def test_one_callback_that_fails_keeps_no_other_from_its_task(world):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def fail(task: Task) -> None:
        raise RuntimeError(task.id)

    async with world.opened() as book:
        book._on_end.insert(0, fail)
        one, two = world.start(1), world.start(2)
        await book.refresh()
        world.other.end(one.id, "done", START)
        world.other.end(two.id, "done", START)
        await until(lambda: len(world.ended) == 2)
        assert len(complaints) == 2


async def test_a_sidecar_that_cannot_read_the_file_knows_no_task(world):
    task = world.start()
    async with world.opened() as book:
        hidden = world.path.with_name("hidden")
        world.path.rename(hidden)
        await until(lambda: book.fault is not None)
        assert book.get(task.id) is None
        assert book.holding(PLACEHOLDER) is None
        hidden.rename(world.path)
        await until(lambda: book.fault is None)
        assert book.get(task.id) == task


async def test_an_altered_row_is_a_fault(world):
    task = world.start()
    async with world.opened() as book:
        connection = sqlite3.connect(world.path, isolation_level=None)
        connection.execute("UPDATE tasks SET manifest = x'00', seq = 99")
        connection.close()
        await until(lambda: book.fault is not None)
        assert "altered" in book.fault
        assert book.get(task.id) is None
        with pytest.raises(TaskStoreError):
            await book.refresh()


async def test_a_file_that_cannot_be_opened_or_read_is_an_error_at_once(tmp_path, world):
    with pytest.raises(TaskStoreError):
        await TaskBook.open(tmp_path / "no" / "tasks.sqlite3", now=world.clock, boot="one")
    world.start()
    connection = sqlite3.connect(world.path, isolation_level=None)
    connection.execute("UPDATE tasks SET manifest = x'00'")
    connection.close()
    with pytest.raises(TaskStoreError, match="altered"):
        await TaskBook.open(world.path, now=world.clock, boot="one")


async def test_a_closed_book_does_not_pretend(world):
    async with world.opened() as book:
        pass
    with pytest.raises(TaskStoreError, match="closed"):
        await book.refresh()
