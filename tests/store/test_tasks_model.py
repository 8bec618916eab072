"""Random histories of tasks and orders against a model that fits on a page, in the file and in memory."""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.identity.principal import Task
from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.store.tasks import TaskBook, TaskOverError, TaskStore
from tests.store.making import NOW, Clock, following, made, order

AGENTS = ("coder", "helper", "tester")


@dataclass
class Model:
    """What should be: each task's parent, agent and state, and the orders that hold."""

    tasks: list[Task] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    orders: dict[tuple[Kind, str], Order] = field(default_factory=dict)

    def may_begin(self, task: Task) -> bool:
        barred = (Kind.ALL, EVERYTHING) in self.orders or (Kind.AGENT, task.agent) in self.orders
        return not barred and (task.parent is None or self.states.get(task.parent) == "open")

    def begin(self, task: Task) -> None:
        self.tasks.append(task)
        self.states[task.id] = "open"

    def over(self, task: Task, state: str) -> None:
        if self.states[task.id] == "open":
            self.states[task.id] = state
            for child in self.tasks:
                if child.parent == task.id:
                    self.over(child, state)

    def revoke(self, given: Order) -> None:
        if given.kind is not Kind.TASK:
            self.orders.setdefault((given.kind, given.id), given)
        for task in self.tasks:
            if given.kind is Kind.ALL or given.id == (task.agent if given.kind is Kind.AGENT else task.id):
                self.over(task, "revoked")


class Hand:
    """Does one thing at the file or at the book; the other sees it all the same."""

    def __init__(self, store: TaskStore, book: TaskBook | None) -> None:
        self.store, self.book = store, book

    async def begin(self, task: Task, data: bytes) -> bool:
        try:
            if self.book:
                await self.book.create(task, data)
            else:
                self.store.create(task, data)
        except TaskOverError:
            return False
        return True

    async def end(self, task: Task) -> None:
        if self.book:
            await self.book.end(task.id, "done")
        else:
            self.store.end(task.id, "done", NOW)

    async def revoke(self, given: Order) -> bool:
        return await self.book.revoke(given) if self.book else self.store.revoke(given) is not None

    async def lift(self, kind: Kind, identity: str) -> bool:
        return await self.book.lift(kind, identity) if self.book else self.store.lift(kind, identity)


agents, indices = st.sampled_from(AGENTS), st.integers(0, 30)
subjects = st.one_of(
    st.tuples(st.just(Kind.AGENT), agents),
    st.just((Kind.ALL, EVERYTHING)),
    st.tuples(st.sampled_from([Kind.TOKEN, Kind.KEY, Kind.ISSUER]), agents),
)
acts = st.one_of(
    st.tuples(st.just("begin"), agents),
    st.tuples(st.just("delegate"), agents, indices),
    st.tuples(st.just("delegate"), agents, indices),
    st.tuples(st.just("end"), indices),
    st.tuples(st.just("revoke task"), indices),
    st.tuples(st.just("revoke"), subjects),
    st.tuples(st.just("lift"), subjects),
)
histories = st.lists(st.tuples(st.booleans(), acts), min_size=1, max_size=16)


async def act(hand: Hand, model: Model, number: int, what: str, *words) -> None:
    if what in {"begin", "delegate"}:
        parent = model.tasks[words[1] % len(model.tasks)] if words[1:] and model.tasks else None
        task, data = made(number, words[0], parent)
        expected = model.may_begin(task)
        assert await hand.begin(task, data) is expected
        if expected:
            model.begin(task)
    elif what == "revoke":
        assert await hand.revoke(order(*words[0], reason=str(number)))
        model.revoke(order(*words[0], reason=str(number)))
    elif what == "lift":
        assert await hand.lift(*words[0]) is (model.orders.pop(words[0], None) is not None)
    elif model.tasks:
        task = model.tasks[words[0] % len(model.tasks)]
        if what == "end":
            await hand.end(task)
            model.over(task, "ended")
        else:
            assert await hand.revoke(order(Kind.TASK, task.id))
            model.revoke(order(Kind.TASK, task.id))


def same(model: Model, store: TaskStore, book: TaskBook) -> None:
    assert {stored.task.id: stored.task.state.value for stored in store.list()} == model.states
    assert {task.id: book.get(task.id).state.value for task in model.tasks} == model.states
    assert list(store.orders()) == list(book.revocations)
    assert {(each.kind, each.id): each for each in book.revocations} == model.orders


async def live(history) -> None:
    model = Model()
    ended: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "tasks.sqlite3"
        with TaskStore.open(path) as store:
            async with following(path, Clock(), interval=3600) as book:
                book.on_end(lambda task: ended.append(task.id))
                for number, (inside, words) in enumerate(history):
                    await act(Hand(store, book if inside else None), model, number, *words)
                    if not inside:
                        await book.refresh()
                    same(model, store, book)
            async with following(path, Clock(), boot="two") as book:
                same(model, store, book)
    assert sorted(ended) == sorted(task for task, state in model.states.items() if state != "open")


@settings(max_examples=40, deadline=None)
@given(histories)
def test_file_and_memory_agree_with_the_model_after_every_step(history):
    asyncio.run(live(history))


async def race(kind: Kind, revoker: int, requesters: list[int], delegators: list[int]) -> None:
    """Requests and delegations that begin at any turn of the loop, and one revocation among them."""
    returned = asyncio.Event()

    async def turns(count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    with tempfile.TemporaryDirectory() as directory:
        async with following(Path(directory) / "tasks.sqlite3", Clock()) as book:
            root, data = made(0)
            await book.create(root, data)

            def let_through(task: Task) -> bool:
                known, revocations = book.get(task.id), book.revocations
                barred = revocations.get(Kind.AGENT, "coder") or revocations.get(Kind.ALL, EVERYTHING)
                return known is not None and known.state.value == "open" and not barred

            async def request(task: Task, start: int) -> None:
                await turns(start)
                while not returned.is_set():
                    let_through(task)
                    await asyncio.sleep(0)
                for _ in range(5):
                    assert not let_through(task)
                    await asyncio.sleep(0)

            async def delegate(number: int, start: int) -> None:
                await turns(start)
                child, manifest = made(number, parent=root)
                try:
                    await book.create(child, manifest)
                except TaskOverError:
                    return
                await request(child, 0)

            async def revoke() -> None:
                await turns(revoker)
                identity = {Kind.TASK: root.id, Kind.AGENT: "coder", Kind.ALL: EVERYTHING}[kind]
                assert await book.revoke(order(kind, identity))
                returned.set()
                assert not let_through(root)

            await asyncio.gather(
                revoke(),
                *(request(root, start) for start in requesters),
                *(delegate(number, start) for number, start in enumerate(delegators, start=1)),
            )


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([Kind.TASK, Kind.AGENT, Kind.ALL]),
    revoker=st.integers(0, 40),
    requesters=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    delegators=st.lists(st.integers(0, 40), max_size=4),
)
def test_no_request_is_let_through_once_a_revocation_has_returned(kind, revoker, requesters, delegators):
    asyncio.run(race(kind, revoker, requesters, delegators))
