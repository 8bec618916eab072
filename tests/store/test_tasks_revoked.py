"""Orders in a running sidecar: in force in memory before anybody hears of them, and after every restart."""

import asyncio

import pytest

from proxy.identity.principal import TaskState
from proxy.identity.revocation import Kind, Revocations
from proxy.store.task_history import Place
from proxy.store.tasks import TaskOverError, TaskStore, TaskStoreError
from tests.store.making import NOW, Clock, begin, following, made, order, until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tasks.sqlite3"


@pytest.fixture
def other(path):
    """Another process's connection."""
    with TaskStore.open(path) as store:
        yield store


class Heard:
    """What a book called back, in order, and what it answered at that moment."""

    def __init__(self, book) -> None:
        self.book = book
        self.words: list[tuple[object, ...]] = []
        book.on_revoke(lambda given, tasks: self.note("revoke", given, {task.id for task in tasks}))
        book.on_end(lambda task: self.note("end", task.id))

    def note(self, *words: object) -> None:
        self.words.append(words)
        if words[0] == "end":
            assert self.book.get(words[1]).state is not TaskState.OPEN
        if words[0] == "revoke":
            assert words[1].kind is Kind.TASK or words[1] in set(self.book.revocations)


@pytest.mark.parametrize("inside", [True, False])
async def test_an_order_is_in_force_before_anybody_hears_of_it(path, other, inside):
    root = begin(other, 1)
    child, apart = begin(other, 2, "helper", root), begin(other, 3, "helper")
    async with following(path, Clock()) as book:
        heard, given = Heard(book), order(Kind.AGENT, "coder")
        if inside:
            assert await book.revoke(given) is True
        else:
            other.revoke(given)
            await until(lambda: heard.words != [])
        assert book.revocations == Revocations.of(given)
        assert book.get(root.id).state is book.get(child.id).state is TaskState.REVOKED
        assert book.get(apart.id).state is TaskState.OPEN
        await until(lambda: len(heard.words) == 3)
        assert heard.words[0] == ("revoke", given, {root.id, child.id})  # first: it counts what it cuts
        assert sorted(heard.words[1:]) == sorted([("end", root.id), ("end", child.id)])


@pytest.mark.parametrize("inside", [True, False])
async def test_an_order_about_a_task_is_told_though_it_holds_nothing(path, other, inside):
    root = begin(other, 1)
    async with following(path, Clock()) as book:
        heard, none = Heard(book), book.revocations
        given = order(Kind.TASK, root.id)
        if inside:
            assert await book.revoke(given) is True
            assert await book.revoke(given) is True
            assert await book.revoke(order(Kind.TASK, "t-none")) is False
        else:
            other.revoke(given)
        await until(lambda: len(heard.words) == 2)
        assert heard.words == [("revoke", given, {root.id}), ("end", root.id)]
        assert book.revocations is none


@pytest.mark.parametrize("inside", [True, False])
async def test_a_lifted_order_is_gone_and_that_is_a_change(path, other, inside):
    other.revoke(order(Kind.KEY, "k"))
    other.revoke(order(Kind.ISSUER, "i"))
    async with following(path, Clock()) as book:
        changed = asyncio.Event()
        book.on_change(changed.set)
        if inside:
            assert await book.lift(Kind.KEY, "k", "admin") is True
            assert await book.lift(Kind.KEY, "k", "admin") is False
        else:
            other.lift(Kind.KEY, "k", "admin")
        async with asyncio.timeout(10):
            await changed.wait()
        (*_, lifted) = await book.ask(lambda store: store.history(Place(0), book.seq, 10))
        assert lifted[1:4] == (Kind.KEY, "k", "admin")
        assert list(book.revocations) == [order(Kind.ISSUER, "i")]


