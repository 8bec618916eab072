"""Tasks and orders on disk: one SQLite file (WAL, synchronous=FULL) that commands and sidecars share.

A row is the manifest's canonical bytes and what happened since. Placeholders are kept as digests, session
tokens not at all. A task that ends takes with it everything delegated from it, in the same transaction.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

from proxy.credential.placeholder import Holding
from proxy.identity.principal import Evidence, Task, TaskState
from proxy.identity.revocation import EVERYTHING, Kind, Order, revoked
from proxy.store import followers_table, orders_table, task_history, task_life, usage_table
from proxy.store.followers_table import CarriedOut, Follower
from proxy.store.orders_table import Lift
from proxy.store.service_usage_table import ServiceUsage
from proxy.store.task_file import FormatError, last_seq, next_seq, open_file
from proxy.store.task_history import Event, Place
from proxy.store.task_rows import StoredTask, TaskRows, TaskStoreError
from proxy.store.usage_table import Spent


class Revoked(NamedTuple):
    """An order as kept.

    ``new`` is False if it held before, or its task was over. A follower whose ``seq`` is not below this
    one has carried it out. ``tasks`` are those it ended, the ones delegated from them too.
    """

    order: Order
    seq: int
    new: bool
    tasks: tuple[Task, ...]


class Changes(NamedTuple):
    """What is newer than a reader's last ``seq``.

    ``standing`` are all orders that hold, None if that is as before; ``revoked`` are the orders that are
    new, those about tasks too.
    """

    seq: int
    tasks: tuple[Task, ...]
    holdings: tuple[Holding, ...]
    standing: tuple[Order, ...] | None
    revoked: tuple[Revoked, ...]


class TaskStore(ServiceUsage):
    """The tasks, who holds which placeholder, and the orders that hold.

    One connection: use it from the thread that opened it. Every method raises ``TaskStoreError`` if the
    file cannot be read or written.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, known: Mapping[str, Task]) -> None:
        super().__init__(path, connection)
        self._tasks = TaskRows(connection, known)

    @classmethod
    def open(cls, path: Path, known: Mapping[str, Task] = MappingProxyType({})) -> Self:
        """Open the file, making it (0600) if it is not there. ``known`` tasks are not parsed again.

        :raises TaskStoreError: if others can read it, it is not ours, or it cannot be opened.
        """
        try:
            return cls(path, open_file(path), known)
        except FormatError as error:
            raise TaskStoreError(str(error)) from error
        except (OSError, sqlite3.Error) as error:
            raise TaskStoreError(f"{path} cannot be opened: {error}") from error

    def create(
        self,
        task: Task,
        manifest: bytes,
        holdings: Iterable[Holding] = (),
        by: str = "",
        evidence: Iterable[Evidence] = (),
    ) -> None:
        """Keep a new task, the canonical bytes of its manifest, what it holds, and who opened it.

        ``evidence`` is what proved whoever delegated it: the task ends when an order takes that away.

        :raises TaskExistsError: if the task or a placeholder is already there.
        :raises TaskOverError: if its parent is not open or ends before it, or an order holds against it.
        """
        with self._write() as connection:
            task_life.begin(connection, task, manifest, holdings, by, evidence, next_seq(connection))
            if self._get(task.id) != StoredTask(task, None, "", opened_by=by):
                raise TaskStoreError("the task is not the one that its manifest describes")

    def end(
        self, task_id: str, reason: str, now: int, state: TaskState = TaskState.ENDED, by: str = ""
    ) -> StoredTask | None:
        """End an open task and all below it; one that is over stays as it is. None if there is none."""
        with self._write() as connection:
            ending = task_life.Ending(state, reason, by, now, next_seq(connection))
            task_life.end(connection, Kind.TASK, task_id, ending)
            return self._get(task_id)

    def end_all(
        self, task_id: str, reason: str, now: int, state: TaskState = TaskState.ENDED, by: str = ""
    ) -> tuple[Task, ...] | None:
        """As ``end``; returns every task that ended by it, none if it was over. None if there is none."""
        with self._write() as connection:
            if self._get(task_id) is None:
                return None
            seq = next_seq(connection)
            task_life.end(connection, Kind.TASK, task_id, task_life.Ending(state, reason, by, now, seq))
            return tuple(self._tasks.ended_at(seq))

    def expire(self, now: int) -> tuple[Task, ...]:
        """End every open task whose time is up; they are returned."""
        with self._write() as connection:
            seq = next_seq(connection)
            task_life.expire(connection, now, seq)
            return tuple(self._tasks.ended_at(seq))

    def revoke(self, order: Order) -> Revoked | None:
        """Keep an order and end the tasks it reaches, with all below them. None: there is no such task.

        The first order about something stays, with its time and reason. But one of a revocation file gives
        way to an operator's: it would be lifted with its line in the file, and the operator's with it.
        """
        with self._write() as connection:
            before = orders_table.find(connection, order.kind, order.id)
            if before is not None and not orders_table.gives_way(before.order, order):
                return Revoked(before.order, before.seq, new=False, tasks=())
            if before is not None:
                given = Lift(order.ordered_by, order.ordered_at_ns, next_seq(connection))
                orders_table.lift(connection, order.kind, order.id, given)
            if order.kind is Kind.TASK:
                found = self._tasks.one(order.id)
                if found is None:
                    return None
                if found[0].task.state is not TaskState.OPEN:
                    return Revoked(order, found[1], new=False, tasks=())
            seq = next_seq(connection)
            orders_table.keep(connection, order, seq)
            words = order.reason if order.kind is Kind.TASK else revoked(order).detail
            at = order.ordered_at_ns // 1_000_000_000
            ending = task_life.Ending(TaskState.REVOKED, words, order.ordered_by, at, seq)
            task_life.end(connection, order.kind, order.id, ending)
            return Revoked(order, seq, new=True, tasks=tuple(self._tasks.ended_at(seq)))

    def lift(self, kind: Kind, identity: str = EVERYTHING, by: str = "", at_ns: int | None = None) -> bool:
        """Let an order hold no longer; what it ended stays ended. False if none holds, or it is a task's.

        ``by`` says who lifts it, ``at_ns`` when (POSIX time; None is now).
        """
        at_ns = time.time_ns() if at_ns is None else at_ns
        with self._write() as connection:
            if kind is Kind.TASK or orders_table.find(connection, kind, identity) is None:
                return False
            orders_table.lift(connection, kind, identity, Lift(by, at_ns, next_seq(connection)))
            return True

    def orders(self) -> tuple[Order, ...]:
        """Every order that holds, the oldest first."""
        with self._read():
            return orders_table.standing(self._connection)

    def get(self, task_id: str) -> StoredTask | None:
        """The task with this id, or None."""
        with self._read():
            return self._get(task_id)

    def list(self, state: TaskState | None = None) -> tuple[StoredTask, ...]:
        """All tasks, or those in ``state``, newest first."""
        with self._read():
            return tuple(self._tasks.in_state(state))

    def holdings(self, task: Task) -> tuple[Holding, ...]:
        """What the task holds."""
        with self._read():
            return self._tasks.held(task)

    def changes(self, after: int, now: int) -> Changes:
        """What changed after ``seq`` (0: everything), without tasks that were over before ``now``."""
        with self._read(), self._snapshot() as connection:
            numbered = list(self._tasks.newer(after, now))
            tasks = {task.id: task for _, task in numbered}
            new = orders_table.newer(connection, after)
            reached: dict[int, list[Task]] = {kept.seq: [] for kept in new}
            for seq, task in numbered:
                if seq in reached:
                    reached[seq].append(task)
            changed = after == 0 or orders_table.changed_after(connection, after)
            return Changes(
                seq=last_seq(connection),
                tasks=tuple(tasks.values()),
                holdings=self._tasks.newer_held(after, now, tasks),
                standing=orders_table.standing(connection) if changed else None,
                revoked=tuple(Revoked(*kept, new=True, tasks=tuple(reached[kept.seq])) for kept in new),
            )

    def history(self, after: Place, until: int, limit: int) -> tuple[Event, ...]:
        """What became of tasks and orders behind this place, up to ``until``: at most ``limit`` events."""
        with self._read(), self._snapshot() as connection:
            return task_history.page(connection, self._tasks, after, until, limit)

    def recorded(self, log: str) -> int:
        """The number of the last change up to which this log has recorded all; 0 if it never has any."""
        with self._read():
            return task_history.recorded(self._connection, log)

    def set_recorded(self, log: str, seq: int) -> None:
        """Keep that this log has recorded all changes up to ``seq``, durably; see ``recorded``."""
        with self._write() as connection:
            task_history.set_recorded(connection, log, seq, time.time_ns())

    def follow(self, boot: str) -> None:
        """Enter this process as one that follows the file, under its boot's id."""
        with self._write() as connection:
            followers_table.follow(connection, boot, os.getpid())

    def acknowledge(
        self, boot: str, seq: int, connections: int, at_ns: int, order: int | None = None
    ) -> None:
        """Say how far this process has come: see ``Follower``. ``order`` is the number of the one it did."""
        with self._write() as connection:
            follower = Follower(boot, os.getpid(), seq, connections, at_ns)
            followers_table.acknowledge(connection, follower)
            if order is not None:
                followers_table.carry_out(connection, order, CarriedOut(boot, connections, at_ns))

    def carried_out(self, seq: int) -> tuple[CarriedOut, ...]:
        """What the order with this number came to, in each follower that had it new and has told."""
        with self._read():
            return followers_table.carried_out(self._connection, seq)

    def leave(self, boot: str) -> None:
        """Strike this process out: it follows no longer."""
        with self._write() as connection:
            followers_table.leave(connection, boot)

    def followers(self) -> tuple[Follower, ...]:
        """Everyone who follows the file; those whose process is gone are struck out."""
        with self._read():
            running, gone = followers_table.followers(self._connection)
        for boot in gone:
            self.leave(boot)
        return running

    def spent(self, boot: str) -> dict[str, Spent]:
        """What open tasks have used in all boots but this one."""
        with self._read():
            return usage_table.spent(self._connection, boot)

    def used(self, task_id: str) -> Spent | None:
        """What a task has used in all boots, up to a second ago; None if nothing was ever counted."""
        with self._read():
            return usage_table.used(self._connection, task_id)

    def keep_usage(self, boot: str, rows: Mapping[str, tuple[int, int]]) -> None:
        """Set what tasks have used in this boot: requests and octets, in all."""
        with self._write() as connection:
            usage_table.keep(connection, boot, rows)

    def set_usage(self, boot: str, rows: Mapping[str, tuple[int, int]]) -> None:
        """What tasks have used in a boot, recounted: as ``keep_usage``, but no number becomes smaller."""
        with self._write() as connection:
            usage_table.raise_to(connection, boot, rows)

    def _get(self, task_id: str) -> StoredTask | None:
        found = self._tasks.one(task_id)
        return None if found is None else found[0]
