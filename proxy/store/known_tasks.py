"""The tasks of a running sidecar in memory: what they are now, what they hold, and when the next is due.

No change walks through all tasks: what is due is found in a heap of times.
"""

import heapq
from collections.abc import Iterable
from dataclasses import replace

from proxy.credential.placeholder import Holding
from proxy.identity.principal import Task, TaskState

KEEP_S = 3600  # how long a task that is over is still told from an unknown one


class KnownTasks:
    """Tasks by id and holdings by the placeholder's digest. Times are POSIX seconds."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.held: dict[str, Holding] = {}
        self._digests: dict[str, tuple[str, ...]] = {}
        self._due: list[tuple[int, str]] = []

    def hold(self, holdings: Iterable[Holding]) -> None:
        """Take over what tasks hold."""
        for holding in holdings:
            if holding.placeholder_sha256 not in self.held:
                self.held[holding.placeholder_sha256] = holding
                before = self._digests.get(holding.task_id, ())
                self._digests[holding.task_id] = (*before, holding.placeholder_sha256)

    def move(self, task: Task) -> bool:
        """Take over the state of a task; what is over never opens again. Whether this ends it here."""
        before = self.tasks.get(task.id)
        if before is None:
            heapq.heappush(self._due, (task.expires_at, task.id))
        elif before.state is not TaskState.OPEN:
            return False
        self.tasks[task.id] = task
        return before is not None and task.state is not TaskState.OPEN

    def expire(self, now: float) -> list[Task]:
        """Expire what is due and return it; forget what was due for ``KEEP_S``."""
        expired = []
        while self._due and self._due[0][0] <= now:
            at, task_id = heapq.heappop(self._due)
            task = self.tasks[task_id]
            if task.state is TaskState.OPEN:
                self.tasks[task_id] = replace(task, state=TaskState.EXPIRED)
                expired.append(self.tasks[task_id])
            if at == task.expires_at:
                heapq.heappush(self._due, (at + KEEP_S, task_id))
            else:
                self._forget(task_id)
        return expired

    def next_due(self) -> int | None:
        """When ``expire`` has something to do next, or None."""
        return self._due[0][0] if self._due else None

    def _forget(self, task_id: str) -> None:
        del self.tasks[task_id]
        for digest in self._digests.pop(task_id, ()):
            del self.held[digest]
