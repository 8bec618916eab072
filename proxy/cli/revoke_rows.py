"""Orders to revoke, and what they came to, as people and programs are told."""

from datetime import UTC, datetime
from typing import NamedTuple

from proxy.identity.revocation import Kind, Order
from proxy.store.tasks import CarriedOut, Follower, Revoked

COLUMNS = ("kind", "id", "since", "by", "reason")


class Told(NamedTuple):
    """An order, who follows the file, who of them has not answered, and what the others said of it."""

    kept: Revoked
    followers: tuple[Follower, ...]
    silent: tuple[Follower, ...]
    done: tuple[CarriedOut, ...]

    @property
    def connections(self) -> int:
        """How many were cut, in all sidecars."""
        return sum(each.connections for each in self.done)

    @property
    def took_us(self) -> int | None:
        """Microseconds from the order to the last byte in any sidecar; None if none has said."""
        last = max((each.effective_at_ns for each in self.done), default=None)
        return None if last is None else max(last - self.kept.order.ordered_at_ns, 0) // 1000


def words(told: Told) -> str:
    """What happened, in one line."""
    order, tasks = told.kept.order, len(told.kept.tasks)
    name = "everything" if order.kind is Kind.ALL else f"{order.kind} {order.id}"
    if not told.kept.new:
        if order.kind is Kind.TASK:
            return f"{name} is over already"
        return f"{name} is revoked already, since {moment(order)} by {order.ordered_by}: {order.reason}"
    parts = []
    if tasks or order.kind in {Kind.AGENT, Kind.TASK, Kind.ALL}:
        parts.append(_count(tasks, "task") + " ended")
    if not told.followers:
        parts.append("no sidecar is running; it holds from the next start")
    elif told.took_us is not None:
        cut = told.connections
        parts.append(_count(cut, "connection") + " cut")
        parts.append(f"{'last byte' if cut else 'in force'} after {_milliseconds(told.took_us)}")
    if told.silent:
        parts.append("not in force everywhere yet")
    return f"revoked {name}: " + ", ".join(parts or ["in force"])


def facts(told: Told) -> dict[str, object]:
    """What happened, for programs. ``to_last_byte_us`` is null if no sidecar said that it cut anything."""
    order, said = told.kept.order, {each.boot: each for each in told.done}
    sidecars = [
        {
            "pid": follower.pid,
            "answered": follower not in told.silent,
            "connections_cut": said[follower.boot].connections if follower.boot in said else 0,
        }
        for follower in told.followers
    ]
    return {
        **order_facts(order),
        "new": told.kept.new,
        "tasks_ended": len(told.kept.tasks),
        "tasks": [task.id for task in told.kept.tasks],
        "connections_cut": told.connections,
        "to_last_byte_us": told.took_us if told.connections else None,
        "sidecars": sidecars,
    }


def order_facts(order: Order) -> dict[str, object]:
    """An order, for programs."""
    return {
        "kind": order.kind.value,
        "id": order.id,
        "since": moment(order),
        "by": order.ordered_by,
        "reason": order.reason,
    }


def row(order: Order) -> tuple[str, ...]:
    """An order, for people."""
    return order.kind.value, order.id, moment(order), order.ordered_by, order.reason


def moment(order: Order) -> str:
    """When it was given, as RFC 3339 says."""
    return f"{datetime.fromtimestamp(order.ordered_at_ns // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _milliseconds(micros: int) -> str:
    return f"{micros / 1000:.0f} ms" if micros >= 1000 else "less than 1 ms"  # noqa: PLR2004 - a millisecond
