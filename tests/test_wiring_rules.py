"""Rules for a sidecar: everything holds together, or every problem is told."""

from proxy.identity.gaps import gaps
from proxy.identity.principal import Method
from proxy.policy.decision import Allow
from proxy.problems import Problem
from proxy.wiring_rules import OBSERVER, Rules, load
from tests.policy.worlds import TICKETS, ask

ENTRY = b"id: coder, environment: development, tier: standard"


def agents(*entries: bytes) -> bytes:
    return b"agents:\n" + b"".join(b"  - {%s}\n" % entry for entry in entries)


def test_without_rules_the_observer_may_do_everything():
    rules = load(None)
    assert isinstance(rules, Rules)
    assert (list(rules.registry), rules.ruleset) == ([OBSERVER], None)
    assert rules.registry.may_use(OBSERVER.id, Method.SESSION)
    assert not rules.registry.external(OBSERVER.id)
    assert [gap.refused for gap in gaps(rules.registry)] == [False]
    assert isinstance(rules.pdp.decide(ask("GET", "https://x.example.org/", agent=OBSERVER)).decision, Allow)


def test_a_directory_without_rules_registers_nobody():
    rules = load({})
    assert isinstance(rules, Rules)
    assert len(rules.registry) == 0
    assert rules.pdp is rules.ruleset


def test_agents_and_catalogue_have_to_fit():
    files = {
        "services/tickets.yaml": TICKETS,
        "agents.yaml": agents(ENTRY + b", ceiling: {services: [tickets]}"),
    }
    assert isinstance(load(files), Rules)
    files["agents.yaml"] = agents(
        ENTRY, b"id: b, environment: qa, tier: x, ceiling: {services: [tickets, t]}"
    )
    words = "agents.1.ceiling.services.1: there is no services/ file for t"
    assert load(files) == [Problem("agents.yaml", 3, words)]


def test_the_problems_of_both_are_told_and_none_follows_from_another():
    policy = b'@id("a") permit (principal == Agent::"coder", action, resource);'
    files = {"agents.yaml": agents(b"id: 7"), "policies/a.cedar": policy}
    assert {problem.file for problem in load(files)} == {"agents.yaml"}
    files["services/t.yaml"] = b"name: t\n"
    assert {problem.file for problem in load(files)} == {"agents.yaml", "services/t.yaml"}
    files["agents.yaml"] = agents(ENTRY + b", ceiling: {services: [t]}")
    assert {problem.file for problem in load(files)} == {"services/t.yaml"}
