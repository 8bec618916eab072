"""What a run came to: per host, what was allowed, refused and spent, told from the log alone."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from proxy.audit.canonical import Json
from proxy.audit.record import Record
from proxy.cli.rows import harmless
from proxy.errors import Code

MOST_HOSTS = 25
_FAILED = frozenset({"upstream_error", "cut"})
_DEFAULT_PORT = {"http": ":80", "https": ":443"}
_COLUMNS = ("host", "calls", "allowed", "refused", "failed", "sent", "received", "time", "why")


@dataclass(slots=True)
class Spent:
    """The calls to one host. ``sent`` and ``received`` are octets of bodies, ``time`` microseconds.

    ``calls`` is ``allowed`` and ``refused`` together; ``failed`` are those of the allowed that the API
    or the task's end broke off. ``why`` counts the reasons of what was refused or failed.
    """

    calls: int = 0
    allowed: int = 0
    refused: int = 0
    failed: int = 0
    sent: int = 0
    received: int = 0
    time: int = 0
    why: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Spent") -> None:
        """Take what another host came to into this sum."""
        for name in ("calls", "allowed", "refused", "failed", "sent", "received", "time"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.why += other.why

    def facts(self) -> dict[str, Json]:
        """As JSON, with its units in the names."""
        return {
            "calls": self.calls,
            "allowed": self.allowed,
            "refused": self.refused,
            "failed": self.failed,
            "bytes_sent": self.sent,
            "bytes_received": self.received,
            "time_us": self.time,
            "why": dict(self.why),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """A run. ``unidentified`` counts the knocks without identity (407) that were answered with a question."""

    hosts: Mapping[str, Spent]
    unidentified: int

    @property
    def total(self) -> Spent:
        """All hosts together."""
        total = Spent()
        for spent in self.hosts.values():
            total.add(spent)
        return total


def summarise(records: Iterable[Record]) -> Summary:
    """Add up the decisions and outcomes of ``records``, which are those of one run, in log order."""
    hosts: dict[str, Spent] = {}
    allowed: dict[str, Spent] = {}
    unidentified = 0
    for record in records:
        if record.kind == "decision":
            if record.code == Code.IDENTITY_MISSING:
                unidentified += 1  # how Git and Java begin; the call itself comes after it
                continue
            spent = hosts.setdefault(_host(record), Spent())
            spent.calls += 1
            if record.effect == "allow":
                spent.allowed += 1
                allowed[record.id] = spent
            else:
                spent.refused += 1
                spent.why[_reason(record)] += 1
        elif record.kind == "outcome" and (found := allowed.pop(record.decision_id, None)) is not None:
            _end(found, record)
    return Summary(hosts, unidentified)


def _end(spent: Spent, outcome: Record) -> None:
    what = outcome.raw.get("what")
    facts = what if isinstance(what, dict) else {}
    spent.sent += _count(facts.get("bytes_up"))
    spent.received += _count(facts.get("bytes_down"))
    latency = facts.get("latency_us")
    spent.time += _count(latency.get("total")) if isinstance(latency, dict) else 0
    if outcome.result == "refused":
        spent.allowed -= 1
        spent.refused += 1
    elif outcome.result in _FAILED:
        spent.failed += 1
    else:
        return
    spent.why[_reason(outcome)] += 1


def _count(value: Json) -> int:
    return value if type(value) is int else 0


def _host(record: Record) -> str:
    """The host, with its port where that is not the usual one. A refused CONNECT has only its authority."""
    if not record.scheme:
        return record.host.removesuffix(":443").removesuffix(":80")
    port = f":{record.port}"
    return record.host if port == _DEFAULT_PORT.get(record.scheme) else f"{record.host}{port}"


def _reason(record: Record) -> str:
    return " ".join(filter(None, (record.code or record.result, record.rule)))


def table(summary: Summary) -> Iterator[str]:
    """The summary as aligned lines of text; the last is the total, if there is more than one host."""
    named = sorted(summary.hosts.items(), key=lambda item: (-item[1].refused, -item[1].calls, item[0]))
    rows = [_row(harmless(host), spent) for host, spent in named[:MOST_HOSTS]]
    rest = Spent()
    for _, spent in named[MOST_HOSTS:]:
        rest.add(spent)
    if rest.calls:
        rows.append(_row(f"({len(named) - MOST_HOSTS} more hosts)", rest))
    if len(named) > 1:
        rows.append((*_row("total", summary.total)[:-1], ""))
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for cells in (_COLUMNS, *rows):
        yield _aligned(cells, widths)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right, the last column as it is."""
    first, *numbers, last = cells
    middle = (cell.rjust(width) for cell, width in zip(numbers, widths[1:-1], strict=True))
    return "  ".join((first.ljust(widths[0]), *middle, last)).rstrip()


def _row(host: str, spent: Spent) -> tuple[str, ...]:
    why = ", ".join(
        harmless(reason) + (f" ({count}x)" if count > 1 else "") for reason, count in spent.why.most_common()
    )
    counts = (spent.calls, spent.allowed, spent.refused, spent.failed)
    sizes = (format_size(spent.sent), format_size(spent.received))
    return (host, *map(str, counts), *sizes, format_time(spent.time), why)


def format_size(octets: int) -> str:
    """Octets for people: ``0 B``, ``999 B``, ``1.5 kB``, ``12 MB``."""
    size, units = float(octets), iter(("kB", "MB", "GB", "TB"))
    unit = "B"
    while size >= 999.5:  # noqa: PLR2004 - what would print as 1000
        size, unit = size / 1000, next(units, "PB")
    digits = 1 if unit != "B" and size < 9.95 else 0  # noqa: PLR2004 - what would print as 10.0
    return f"{size:.{digits}f} {unit}"


def format_time(microseconds: int) -> str:
    """Microseconds for people: ``0.4 ms``, ``12 ms``, ``1.5 s``, ``3 min 20 s``."""
    seconds = microseconds / 1_000_000
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"  # noqa: PLR2004
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def print_aside(line: str) -> None:
    """A line on standard error, which is not the agent's output."""
    print(line, file=sys.stderr, flush=True)
