"""What follows when a task ends or an order comes: connections cut, leases handed back, and that told.

By the time anything here is called, no new request gets through: memory has changed first.
"""

import asyncio
import time
from collections.abc import Callable

from proxy.control.operations import RevokeReport
from proxy.engine.cutting import Cutting
from proxy.engine.pool import Pool
from proxy.engine.server import Server
from proxy.errors import Code, Refusal
from proxy.identity.principal import Principal, Task, TaskState
from proxy.identity.revocation import Kind, Order, revoked
from proxy.ports import Credentials
from proxy.store.tasks import TaskBook, TaskStoreError
from proxy.wiring_chronicle import Chronicle

_OVER = Refusal(Code.TASK_ENDED, "the task ended while the call was running")
_OF_EVIDENCE = frozenset({Kind.TOKEN, Kind.KEY, Kind.ISSUER})


class Consequences:
    """See the module. ``attach`` makes the book's changes come here."""

    def __init__(
        self,
        server: Server,
        pool: Pool,
        credentials: Credentials,
        chronicle: Chronicle,
        book: TaskBook,
        alarm: Callable[[str], None],
    ) -> None:
        self._server = server
        self._pool = pool
        self._credentials = credentials
        self._chronicle = chronicle
        self._book = book
        self._alarm = alarm
        self._releases: dict[str, asyncio.Task[int]] = {}
        self._running: dict[Order, asyncio.Task[RevokeReport]] = {}

    def attach(self) -> None:
        """From now on, every change of the tasks and orders has its consequences."""
        self._chronicle.attach()
        self._book.on_end(self._ended)
        self._book.on_revoke(self._ordered)

    async def revoke(self, order: Order) -> RevokeReport | None:
        """Carry out an order of this process, to the last byte; None if there is no such task.

        An order that held already, or a task that was over, has no further consequences.

        :raises TaskStoreError: if the order cannot be kept.
        """
        if not await self._book.revoke(order):
            return None
        # The book has called ``_ordered`` by now, if the order is new; else the first one may still be at it.
        about = (order.kind, order.id)
        running = next((task for one, task in self._running.items() if (one.kind, one.id) == about), None)
        if running is None:
            return RevokeReport(order.ordered_at_ns, 0, 0, 0, 0)
        return await asyncio.shield(running)

    async def lift(self, kind: Kind, identity: str, by: str) -> bool:
        """Let an order hold no longer; False if there is none, or it is about a task.

        :raises TaskStoreError: if that cannot be kept.
        """
        return await self._book.lift(kind, identity, by)

    async def settled(self) -> None:
        """Wait for what is under way."""
        while waiting := [*self._running.values(), *self._releases.values()]:
            await asyncio.wait(waiting)

    # -- what the book calls --

    def _ended(self, task: Task) -> None:
        self._server.end_task(task.id, _REVOKED if task.state is TaskState.REVOKED else _OVER)
        self._pool.drop(task.agent)
        self._release(task)

    def _ordered(self, order: Order, tasks: tuple[Task, ...]) -> None:
        self._chronicle.carrying_out(order)
        cutting = self._cut(order, tasks)  # here, before the ends of the tasks are dealt with one by one
        running = asyncio.get_running_loop().create_task(
            self._carry_out(order, tasks, cutting, time.time_ns())
        )
        self._running[order] = running
        running.add_done_callback(lambda done: self._carried_out(order, done))

    def _cut(self, order: Order, tasks: tuple[Task, ...]) -> Cutting:
        """Cut whatever the order reaches, downstream and kept upstream."""
        ended, agents = {task.id for task in tasks}, {task.agent for task in tasks}

        def reaches(principal: Principal) -> bool:
            reached = order.reaches(principal) or any(link.task.id in ended for link in principal.chain)
            if reached:
                agents.add(principal.agent.id)
            return reached

        cutting = self._server.cut(reaches, revoked(order))
        for agent in agents:
            self._pool.drop(agent)
        if order.kind in _OF_EVIDENCE:
            self._pool.close()  # nobody knows on what evidence those were opened that are only kept
        return cutting

    async def _carry_out(
        self, order: Order, tasks: tuple[Task, ...], cutting: Cutting, last_ns: int
    ) -> RevokeReport:
        """Wait for the ends of what was cut (the last at ``last_ns``), hand leases back, and tell."""
        releases = [self._release(task) for task in tasks]  # they have just begun, with the ends of the tasks
        await cutting.done()
        leases = sum([await release for release in releases])
        micros = (last_ns - order.ordered_at_ns) // 1000 if cutting.connections else 0
        report = RevokeReport(order.ordered_at_ns, len(tasks), cutting.connections, micros, leases)
        self._chronicle.carried_out(order, tuple(task.id for task in tasks), report)
        try:
            await self._book.acknowledge(order, cutting.connections, last_ns)
        except TaskStoreError as error:
            self._alarm(f"the revocation is in force, but who ordered it was not told: {error}")
        return report

    def _carried_out(self, order: Order, done: "asyncio.Task[RevokeReport]") -> None:
        self._running.pop(order, None)
        if not done.cancelled() and (error := done.exception()) is not None:
            self._alarm(f"a revocation was not carried out to its end: {type(error).__name__}: {error}")

    def _release(self, task: Task) -> "asyncio.Task[int]":
        """Hand the task's leases back, once."""
        known = self._releases.get(task.id)
        if known is None:
            known = asyncio.get_running_loop().create_task(self._hand_back(task))
            self._releases[task.id] = known
            known.add_done_callback(lambda _: self._releases.pop(task.id, None))
        return known

    async def _hand_back(self, task: Task) -> int:
        try:
            return await self._credentials.release(task)
        except Exception as error:  # noqa: BLE001 - a provider that fails is the operator's to know of
            self._alarm(f"the leases of {task.id} were not revoked: {type(error).__name__}: {error}")
            return 0


_REVOKED = Refusal(Code.REVOKED, "the task was revoked while the call was running")
