"""A rule set that only says what has to be known, because somebody else decides."""

from proxy.errors import Code
from proxy.policy.decision import Deny
from proxy.policy.elsewhere import NEEDS, Elsewhere
from proxy.policy.needs import FACTS, REQUEST
from tests.policy.worlds import ask, rules, target

URL = "https://tickets.example.org/v1/tickets/7"


def test_everything_is_to_be_known_of_every_call():
    within = rules()
    elsewhere = Elsewhere(within)
    for url in (URL, "https://unknown.example.org/"):
        site = elsewhere.site(target(url).origin)
        assert site.service is within.site(target(url).origin).service
        assert (site.needs.facts, site.needs.request) == (FACTS, REQUEST)
        assert site.needs is NEEDS


def test_it_decides_nothing_and_rules_nothing_out():
    elsewhere = Elsewhere(rules())
    ruling = elsewhere.decide(ask("GET", URL))
    assert isinstance(ruling.decision, Deny)
    assert ruling.decision.refusal.code is Code.PDP_UNAVAILABLE
    assert elsewhere.could(ask("POST", URL))
