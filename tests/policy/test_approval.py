"""Who may answer a request: nobody for himself, and where owners are kept apart no owner either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.approval import ADMIN, Approver, Asked, objection

NAMES = ["coder", "lead", "ada", "grace", "spiffe://example.org/agents/coder"]


def asked(
    agent: str = "coder", chain: tuple[str, ...] = ("lead", "coder"), owners: tuple[str, ...] = ()
) -> Asked:
    return Asked(
        "0" * 64,
        agent,
        chain,
        owners,
        "t-1",
        "p",
        "POST",
        "https://api.test/pay",
        ("pay",),
        '[{"body":{"amount":500}}]',
        ("r",),
        "1" * 64,
        5,
    )


def person(name: str, *agents: str) -> Approver:
    return Approver(name, frozenset(agents))


def may(name: str, request: Asked | None = None, *agents: str, separate: bool = False) -> bool:
    return objection(person(name, *agents), request or asked(), separate_owner=separate) is None


@pytest.mark.parametrize("name", ["admin", "login:ada", "local:root", "login:coder2", "login:ops:coder"])
def test_people_may(name):
    assert may(name)


@pytest.mark.parametrize(
    "name", ["coder", "login:coder", "local:coder", "local:CODER", " lead ", "login: Lead"]
)
def test_whoever_has_the_name_of_an_agent_of_the_chain_may_not(name):
    assert not may(name)


def test_an_agent_by_its_spiffe_id_may_not():
    identity = "spiffe://example.org/agents/coder"
    assert not may(f"mesh:{identity}", asked(identity, (identity,)))
    assert not may(identity, asked(identity, (identity,)))
    assert may("mesh:spiffe://example.org/people/ada", asked(identity, (identity,)))


def test_whoever_would_pass_for_an_agent_of_the_chain_may_not():
    assert not may("login:ada", None, "coder")
    assert not may("login:ada", None, "other", "lead")
    assert may("login:ada", None, "other")
    words = objection(person("login:ada", "lead"), asked(), separate_owner=False)
    assert words is not None
    assert "lead" in words


def test_the_caller_may_not_even_if_the_chain_does_not_name_it():
    assert not may("local:coder", asked(chain=()))


@pytest.mark.parametrize("name", ["", " "])
def test_nobody_may_not(name):
    assert not may(name)


@pytest.mark.parametrize("owner", ["ada@example.org", "ada", "ADA@elsewhere.example", "login:ada"])
@pytest.mark.parametrize("name", ["login:ada", "local:ada", "login:Ada@example.org"])
def test_owners_may_unless_they_are_kept_apart(name, owner):
    request = asked(owners=("grace", owner))
    assert may(name, request)
    assert not may(name, request, separate=True)
    assert may("login:eve", request, separate=True)


def test_where_owners_are_kept_apart_whoever_answers_says_who_it_is():
    assert may(ADMIN)
    assert not may(ADMIN, separate=True)


def test_an_owner_that_nobody_has_named_is_nobody():
    assert may("login:", asked(owners=("",)), separate=True)


@given(
    st.sampled_from([ADMIN, *NAMES, *(f"login:{name}" for name in NAMES)]),
    st.lists(st.sampled_from(NAMES), min_size=1).map(tuple),
    st.lists(st.sampled_from(NAMES)).map(tuple),
    st.sets(st.sampled_from(NAMES)),
)
def test_more_to_keep_apart_never_lets_more_through(name, chain, owners, agents):
    request = asked(chain[-1], chain, owners)
    loose, strict = (
        objection(Approver(name, frozenset(agents)), request, separate_owner=each) for each in (False, True)
    )
    assert loose is None or strict is not None
    if agents & set(chain) or name.removeprefix("login:") in chain:
        assert loose is not None
