"""What tasks and agents have used of services: a row for each account, window and boot, in the task file.

A boot writes its own totals, never a difference: to write twice changes nothing. Rows of windows that are
over go when others are kept. ``seen`` is the latest time that the boot knew of, so that a clock that is set
back between two starts refills nothing.
"""

from collections.abc import Iterable

from proxy.policy.service_budget import Per, Unit
from proxy.policy.tally import Account, Kept, Tally
from proxy.store.task_connection import TaskConnection

_INSERT = "INSERT INTO service_usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
_KEEP = _INSERT + "used = excluded.used, seen = max(seen, excluded.seen)"
_RAISE = _INSERT + "used = max(used, excluded.used), seen = max(seen, excluded.seen)"
_DROP = "DELETE FROM service_usage WHERE ends <= ?"
_USED = """
SELECT service, budget, unit, per, subject, length, ends - length, sum(used) FROM service_usage
WHERE boot <> ? AND (per = 'agent' OR subject IN (SELECT id FROM tasks WHERE state = 'open'))
GROUP BY ends, length, service, budget, unit, per, subject
"""
_SEEN = "SELECT coalesce(max(seen), 0) FROM service_usage"


class ServiceUsage(TaskConnection):
    """The part of ``TaskStore`` that keeps what ``policy.window.Windows`` counts."""

    def service_usage(self, boot: str) -> Kept:
        """What agents and open tasks have used in all boots but this one."""
        with self._read(), self._snapshot() as connection:
            seen: int = connection.execute(_SEEN).fetchone()[0]
            tallies = tuple(
                Tally(Account(service, budget, Unit(unit), Per(per), subject), length, begin, used)
                for service, budget, unit, per, subject, length, begin, used in connection.execute(
                    _USED, (boot,)
                )
            )
            return Kept(seen, tallies)

    def keep_service_usage(self, boot: str, kept: Kept) -> None:
        """Set what was used in this boot, in all, and drop what belongs to windows that are over."""
        with self._write() as connection:
            connection.executemany(_KEEP, _rows(boot, kept))
            connection.execute(_DROP, (kept.seen,))

    def raise_service_usage(self, boot: str, kept: Kept) -> None:
        """What was used in a boot, recounted: no figure becomes smaller, and none goes."""
        with self._write() as connection:
            connection.executemany(_RAISE, _rows(boot, kept))


def _rows(boot: str, kept: Kept) -> Iterable[tuple[int | str, ...]]:
    for (service, budget, unit, per, subject), length, begin, used in kept.tallies:
        yield (
            begin + length,
            length,
            service,
            budget,
            unit.value,
            per.value,
            subject,
            boot,
            used,
            kept.seen,
        )