async def test_an_order_that_is_lifted_and_given_again_between_two_looks_is_new(path, other):
    other.revoke(order(Kind.KEY, "k", "first"))
    async with following(path, Clock(), interval=3600) as book:
        heard = Heard(book)
        other.lift(Kind.KEY, "k")
        other.revoke(order(Kind.KEY, "k", "second"))
        await book.refresh()
        await until(lambda: heard.words != [])
        assert heard.words == [("revoke", order(Kind.KEY, "k", "second"), set())]
        assert list(book.revocations) == [order(Kind.KEY, "k", "second")]


async def test_what_holds_is_one_object_until_it_changes(path, other):
    async with following(path, Clock()) as book:
        before = book.revocations
        begin(other, 1)
        await book.refresh()
        assert book.revocations is before
        await book.revoke(order(Kind.KEY, "k"))
        after = book.revocations
        assert after is not before
        await book.revoke(order(Kind.KEY, "k", "again"))
        begin(other, 2)
        await book.refresh()
        assert book.revocations is after


async def test_a_restart_keeps_every_open_task_every_end_and_every_order(path, other):
    tasks = [
        begin(other, number, agent) for number, agent in enumerate(("coder", "helper", "tester", "coder"))
    ]
    async with following(path, Clock(), boot="one") as book:
        await book.end(tasks[1].id, "done")
        await book.revoke(order(Kind.TASK, tasks[2].id))
        await book.revoke(order(Kind.TOKEN, "jti"))
        await book.revoke(order(Kind.AGENT, "helper"))
        before = [book.get(task.id) for task in tasks], list(book.revocations)
    async with following(path, Clock(), boot="two") as book:
        assert ([book.get(task.id) for task in tasks], list(book.revocations)) == before
        assert [task.state.value for task in before[0]] == ["open", "ended", "revoked", "open"]
        heard = Heard(book)
        await book.refresh()
        assert heard.words == []  # nothing of it is news


async def test_nothing_begins_against_an_order_here_either(path):
    async with following(path, Clock()) as book:
        await book.revoke(order(Kind.AGENT, "coder"))
        with pytest.raises(TaskOverError):
            await book.create(*made(1))
        assert await book.lift(Kind.AGENT, "coder")
        await book.create(*made(1))


async def test_the_orders_stay_while_the_file_cannot_be_read(path, other):
    task = begin(other, 1, "helper")
    async with following(path, Clock()) as book:
        await book.revoke(order(Kind.AGENT, "coder"))
        held, hidden = book.revocations, path.with_name("hidden")
        path.rename(hidden)
        await until(lambda: book.fault is not None)
        assert book.get(task.id) is None
        assert book.revocations is held
        hidden.rename(path)
        await until(lambda: book.fault is None)
        assert book.get(task.id) == task
        assert book.revocations is held


async def test_a_revocation_whose_caller_gave_up_still_holds_everywhere_or_nowhere(path, other):
    task = begin(other, 1)
    async with following(path, Clock()) as book:
        waiting = asyncio.ensure_future(book.revoke(order(Kind.TASK, task.id)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await book.refresh()  # the thread goes on
        assert book.get(task.id).state is other.get(task.id).task.state


async def test_an_order_that_cannot_be_kept_is_an_error(path):
    async with following(path, Clock()) as book:
        pass
    with pytest.raises(TaskStoreError, match="closed"):
        await book.revoke(order(Kind.ALL))


async def test_every_task_that_is_due_expires_whatever_ended_before(path, other):
    clock = Clock()
    tasks = [begin(other, number, lifetime=600 + number % 3) for number in range(30)]
    async with following(path, clock) as book:
        for task in tasks[::2]:
            await book.end(task.id, "done")
        clock.time = NOW + 601
        begin(other, 99, lifetime=5000)
        expired = {task.id for task in tasks[1::2] if task.expires_at <= NOW + 601}
        await until(lambda: {t.id for t in tasks if book.get(t.id).state is TaskState.EXPIRED} == expired)
        still = [task for task in tasks[1::2] if task.id not in expired]
        assert all(book.get(task.id).state is TaskState.OPEN for task in still)
