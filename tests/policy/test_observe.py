import orjson

from proxy.policy.bundle import digest
from proxy.policy.decision import Allow
from proxy.policy.observe import observe
from tests.policy.worlds import ask


def test_everything_is_let_through_and_marked_as_observed():
    ruling = observe().decide(ask("DELETE", "https://x.example.org/a"))
    assert ruling.decision == Allow(("observe",))
    assert ruling.observed
    assert (ruling.action, ruling.service, ruling.engine) == ("http.delete", None, "observe")
    assert ruling.ruleset_sha256 == digest({})
    document = orjson.loads(ruling.input)
    assert document["resource"]["id"] == "https://x.example.org"
    assert document["context"]["request"]["path"] == "/a"
    assert ruling.input == orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
