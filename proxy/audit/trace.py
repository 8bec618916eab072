"""The story of one task, told from the log alone, and what the log leaves open (this project's records)."""

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.audit.record import Record, parse

_OF_A_TASK = ("task.open", "task.end")


@dataclass(frozen=True, slots=True)
class Call:
    """One decision and what came of it: an outcome, an ``outcome.unknown``, or None if nothing is known."""

    decision: Record
    outcome: Record | None


def chain(records: Iterable[Record], task: str) -> tuple[Record | Call, ...]:
    """What belongs to a task and to all that was delegated from it, in log order.

    Its events, and its calls at the place of their decisions. Whoever handed a task on answers for it.
    """
    family = {task}
    order: list[Record | str] = []
    decisions: dict[str, Record] = {}
    outcomes: dict[str, Record] = {}
    for record in records:
        if record.decision_id in decisions:
            outcomes[record.decision_id] = record
        elif record.task not in family and family.isdisjoint(record.tasks):
            continue
        elif record.kind == "decision":
            family.add(record.task)  # it is below one of the family, or one of it
            decisions[record.id] = record
            order.append(record.id)
        else:
            if record.kind in _OF_A_TASK:
                family.add(record.task)
            order.append(record)
    return tuple(
        Call(decisions[item], outcomes.get(item)) if isinstance(item, str) else item for item in order
    )


def refused(records: Iterable[Record]) -> tuple[tuple[Record, Record], ...]:
    """Calls that were refused, in log order: the decision, and the record that says why.

    That is the decision itself if it denies, or the outcome of an allowed one that was refused later
    (an address that may not be reached is known only once the name is resolved).
    """
    allowed: dict[str, Record] = {}
    found = []
    for record in records:
        if record.kind == "decision":
            if record.effect == "allow":
                allowed[record.id] = record
            else:  # empty means no: what does not say allow is a refusal
                found.append((record, record))
        elif record.kind == "outcome":
            decision = allowed.pop(record.decision_id, None)
            if decision is not None and record.result == "refused":
                found.append((decision, record))
    return tuple(found)


def unfinished(entries: Iterable[bytes]) -> list[str]:
    """The ids of allowed decisions that have no outcome, in log order: calls that died with their process.

    :raises Malformed: if an entry is not a record.
    """
    open_calls: dict[str, None] = {}
    for record in map(parse, entries):
        if record.kind == "decision" and record.effect == "allow":
            open_calls[record.id] = None
        elif record.decision_id:
            open_calls.pop(record.decision_id, None)
    return list(open_calls)
