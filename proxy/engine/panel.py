"""The PDP asked for every link of a delegation and every act of a call, and what the links themselves leave.

A call is allowed only if rules allow each of its acts to each agent in the chain under the right that is
left at its link; so an agent that acts for another gets what both may do, and a confused deputy nothing
more (D12), and a batch is allowed as a whole or not at all. Then come grants and budgets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.http.canonical import Target
from proxy.identity.budget import Spending
from proxy.identity.principal import Link, Principal
from proxy.identity.rights import not_granted
from proxy.policy import elsewhere
from proxy.policy.catalogue import Service
from proxy.policy.content import Act
from proxy.policy.decision import Allow, Deny, Hold, Pdp, Question, RequestFacts, Ruling
from proxy.policy.obligation import NO_OBLIGATIONS, Obligations, combine
from proxy.policy.service_budget import Used
from proxy.policy.window import Taken, Windows
from proxy.ports import RemotePdp


class Verdict(NamedTuple):
    """``ruling`` is about the caller and decides; ``batch`` are those on further acts of the same call.

    ``above`` is about those it acts for, from the root on. ``held``: nothing is missing but an approval, and
    these rules would permit the call then. ``obligations`` are those of every permit that spoke.
    """

    ruling: Ruling
    batch: tuple[Ruling, ...]
    above: tuple[tuple[Link, Ruling], ...]
    refusal: Refusal | None
    held: tuple[str, ...] = ()
    obligations: Obligations = NO_OBLIGATIONS


class Receipt(NamedTuple):
    """What was taken for one call, to be charged or given back: ``taken`` from the service's budgets."""

    service: Service | None
    taken: Taken | None


class Panel:
    """See the module. With ``remote`` that one decides instead of the rules in process."""

    def __init__(self, spending: Spending, windows: Windows, remote: RemotePdp | None = None) -> None:
        self._spending = spending
        self._windows = windows
        self._remote = remote

    async def judge(
        self,
        pdp: Pdp,
        service: Service | None,
        principal: Principal,
        method: str,
        target: Target,
        request: RequestFacts,
        acts: Sequence[Act],
        *,
        approved: bool = False,
    ) -> Verdict:
        """Ask for every link and act; the caller's own refusal comes first, then that nearest to the root."""
        remote, chain = self._remote, principal.chain
        found: list[tuple[Link, Ruling]] = []
        for link in (chain[-1], *chain[:-1]):
            budgets = self._windows.document(service, link, request.time)
            for act in acts:
                question = Question(
                    link.agent, link.task, link.right, method, target, request, act, budgets, approved
                )
                if remote is None:
                    ruling = pdp.decide(question)
                else:
                    ruling = elsewhere.within(await remote.decide(question), question, service)
                found.append((link, ruling))
        if len(found) == 1 and isinstance(found[0][1].decision, Allow):
            return _allowed(principal, found[0][1], found[0][1].decision)
        rulings = _deciding_first([ruling for _, ruling in found[: len(acts)]])
        above = found[len(acts) :]
        refusal = self._refusal(service, rulings, above, request.time)
        held: tuple[str, ...] = ()
        if refusal is None or refusal.code is Code.APPROVAL_REQUIRED:
            refusal = _granted(principal, rulings[0]) or refusal  # nobody is asked about what was not given
        if refusal is not None and refusal.code is Code.APPROVAL_REQUIRED:
            held = tuple(dict.fromkeys(rule for one in _all(rulings, above) for rule in _rules(one)))
        return Verdict(
            rulings[0],
            tuple(rulings[1:]),
            tuple(above),
            refusal,
            held,
            NO_OBLIGATIONS if refusal is not None else _obligations(_all(rulings, above)),
        )

    def could(
        self, pdp: Pdp, principal: Principal, method: str, target: Target, request: RequestFacts, act: Act
    ) -> bool:
        """Whether everybody in the chain could get ``act`` allowed or held, whatever its facts are."""
        questions = (
            Question(link.agent, link.task, link.right, method, target, request, act)
            for link in principal.chain
        )
        return self._remote is not None or all(pdp.could(question) for question in questions)

    def _refusal(
        self,
        service: Service | None,
        rulings: Sequence[Ruling],
        above: Sequence[tuple[Link, Ruling]],
        now: int,
    ) -> Refusal | None:
        """A denial anywhere, the caller's own first; else that an approval is missing; else None."""
        holds: list[Refusal] = []
        for link, ruling in [(None, one) for one in rulings] + list(above):
            decision = ruling.decision
            if isinstance(decision, Allow):
                continue
            told = decision.refusal if link is None else _not_for(link, decision.refusal)
            if isinstance(decision, Deny):
                return self._timed(service, told, now)
            holds.append(told)
        return holds[0] if holds else None

    def _timed(self, service: Service | None, refusal: Refusal, now: int) -> Refusal:
        """Say when a budget in a window begins anew."""
        if refusal.code is not Code.RATE_LIMITED or service is None or refusal.rule is None:
            return refusal
        name = refusal.rule.rpartition(".")[2]
        return replace(refusal, retry_after=self._windows.retry_after(service, name, now))

    def take(self, principal: Principal, service: Service | None, now: int) -> Receipt | Refusal:
        """Take one request from the budget of every link, or from none."""
        refusal = self._spending.take(principal.chain)
        if refusal is not None:
            return refusal
        taken = self._windows.take(service, principal.chain, now)
        if isinstance(taken, Refusal):
            self._spending.give_back(principal.chain)
            return taken
        return Receipt(service, taken)

    def give_back(self, principal: Principal, receipt: Receipt) -> None:
        """Undo ``take``."""
        self._spending.give_back(principal.chain)
        self._windows.give_back(receipt.taken)

    def charge(self, principal: Principal, receipt: Receipt, used: Used) -> int | None:
        """Take what a call has moved and used from the budget of every link; its cost, if that is known."""
        self._spending.charge(principal.chain, used.octets)
        if receipt.service is None:
            return None
        return self._windows.charge(receipt.service, receipt.taken, used)


