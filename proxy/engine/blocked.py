"""What was refused a task lately, for the agent itself to read: a memory of the log, not a second one."""

from collections import deque
from typing import NamedTuple

from proxy.engine.facts import what
from proxy.engine.seen import Seen
from proxy.errors import Refusal

_EACH = 50
_TASKS = 1024
_SHOWN = 512  # characters of a URL; the record has all of it


class Block(NamedTuple):
    """One refusal: when (POSIX nanoseconds), what was asked, and why not. ``record`` is its record's id."""

    time_ns: int
    record: str
    method: str
    url: str
    refusal: Refusal


class Blocked:
    """The last refusals of the tasks that had one last."""

    def __init__(self) -> None:
        self._tasks: dict[str, deque[Block]] = {}

    def note(self, seen: Seen, refusal: Refusal, record: str, time_ns: int) -> None:
        """Remember a refusal, if it is known whose."""
        if seen.principal is None:
            return
        task = seen.principal.task.id
        kept = self._tasks.pop(task, None) or deque(maxlen=_EACH)
        if len(self._tasks) >= _TASKS:
            del self._tasks[next(iter(self._tasks))]
        self._tasks[task] = kept
        asked = what(seen)
        url = f"{seen.target.origin}{asked['path']}" if seen.target is not None else str(asked["host"])
        if len(url) > _SHOWN:
            url = url[:_SHOWN] + "..."
        kept.append(Block(time_ns, record, seen.method, url, refusal))

    def of(self, task: str) -> tuple[Block, ...]:
        """The task's refusals, the newest first."""
        return tuple(reversed(self._tasks.get(task, ())))
