"""Whom what a peer shows fits: all facts, nothing converted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity import ways
from proxy.identity.principal import Method
from proxy.identity.ways import Way, Ways

SCALARS = st.sampled_from(["a", "b", "1", "True", "", 0, 1, 2, True, False])
NAMES = st.sampled_from(["repo", "owner", "job", "sub"])
WANTED = st.dictionaries(NAMES.filter(lambda name: name != "sub"), SCALARS, max_size=2)
SUBJECTS = st.sampled_from(["s", "t", "S", "s "])
SHOWN = st.dictionaries(
    NAMES,
    SCALARS
    | st.none()
    | st.floats()
    | st.lists(SCALARS | st.none() | st.just([1]) | st.just({"a": "a"}), max_size=3)
    | st.dictionaries(st.just("a"), SCALARS, max_size=1),
    max_size=3,
)


def same(one, other):
    return type(one) is type(other) and one == other


def has(claims, name, value):
    shown = claims.get(name)
    members = shown if isinstance(shown, list) else [shown]
    return name in claims and any(same(member, value) for member in members)


def fits(entry, issuer, subject, claims):
    """What ``authenticate`` promises, word for word."""
    wanted_issuer, wanted_subject, wanted = entry
    return (
        wanted_issuer == issuer
        and (wanted_subject is None or wanted_subject == subject)
        and all(has(claims, name, value) for name, value in wanted.items())
    )


ENTRIES = st.tuples(st.sampled_from(["x", "y"]), st.none() | SUBJECTS, WANTED).filter(
    lambda entry: entry[1] is not None or entry[2]
)


@given(st.lists(ENTRIES, max_size=8), st.sampled_from(["x", "y", "z"]), SUBJECTS, SHOWN)
def test_a_token_fits_those_entries_whose_subject_and_claims_it_has(entries, issuer, subject, claims):
    index = Ways((f"a{number}", ways.token(*entry)) for number, entry in enumerate(entries))
    expected = tuple(
        f"a{number}" for number, entry in enumerate(entries) if fits(entry, issuer, subject, claims)
    )
    assert index.fitting(ways.token(issuer, subject, claims)) == expected


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["", "/a", "/b"])), max_size=6),
    st.integers(0, 2),
    st.sampled_from(["", "/a", "/b"]),
)
def test_a_process_fits_its_uid_and_the_executable_where_one_is_named(entries, uid, executable):
    index = Ways((f"a{number}", ways.process(*entry)) for number, entry in enumerate(entries))
    expected = tuple(
        f"a{number}" for number, (of, path) in enumerate(entries) if of == uid and path in {"", executable}
    )
    assert index.fitting(ways.process(uid, executable)) == expected


@pytest.mark.parametrize("method", [Method.JWT_SVID, Method.X509_SVID])
def test_a_spiffe_id_is_exact_and_of_its_method(method):
    index = Ways([("coder", ways.svid("spiffe://x/coder", Method.X509_SVID))])
    assert index.fitting(ways.svid("spiffe://x/coder", method)) == (
        ("coder",) if method is Method.X509_SVID else ()
    )
    assert index.fitting(ways.svid("spiffe://x/coder/1", method)) == ()


@pytest.mark.parametrize("method", list(Method))
def test_an_entry_without_facts_fits_nothing(method):
    index = Ways([("coder", Way(method)), ("coder", Way(method, "x"))])
    for shown in (Way(method), Way(method, "x"), ways.token("x", "s", {"a": "b"}), ways.process(0, "")):
        assert index.fitting(shown) == ()


def test_an_agent_that_fits_twice_is_named_once():
    index = Ways([("b", ways.process(1, "")), ("a", ways.process(1, "")), ("b", ways.process(1, "/x"))])
    assert index.fitting(ways.process(1, "/x")) == ("a", "b")


def test_a_look_up_does_not_look_at_everybody():
    class Counted(frozenset):
        looked = 0

        def __le__(self, other):
            Counted.looked += 1
            return super().__le__(other)

    index = Ways(
        (f"a{number:04}", Way(Method.OIDC, "x", Counted(ways.token("x", None, {"owner": "acme", "repo": str(number)}).facts)))
        for number in range(1000)
    )  # fmt: skip
    assert index.fitting(ways.token("x", "s", {"owner": "acme", "repo": "7"})) == ("a0007",)
    assert Counted.looked == 1
