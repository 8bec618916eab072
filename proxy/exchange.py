"""The legal order of the steps of one request, as a table.

Rules of this file: every step order lives in ``NEXT``, nothing elsewhere may assume one. It knows
no protocol, no engine and no clock. Nothing is resolved, dialled, minted or swapped before
``RECORDED``; every end, also an exception, is ``CLOSED`` exactly once.
"""

from enum import Enum, auto


class Step(Enum):
    """How far one request has come."""

    OPENED = auto()  # a record id exists; from here on every end is recorded
    ATTRIBUTED = auto()  # we know the principal
    DECIDED = auto()  # the PDP has spoken
    HELD = auto()  # it is left to a person; the PDP speaks again
    RECORDED = auto()  # the decision is durable in the log
    CREDENTIALED = auto()  # placeholders have been swapped
    FORWARDED = auto()  # bytes have left for upstream
    CLOSED = auto()  # refusal or outcome recorded; no further step

    __hash__ = object.__hash__  # Enum's own is not compiled, and each step is looked up in a table

    def __repr__(self) -> str:
        return self.name


NEXT: dict[Step, frozenset[Step]] = {
    Step.OPENED: frozenset({Step.ATTRIBUTED, Step.CLOSED}),
    Step.ATTRIBUTED: frozenset({Step.DECIDED, Step.CLOSED}),
    Step.DECIDED: frozenset({Step.HELD, Step.RECORDED, Step.CLOSED}),
    Step.HELD: frozenset({Step.DECIDED, Step.CLOSED}),
    Step.RECORDED: frozenset({Step.CREDENTIALED, Step.CLOSED}),
    Step.CREDENTIALED: frozenset({Step.FORWARDED, Step.CLOSED}),
    Step.FORWARDED: frozenset({Step.CLOSED}),
    Step.CLOSED: frozenset(),
}


class OutOfOrder(AssertionError):
    """A step was taken that ``NEXT`` does not allow: a bug of ours, never the agent's."""


class Exchange:
    """One request on its way; ``id`` is the id of its decision record (a ULID)."""

    __slots__ = ("id", "step")

    def __init__(self, record_id: str) -> None:
        self.id = record_id
        self.step = Step.OPENED

    def advance(self, to: Step) -> None:
        """Take the next step.

        :raises OutOfOrder: if the table does not allow it.
        """
        if to not in NEXT[self.step]:
            raise OutOfOrder(f"{self.step.name} -> {to.name}")
        self.step = to

    def __repr__(self) -> str:
        return f"Exchange({self.id}, {self.step.name})"
