"""Revocations: orders that take identity away at once, and what they reach.

An order about a task ends the task, finally; the store does that in the same step that keeps the order.
Every other order holds until it is lifted: of an agent, a token (by the ``token_id`` or ``token_sha256``
that records name), a signing key (by key id), an issuer (by its URL or trust domain), or of everything.
What was delegated by whoever proved to be somebody on what an order takes away ends with it, finally.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from proxy.errors import Code, Refusal
from proxy.identity.principal import Evidence, Principal


class Kind(StrEnum):
    """What an order takes away."""

    AGENT = "agent"
    TASK = "task"
    TOKEN = "token"  # noqa: S105 - a word
    KEY = "key"
    ISSUER = "issuer"
    ALL = "all"


EVERYTHING = "*"  # the id in an order about everything


@dataclass(frozen=True, slots=True)
class Order:
    """One order to revoke.

    ``ordered_by`` says who (``cli``, ``control:NAME``, ``file:PATH``); ``ordered_at_ns`` is POSIX time.
    """

    kind: Kind
    id: str
    reason: str
    ordered_by: str
    ordered_at_ns: int

    def reaches(self, principal: Principal) -> bool:
        """Whether this order takes away what ``principal`` stands on."""
        if self.kind is Kind.TASK:
            return any(link.task.id == self.id for link in principal.chain)
        if any(self.withdraws(link.agent.id) for link in principal.chain):
            return True
        return any(self.discredits(evidence) for evidence in principal.evidence)

    def withdraws(self, agent: str) -> bool:
        """Whether this order is about the agent."""
        return self.kind is Kind.ALL or (self.kind is Kind.AGENT and self.id == agent)

    def discredits(self, evidence: Evidence) -> bool:
        """Whether this order is about this piece of evidence. An empty id is about none: many lack one."""
        return (self.kind, self.id) in vouchers(evidence)


def vouchers(evidence: Evidence) -> tuple[tuple[Kind, str], ...]:
    """What an order can name of a piece of evidence, as its kind and id."""
    named = (
        (Kind.TOKEN, evidence.token_id),
        (Kind.TOKEN, evidence.token_sha256),
        (Kind.KEY, evidence.key_id),
        (Kind.ISSUER, evidence.issuer),
    )
    return tuple([one for one in named if one[1]])


class Revocations:
    """Every order that holds: an immutable set, replaced as a whole when it changes.

    Every call asks it, so an answer costs a look-up for each thing that an order could name, however many
    orders a fleet keeps.
    """

    __slots__ = ("_all", "_orders")

    def __init__(self, orders: Iterable[Order] = ()) -> None:
        self._orders = {(order.kind, order.id): order for order in orders}
        self._all = next((order for order in self._orders.values() if order.kind is Kind.ALL), None)

    @classmethod
    def of(cls, *orders: Order) -> Self:
        """These orders."""
        return cls(orders)

    def get(self, kind: Kind, identity: str) -> Order | None:
        """The order of this kind about this id, or None."""
        return self._orders.get((kind, identity))

    def refusal(self, principal: Principal) -> Refusal | None:
        """Why ``principal`` makes no more calls, or None."""
        if not self._orders:
            return None
        links = reversed(principal.chain)
        above = [name for link in links for name in ((Kind.AGENT, link.agent.id), (Kind.TASK, link.task.id))]
        return self._first([*above, *(name for one in principal.evidence for name in vouchers(one))])

    def withdrawn(self, agent: str, evidence: Iterable[Evidence]) -> Refusal | None:
        """Why the agent, or what it proves itself by, counts no more; or None. No task is looked at."""
        return self._first([(Kind.AGENT, agent), *(name for one in evidence for name in vouchers(one))])

    def discredited(self, evidence: Evidence) -> Refusal | None:
        """Why this piece of evidence counts no more, whoever shows it; or None."""
        found = (self._orders.get(name) for name in vouchers(evidence))
        return next((revoked(order) for order in found if order is not None), None)

    def _first(self, names: Iterable[tuple[Kind, str]]) -> Refusal | None:
        """What the order about everything makes, else the first that is about one of these."""
        if self._all is not None:
            return revoked(self._all)
        found = (self._orders.get(name) for name in names)
        return next((revoked(order) for order in found if order is not None), None)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._orders.values())

    def __len__(self) -> int:
        return len(self._orders)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Revocations) and self._orders == other._orders

    def __hash__(self) -> int:
        return hash(frozenset(self._orders.items()))


_WORDS = {
    Kind.AGENT: "the agent {id} is revoked",
    Kind.TASK: "the task is revoked",
    Kind.TOKEN: "the token is revoked",
    Kind.KEY: "the key that signed the token is not trusted any more",
    Kind.ISSUER: "the issuer of the token is not trusted any more",
    Kind.ALL: "everything is revoked",
}


def revoked(order: Order) -> Refusal:
    """The refusal that an order makes; the reason goes with it, so that whoever is cut off knows why."""
    words = _WORDS[order.kind].format(id=order.id)
    return Refusal(Code.REVOKED, f"{words}: {order.reason}" if order.reason else words)
