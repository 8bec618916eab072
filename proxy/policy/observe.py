"""The PDP for when there are no rules at all: everything is let through, and every record says so.

It is chosen by whoever wires the parts, never fallen back to; an empty rule set denies.
"""

from proxy.http.canonical import Origin
from proxy.policy import document
from proxy.policy.bundle import digest
from proxy.policy.decision import Allow, Pdp, Question, Ruling, Site
from proxy.policy.needs import NOTHING, REQUEST, Needs

RULE = "observe"
_NO_RULES = digest({})
_SEEN = Needs(REQUEST, frozenset(), approval=False, content=False)  # nobody reads it, but suggestions may


class _Observe:
    """See the module."""

    def site(self, origin: Origin) -> Site:  # noqa: ARG002 - it is the same everywhere
        return Site(None, NOTHING)

    def could(self, question: Question) -> bool:  # noqa: ARG002 - everything could
        return True

    def decide(self, question: Question) -> Ruling:
        origin, action = question.target.origin, question.act.operation.id
        who = document.subject(question.agent, question.task, question.right, origin, None, origin.host.name)
        context = document.context(question, _SEEN, who.task, facts=False, budgets=False)
        text = who.document(document.uid("Action", action), context)
        return Ruling(Allow((RULE,)), text, None, action, _NO_RULES, RULE, observed=True)


def observe() -> Pdp:
    """A PDP that allows everything, as rule ``observe``, and classifies by method."""
    return _Observe()
