"""Tasks, orders and a book to follow them: what the tests of the task file are made of."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.credential.placeholder import Holding
from proxy.identity.principal import Task
from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.identity.task import Manifest, make_task, manifest_bytes
from proxy.store.tasks import TaskBook, TaskStore

NOW = 1_800_000_000
NS = 1_000_000_000


class Clock:
    """Set by hand; seconds."""

    def __init__(self) -> None:
        self.time = float(NOW)

    def __call__(self) -> float:
        return self.time


def made(
    number: int = 0, agent: str = "coder", parent: Task | None = None, lifetime: int = 600
) -> tuple[Task, bytes]:
    """A task and its manifest; the same arguments make the same task."""
    words = Manifest(
        agent,
        "p",
        ("a",),
        "development",
        NOW,
        NOW + lifetime,
        None,
        f"{number:032x}",
        parent=None if parent is None else parent.id,
    )
    return make_task(words), manifest_bytes(words)


def begin(
    store: TaskStore, number: int = 0, agent: str = "coder", parent: Task | None = None, lifetime: int = 600
) -> Task:
    """Start a task, with one holding."""
    task, data = made(number, agent, parent, lifetime)
    store.create(task, data, [Holding(f"{number:064x}", task.id, "forge", agent)])
    return task


def order(kind: Kind, identity: str = EVERYTHING, reason: str = "leaked", at_ns: int = NOW * NS) -> Order:
    """An order of the command line."""
    return Order(kind, identity, reason, "cli", at_ns)


@asynccontextmanager
async def following(
    path: Path, clock: Callable[[], float], *, boot: str = "one", interval: float = 0.005
) -> AsyncIterator[TaskBook]:
    """A book that follows the file."""
    book = await TaskBook.open(path, now=clock, boot=boot, interval=interval)
    try:
        yield book
    finally:
        await book.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)
