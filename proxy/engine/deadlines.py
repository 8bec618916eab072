"""Time-outs without timers: a wire carries its deadline, and one sweep over all of them finds the overdue."""

from collections.abc import Callable
from typing import Protocol

from proxy.engine.wire_error import Expired, WireError


class Waiting(Protocol):
    """What can be overdue. ``deadline`` is in the loop's seconds; None: nobody is waiting."""

    deadline: float | None

    def fail(self, error: type[WireError]) -> None:
        """Wake whoever waits, with this error."""
        ...


class Deadlines:
    """Everything that lives and can be overdue."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.wires: set[Waiting] = set()

    def sweep(self) -> None:
        """Wake whoever waits beyond a deadline."""
        now = self.now()
        for wire in [w for w in self.wires if w.deadline is not None and w.deadline <= now]:
            wire.deadline = None
            wire.fail(Expired)