def _allowed(principal: Principal, ruling: Ruling, decision: Allow) -> Verdict:
    """The verdict on one act of whoever acts for itself, the usual call."""
    refusal = _granted(principal, ruling)
    obligations = NO_OBLIGATIONS if refusal is not None else decision.obligations
    return Verdict(ruling, (), (), refusal, (), obligations)


def _all(rulings: Iterable[Ruling], above: Iterable[tuple[Link, Ruling]]) -> list[Ruling]:
    return [*rulings, *(ruling for _, ruling in above)]


def _deciding_first(rulings: list[Ruling]) -> list[Ruling]:
    """A denial decides, then a hold; else the first act's ruling stands for the call."""
    for kind in (Deny, Hold):
        for index, ruling in enumerate(rulings):
            if isinstance(ruling.decision, kind):
                return [ruling, *rulings[:index], *rulings[index + 1 :]]
    return rulings


def _rules(ruling: Ruling) -> tuple[str, ...]:
    return ruling.decision.rules if isinstance(ruling.decision, Hold) else ()


def _obligations(rulings: Sequence[Ruling]) -> Obligations:
    found = [ruling.decision.obligations for ruling in rulings if isinstance(ruling.decision, Allow)]
    if all(one is NO_OBLIGATIONS for one in found):
        return NO_OBLIGATIONS
    return combine(found)


def _not_for(link: Link, refusal: Refusal) -> Refusal:
    detail = f"{link.agent.id}, for whom this task was delegated, may not do this itself: {refusal.detail}"
    return Refusal(refusal.code, detail, refusal.rule, refusal.retry_after)


def _granted(principal: Principal, ruling: Ruling) -> Refusal | None:
    return not_granted(principal.right, None if ruling.service is None else ruling.service.name)
