"""The ``act`` claim: outermost first, bounded, or nothing at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.act import MAX_DEPTH, actors
from proxy.identity.principal import Actor


def nested(depth: int) -> dict[str, object]:
    claims: dict[str, object] = {}
    for level in reversed(range(depth)):
        claims = {"act": {"sub": f"actor-{level}"} | claims}
    return claims


def test_the_example_of_the_specification():
    """RFC 8693, section 4.1, the second example."""
    claims = {
        "aud": "https://service26.example.com",
        "iss": "https://issuer.example.com",
        "exp": 1443904100,
        "nbf": 1443904000,
        "sub": "user@example.com",
        "act": {"sub": "https://service16.example.com", "act": {"sub": "https://service77.example.com"}},
    }
    assert actors(claims) == (
        Actor("https://service16.example.com", None),
        Actor("https://service77.example.com", None),
    )


def test_an_actor_may_name_its_issuer_and_say_things_that_are_not_about_who_it_is():
    act = {"sub": "a", "iss": "https://x.example", "exp": "never", "scope": "*"}
    assert actors({"act": act}) == (Actor("a", "https://x.example"),)


def test_without_the_claim_there_is_nobody():
    assert actors({}) == ()
    assert actors({"sub": "a", "may_act": {"sub": "b"}}) == ()


@pytest.mark.parametrize("depth", [1, 2, MAX_DEPTH])
def test_as_deep_as_it_may_be(depth):
    found = actors(nested(depth))
    assert found == tuple(Actor(f"actor-{level}", None) for level in range(depth))


@pytest.mark.parametrize(
    "act",
    [
        None,
        "a",
        [],
        [{"sub": "a"}],
        {},
        {"sub": ""},
        {"sub": 1},
        {"sub": "a\n"},
        {"sub": "a" * 2049},
        {"iss": "https://x.example"},
        {"sub": "a", "iss": 1},
        {"sub": "a", "iss": ""},
        {"sub": "a", "act": None},
        {"sub": "a", "act": {"sub": ""}},
        nested(MAX_DEPTH + 1)["act"],
        nested(5000)["act"],
    ],
    ids=lambda act: repr(act)[:40] if not isinstance(act, dict) or len(act) < 2 else "nested",
)
def test_malformed_or_too_deep_is_none(act):
    assert actors({"act": act}) is None


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["act", "sub", "iss"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["act", "sub"]), JSON))
def test_anything_gets_an_answer(claims):
    found = actors(claims)
    assert found is None or bool(found) == ("act" in claims)
