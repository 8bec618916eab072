import pytest

from proxy.audit.ledger import Ledger
from tests.audit.logs import ORIGIN, Writer


def judged(entries, origin=ORIGIN):
    ledger = Ledger(origin)
    return [ledger.add(entry) for entry in entries]


def test_a_sound_log():
    writer = Writer()
    one, first = writer.decide("a")
    two, second = writer.decide("b")
    denied = writer.decide(agent=None, task=None, effect="deny", code="identity_missing")[1]
    entries = [first, second, denied, writer.end(two, "b"), writer.end(one, "a"), writer.event("shutdown")]
    entries += Writer("b2", first_id=50).calls(9)
    assert judged(entries) == [None] * len(entries)


def test_a_decision_may_be_unfinished():
    assert judged([Writer().decide()[1]]) == [None]


def test_an_unknown_outcome_counts_for_the_sidecar():
    writer = Writer()
    identity, entry = writer.decide()
    assert judged([entry, writer.event("outcome.unknown", decision_id=identity)]) == [None, None]


def test_every_way_to_disagree():
    writer = Writer()
    identity, entry = writer.decide()
    outcome = writer.end(identity)
    assert "second decision" in judged([entry, entry])[1]
    assert "without its decision" in judged([outcome])[0]
    assert "second outcome" in judged([entry, outcome, outcome])[2]
    assert "another log" in judged([entry], origin="other")[0]
    assert "not a record" in judged([b"{}"])[0]


@pytest.mark.parametrize("missing", range(5))
def test_a_missing_number(missing):
    writer = Writer()
    entries = [writer.decide("a")[1] for _ in range(6)]
    del entries[missing]
    found = judged(entries)
    assert found[:missing] == [None] * missing
    assert f"where {missing} is due" in found[missing]


def test_a_missing_event():
    writer = Writer()
    writer.event("boot")
    assert "of the sidecar itself" in judged([writer.event("heartbeat")])[0]
