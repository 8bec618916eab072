"""Orders to revoke: what they reach, and that every way of asking gives the same answer."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.identity.principal import Evidence, Link, Method, Principal
from proxy.identity.revocation import EVERYTHING, Kind, Order, Revocations, revoked
from tests.identity.families import Family, agent

FAMILY = Family(agent("lead"), agent("coder"))
ROOT = FAMILY.begin("lead")
LINKS = FAMILY.links(FAMILY.child(ROOT, "coder"))
NAMES = ("lead", "coder", "k1", "j1", "s1", "https://i", ROOT.id, LINKS[1].task.id, EVERYTHING, "")

names = st.sampled_from(NAMES)
orders = st.builds(
    Order, st.sampled_from(Kind), names, st.sampled_from(["", "why"]), st.just("cli"), st.just(1)
)
evidence = st.builds(
    Evidence,
    st.sampled_from(Method),
    st.sampled_from(["https://i", "spiffe://d"]),
    st.sampled_from(["", "k1", "k2"]),
    st.sampled_from(["", "j1", "j2"]),
    st.sampled_from(["", "s1", "s2"]),
)
principals = st.builds(
    Principal,
    st.sampled_from([LINKS, LINKS[:1]]),
    st.lists(evidence, min_size=1, max_size=3).map(tuple),
)


def order(kind: Kind, identity: str, reason: str = "a drill") -> Order:
    return Order(kind, identity, reason, "cli", 1)


WHO = Principal(
    LINKS, (Evidence(Method.OIDC, "https://i", "k1", "j1", "s1"), Evidence(Method.UNIX, "kernel"))
)


@pytest.mark.parametrize(
    ("kind", "reached"),
    [
        (Kind.AGENT, {"lead", "coder"}),
        (Kind.TASK, {ROOT.id, LINKS[1].task.id}),
        (Kind.TOKEN, {"j1", "s1"}),
        (Kind.KEY, {"k1"}),
        (Kind.ISSUER, {"https://i", "kernel"}),
        (Kind.ALL, {*NAMES, "kernel"}),
    ],
)
def test_an_order_reaches_the_whole_chain_and_all_evidence(kind, reached):
    assert {name for name in (*NAMES, "kernel") if order(kind, name).reaches(WHO)} == reached


def test_what_was_delegated_does_not_take_away_from_whom_it_comes():
    lead = replace(WHO, chain=LINKS[:1])
    assert not order(Kind.AGENT, "coder").reaches(lead)
    assert not order(Kind.TASK, LINKS[1].task.id).reaches(lead)


@pytest.mark.parametrize(
    ("kind", "identity", "words"),
    [
        (Kind.AGENT, "coder", "the agent coder is revoked: a drill"),
        (Kind.TASK, ROOT.id, "the task is revoked: a drill"),
        (Kind.TOKEN, "j1", "the token is revoked: a drill"),
        (Kind.KEY, "k1", "the key that signed the token is not trusted any more: a drill"),
        (Kind.ISSUER, "https://i", "the issuer of the token is not trusted any more: a drill"),
        (Kind.ALL, EVERYTHING, "everything is revoked: a drill"),
    ],
)
def test_whoever_is_cut_off_is_told_why(kind, identity, words):
    given = order(kind, identity)
    assert Revocations.of(given).refusal(WHO) == Refusal(Code.REVOKED, words) == revoked(given)
    assert revoked(replace(given, reason="")).detail == words.removesuffix(": a drill")


@given(st.lists(orders, max_size=4), principals)
def test_a_principal_is_refused_exactly_if_some_order_reaches_it(orders, principal):
    kept = Revocations(orders)
    refusal = kept.refusal(principal)
    reaching = [revoked(one) for one in kept if one.reaches(principal)]
    assert (refusal in reaching) if reaching else (refusal is None)


@given(st.lists(orders, max_size=4), principals)
def test_what_is_withdrawn_before_the_task_is_known_is_refused_after_it(orders, principal):
    """Only orders about tasks, and about agents further up, are left to be found later."""
    kept = Revocations(orders)
    early = kept.withdrawn(principal.agent.id, principal.evidence)
    assert early is None or kept.refusal(principal) is not None
    later = Revocations(
        one
        for one in orders
        if one.kind is not Kind.TASK and not (one.kind is Kind.AGENT and one.id != principal.agent.id)
    )
    assert later.withdrawn(principal.agent.id, principal.evidence) == later.refusal(principal)


@given(st.lists(orders, max_size=4), evidence)
def test_evidence_that_is_discredited_counts_for_nobody(orders, shown):
    kept = Revocations(orders)
    refusal = kept.discredited(shown)
    assert (refusal is None) == (not any(one.discredits(shown) for one in kept))
    if refusal is not None:
        assert refusal.code is Code.REVOKED
        assert kept.withdrawn("anybody", [shown]) is not None


@given(st.lists(orders, max_size=6))
def test_of_orders_about_the_same_the_last_counts_and_order_does_not(orders):
    kept = Revocations(orders)
    assert len(kept) == len({(one.kind, one.id) for one in orders})
    for one in kept:
        assert kept.get(one.kind, one.id) is one
        assert one in orders
    same = Revocations(reversed(list(kept)))
    assert (kept, hash(kept)) == (same, hash(same))
    assert kept.get(Kind.KEY, "nobody's") is None


def test_no_orders_reach_nobody():
    assert Revocations().refusal(WHO) is None
    assert Revocations().withdrawn("coder", WHO.evidence) is None
    assert len(Revocations()) == 0
    assert Revocations() != frozenset()


@pytest.mark.parametrize("link", LINKS, ids=["root", "leaf"])
def test_a_chain_of_one_link_is_enough(link: Link):
    assert order(Kind.AGENT, link.agent.id).reaches(replace(WHO, chain=(link,)))
