"""Bursts of bad credentials: slowed for whoever sends them, and recorded once with a count (D1).

The first ``FREE`` failures of a source within ``QUIET_S`` are ordinary refusals with a record each. What
follows is a burst: its answers wait, a little longer each time, and are only counted, until the source has
been quiet for ``QUIET_S`` or ``LONGEST_S`` have passed. Whoever presents something valid is never slowed,
also from the same source.
"""

from dataclasses import dataclass

FREE = 5
QUIET_S = 10.0
LONGEST_S = 60.0
FIRST_DELAY_S = 0.1
LAST_DELAY_S = 2.0
MAX_SOURCES = 4096


@dataclass(slots=True)
class Burst:
    """The failures of one source. ``decision_id`` is the record of the last that had one of its own.

    Times are seconds of the caller's clock; ``count`` is how many were not recorded one by one.
    """

    source: str
    first: float
    last: float
    failures: int = 0
    count: int = 0
    began: float = 0.0
    decision_id: str = ""


class Bursts:
    """See the module. Time is an argument and only ever grows."""

    def __init__(self) -> None:
        self._sources: dict[str, Burst] = {}
        self._over: list[Burst] = []

    def failed(self, source: str, now: float) -> float | None:
        """A failure of ``source``: None if it is to be recorded, else how many seconds its answer waits."""
        burst = self._sources.get(source)
        if burst is not None and self._is_over(burst, now):
            self._close(burst)
            burst = None
        if burst is None:
            self._make_room()
            burst = self._sources[source] = Burst(source, now, now)
        burst.last = now
        burst.failures += 1
        if burst.failures <= FREE:
            return None
        if burst.count == 0:
            burst.began = now
        burst.count += 1
        return min(FIRST_DELAY_S * 2.0 ** min(burst.count - 1, 16), LAST_DELAY_S)

    def recorded(self, source: str, decision_id: str) -> None:
        """The failure of ``source`` that was to be recorded has this record."""
        burst = self._sources.get(source)
        if burst is not None:
            burst.decision_id = decision_id

    def record_of(self, source: str) -> str:
        """The record that answers in a burst refer to."""
        burst = self._sources.get(source)
        return "" if burst is None else burst.decision_id

    def over(self, now: float, *, all_of_them: bool = False) -> list[Burst]:
        """The bursts that have ended and are to be recorded; each is returned once."""
        for burst in [one for one in self._sources.values() if all_of_them or self._is_over(one, now)]:
            self._close(burst)
        ended, self._over = self._over, []
        return ended

    def __len__(self) -> int:
        return len(self._sources)

    def _is_over(self, burst: Burst, now: float) -> bool:
        return now - burst.last >= QUIET_S or (burst.count > 0 and now - burst.began >= LONGEST_S)

    def _close(self, burst: Burst) -> None:
        del self._sources[burst.source]
        if burst.count:
            self._over.append(burst)

    def _make_room(self) -> None:
        if len(self._sources) >= MAX_SOURCES:
            self._close(next(iter(self._sources.values())))
