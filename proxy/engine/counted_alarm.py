"""Alarms that a peer can set off at will: told once, then counted, so that nobody floods the operator."""

from collections.abc import Callable

QUIET = 60.0  # seconds


class CountedAlarm:
    """Tells the first message; what follows within ``QUIET`` seconds is told as a count, with the last of it.

    ``now`` is in seconds. Used from one thread.
    """

    def __init__(self, alarm: Callable[[str], None], now: Callable[[], float]) -> None:
        self._alarm = alarm
        self._now = now
        self._since: float | None = None
        self._more = 0
        self._last = ""

    def tell(self, message: str) -> None:
        """One more of its kind."""
        self.sweep()
        if self._since is None:
            self._since = self._now()
            self._alarm(message)
        else:
            self._more += 1
            self._last = message

    def sweep(self) -> None:
        """Tell the count when its time has come; to be called now and then."""
        if self._since is None or self._now() - self._since < QUIET:
            return
        if not self._more:
            self._since = None
            return
        self._alarm(f"{self._last} (and {self._more - 1} more within {QUIET:g} s)")
        self._since, self._more = self._now(), 0
