"""What must hold between the records of a log, beyond their being unchanged (this project's own rules).

(1) every entry is a record of this log, (2) no two decisions share an id, (3) every outcome, and every
``outcome.unknown``, has an earlier decision, and a decision has at most one of them, (4) numbers run
0, 1, 2 ... per boot and agent, as ``record.Stamp`` says: a gap is a record that never reached the log.
A decision without an outcome is no fault: its call may be going on, or have died with its process.
"""

from proxy.audit import Malformed
from proxy.audit.record import Record, parse


class Ledger:
    """Reads a log from its first entry on. Memory grows with the number of decisions."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._agents: dict[str, str] = {}  # decision id -> agent
        self._ended: set[str] = set()
        self._next: dict[tuple[str, str], int] = {}

    def add(self, entry: bytes) -> str | None:
        """Take the next entry; returns what is wrong with it, or None."""
        try:
            record = parse(entry)
        except Malformed as error:
            return f"not a record: {error}"
        if record.origin != self._origin:
            return f"a record of another log: {record.origin}"
        return self._relation(record) or self._number(record)

    def _relation(self, record: Record) -> str | None:
        subject = record.decision_id
        if record.kind == "decision":
            if subject in self._agents:
                return f"a second decision {subject}"
            self._agents[subject] = record.agent
        elif record.kind in ("outcome", "outcome.unknown"):
            if subject not in self._agents:
                return f"an outcome without its decision {subject}"
            if subject in self._ended:
                return f"a second outcome of {subject}"
            self._ended.add(subject)
        return None

    def _number(self, record: Record) -> str | None:
        counted = record.kind in ("decision", "outcome")
        agent = self._agents[record.decision_id] if counted else ""
        due = self._next.get((record.boot, agent), 0)
        self._next[record.boot, agent] = record.seq + 1
        if record.seq == due:
            return None
        whom = f"of agent {agent}" if agent else "of the sidecar itself"
        return f"number {record.seq} {whom} in boot {record.boot}, where {due} is due: records are missing"
