"""The PDP asked for every link of a delegation, and what the links themselves leave: grants and budgets.

A call is allowed only if rules allow it to each agent in the chain under the right that is left at its
link; so an agent that acts for another gets what both may do, and a confused deputy nothing more (D12).
"""

from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.http.canonical import Target
from proxy.identity.budget import Spending
from proxy.identity.principal import Link, Principal
from proxy.policy.catalogue import classify
from proxy.policy.content import Act
from proxy.policy.decision import Deny, Pdp, Question, RequestFacts, Ruling


class Verdict(NamedTuple):
    """``ruling`` is about the caller, ``above`` about those it acts for, from the root on."""

    ruling: Ruling
    above: tuple[tuple[Link, Ruling], ...]
    refusal: Refusal | None


class Panel:
    """See the module."""

    def __init__(self, pdp: Pdp, spending: Spending) -> None:
        self._pdp = pdp
        self._spending = spending

    def judge(self, principal: Principal, method: str, target: Target, facts: RequestFacts) -> Verdict:
        """Ask for every link; the caller's own refusal comes first, then the one nearest to the root."""
        *over, own = principal.chain
        ruling = self._ask(own, method, target, facts)
        above = tuple([(link, self._ask(link, method, target, facts)) for link in over]) if over else ()
        refusal = None
        if isinstance(ruling.decision, Deny):
            refusal = ruling.decision.refusal
        for link, one in above:
            if refusal is None and isinstance(one.decision, Deny):
                refusal = _not_for(link, one.decision.refusal)
        return Verdict(ruling, above, refusal or _granted(principal, ruling))

    def take(self, principal: Principal) -> Refusal | None:
        """Take one request from the budget of every link, or from none."""
        return self._spending.take(principal.chain)

    def give_back(self, principal: Principal) -> None:
        """Undo ``take``."""
        self._spending.give_back(principal.chain)

    def charge(self, principal: Principal, octets: int) -> None:
        """Take what a call has moved, in both directions, from the budget of every link."""
        self._spending.charge(principal.chain, octets)

    def _ask(self, link: Link, method: str, target: Target, facts: RequestFacts) -> Ruling:
        service = self._pdp.site(target.origin).service
        act = Act(classify(service, method, target.path.text))
        return self._pdp.decide(Question(link.agent, link.task, link.right, method, target, facts, act))


def _not_for(link: Link, refusal: Refusal) -> Refusal:
    detail = f"{link.agent.id}, for whom this task was delegated, may not do this itself: {refusal.detail}"
    return Refusal(refusal.code, detail, refusal.rule, refusal.retry_after)


def _granted(principal: Principal, ruling: Ruling) -> Refusal | None:
    services = principal.right.services
    name = None if ruling.service is None else ruling.service.name
    if services is None or name in services:
        return None
    given = ", ".join(sorted(services)) or "none"
    what = f"the service {name}" if name else "a host that is no catalogued service"
    return Refusal(Code.SERVICE_NOT_GRANTED, f"this task was not given {what}; it was given: {given}")
