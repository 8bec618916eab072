"""What has to be known of a call that is decided elsewhere (``ports.RemotePdp``): all that is declared.

Nobody here can tell what rules elsewhere read. But what gatepass itself forbids in every rule set
(``builtin``) it forbids there too, whatever the answer is.
"""

from dataclasses import replace

from proxy.errors import Code, Refusal
from proxy.http.canonical import Origin
from proxy.policy.catalogue import Service
from proxy.policy.decision import Allow, Deny, Pdp, Question, Ruling, Site
from proxy.policy.needs import FACTS, REQUEST, Needs
from proxy.policy.query import OVERRIDES

ENVIRONMENT, METHOD_OVERRIDE = "gatepass.environment", "gatepass.method_override"
NEEDS = Needs(REQUEST, FACTS, approval=False, content=False)


class Elsewhere:
    """A ``Pdp`` that knows the services of ``rules`` and decides nothing."""

    def __init__(self, rules: Pdp) -> None:
        self._rules = rules

    def site(self, origin: Origin) -> Site:
        """The service, and all that can be known of a call to it."""
        return Site(self._rules.site(origin).service, NEEDS)

    def decide(self, question: Question) -> Ruling:
        """Refuse: whoever asks here has not asked whom it should have."""
        ruling = self._rules.decide(question)
        refusal = Refusal(Code.PDP_UNAVAILABLE, "this call is decided by a decision point elsewhere")
        return Ruling(
            Deny(refusal, (), ()),
            ruling.input,
            ruling.service,
            ruling.action,
            ruling.ruleset_sha256,
            ruling.engine,
            observed=False,
        )

    def could(self, question: Question) -> bool:  # noqa: ARG002 - nobody here can tell
        """See ``Pdp``: anything could be allowed elsewhere."""
        return True


def within(ruling: Ruling, question: Question, service: Service | None) -> Ruling:
    """A ruling from elsewhere, as far as the rules that always hold let it through."""
    if not isinstance(ruling.decision, Allow):
        return ruling
    if service is not None and question.task.environment not in service.environments:
        detail = "The service is not declared for the environment of this task."
        return _forbidden(ruling, ENVIRONMENT, detail)
    if not _OVERRIDES.isdisjoint(question.request.query_keys):
        detail = (
            "A query parameter that replaces the method hides what the call does; send the method itself."
        )
        return _forbidden(ruling, METHOD_OVERRIDE, detail)
    return ruling


def _forbidden(ruling: Ruling, rule: str, detail: str) -> Ruling:
    return replace(ruling, decision=Deny(Refusal(Code.POLICY_DENY, detail, rule), (rule,), ()))


_OVERRIDES = frozenset(OVERRIDES)
