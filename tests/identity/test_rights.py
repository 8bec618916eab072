"""Rights and budgets: a meet is never more than either side."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.principal import NO_BUDGETS, Budgets, Ceiling, Right
from proxy.identity.rights import NOWHERE, limits, meet, meet_budgets, own, within, within_budgets
from proxy.identity.task import make_task
from tests.identity.families import HOUR, NOW, agent, manifest

words = st.frozensets(st.sampled_from("abc"))
rights = st.builds(
    Right,
    scopes=words,
    services=st.none() | words,
    environment=st.sampled_from(["development", "production", NOWHERE]),
    expires_at=st.integers(0, 3),
)
amounts = st.none() | st.integers(0, 3)
budgets = st.builds(Budgets, amounts, amounts)


@given(rights, rights, rights)
def test_the_order_of_links_does_not_matter(one, two, three):
    assert meet(meet(one, two), three) == meet(one, meet(two, three))
    assert meet(one, two) == meet(two, one)
    assert meet(one, one) == one


@given(rights, rights)
def test_a_meet_is_within_both(one, other):
    both = meet(one, other)
    assert within(both, one)
    assert within(both, other)


@given(rights, rights, rights)
def test_a_meet_is_all_that_is_within_both(one, other, third):
    if within(third, one) and within(third, other):
        assert within(third, meet(one, other))


@given(rights, rights)
def test_only_equals_are_within_each_other(one, other):
    assert within(one, one)
    if within(one, other) and within(other, one):
        assert one == other


@given(rights, rights, rights)
def test_within_goes_on(one, two, three):
    if within(one, two) and within(two, three):
        assert within(one, three)


RIGHT = Right(frozenset("ab"), frozenset("x"), "development", NOW)


@pytest.mark.parametrize(
    "wider",
    [
        {"scopes": frozenset("abc")},
        {"services": frozenset("xy")},
        {"services": None},
        {"environment": "production"},
        {"expires_at": NOW + 1},
    ],
    ids=lambda wider: next(iter(wider)) + ("-none" if None in wider.values() else ""),
)
def test_wider_is_not_within(wider):
    assert not within(replace(RIGHT, **wider), RIGHT)


def test_two_environments_have_nothing_in_common():
    foreign = replace(RIGHT, environment="production")
    nothing = Right(frozenset(), frozenset(), NOWHERE, NOW)
    assert meet(RIGHT, foreign) == nothing
    assert meet(meet(RIGHT, foreign), RIGHT) == nothing


@given(budgets, budgets, budgets)
def test_budgets_meet_as_rights_do(one, two, three):
    both = meet_budgets(one, two)
    assert meet_budgets(both, three) == meet_budgets(one, meet_budgets(two, three))
    assert both == meet_budgets(two, one)
    assert meet_budgets(one, one) == one
    assert within_budgets(both, one)
    assert within_budgets(both, two)


def test_no_limit_is_wider_than_any():
    assert within_budgets(Budgets(5, 5), NO_BUDGETS)
    assert not within_budgets(NO_BUDGETS, Budgets(requests=5))
    assert not within_budgets(Budgets(requests=6), Budgets(requests=5))
    assert not within_budgets(Budgets(octets=6), Budgets(octets=5))


def test_a_task_alone_has_what_its_manifest_says():
    task = make_task(manifest("coder", services=("github", "npm"), budgets=Budgets(requests=7)))
    right = Right(frozenset(task.scopes), frozenset({"github", "npm"}), "development", NOW + HOUR)
    assert own(agent("coder"), task) == right
    assert limits(agent("coder"), task) == Budgets(requests=7)


def test_a_ceiling_takes_away_and_never_gives():
    low = Ceiling(("repo:read", "repo:write"), ("github",), Budgets(requests=5, octets=100))
    task = make_task(manifest("coder", services=("github", "npm"), budgets=Budgets(requests=7)))
    right = own(agent("coder", ceiling=low), task)
    assert right.scopes == {"repo:read"}
    assert right.services == {"github"}
    assert limits(agent("coder", ceiling=low), task) == Budgets(requests=5, octets=100)


def test_a_ceiling_limits_a_task_that_was_not_narrowed():
    task = make_task(manifest("coder"))
    assert own(agent("coder"), task).services is None
    assert own(agent("coder", ceiling=Ceiling(services=("github",))), task).services == {"github"}


def test_an_empty_ceiling_is_nothing():
    right = own(agent("coder", ceiling=Ceiling((), ())), make_task(manifest("coder")))
    assert right.scopes == right.services == frozenset()
