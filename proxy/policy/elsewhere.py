"""What has to be known of a call that is decided elsewhere (``ports.RemotePdp``): all that is declared.

Nobody here can tell what rules elsewhere read.
"""

from proxy.errors import Code, Refusal
from proxy.http.canonical import Origin
from proxy.policy.decision import Deny, Pdp, Question, Ruling, Site
from proxy.policy.needs import FACTS, REQUEST, Needs

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
