import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.declared import declared
from proxy.policy.fact import FactField, FactType, Place
from proxy.policy.operation import Group, Operation


def operation(**fields):
    """``a__b="long"`` is the field ``a.b``; a trailing ``_`` makes it optional."""
    return Operation(
        "s.o",
        Group.READ,
        facts=tuple(
            FactField(Place.BODY, tuple(name.rstrip("_").split("__")), FactType(kind), not name.endswith("_"))
            for name, kind in fields.items()
        ),
    )


SAMPLE = operation(title="string", count_="long", user__login="string", user__admin_="bool", tags_="[string]")
WHOLE = {"title": "t", "count": 3, "user": {"login": "ada", "admin": False}, "tags": ["a", "b"]}


def test_declared_fields_are_read_nested_as_they_are_and_nothing_else():
    document = {**WHOLE, "more": {"x": 1.5}, "user": {**WHOLE["user"], "id": 1}}
    assert declared(SAMPLE, Place.BODY, document) == WHOLE
    assert declared(SAMPLE, Place.INPUT, document) == {}


def test_optional_fields_may_be_absent_or_null():
    least = {"title": "t", "user": {"login": "ada"}}
    assert declared(SAMPLE, Place.BODY, least) == least
    assert declared(SAMPLE, Place.BODY, {**least, "count": None}) == least
    assert declared(operation(a__b_="long"), Place.BODY, {}) == {}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"title": None}, "title"),
        ({"title": 5}, "title"),
        ({"count": "3"}, "count"),
        ({"count": 3.0}, "count"),
        ({"count": True}, "count"),
        ({"count": 2**63}, "count"),
        ({"user": None}, "user.login"),
        ({"user": "ada"}, "user.login"),
        ({"user": []}, "user.login"),
        ({"user": {"login": None}}, "user.login"),
        ({"user": {"login": "ada", "admin": 0}}, "user.admin"),
        ({"tags": "a"}, "tags"),
        ({"tags": ["a", 1]}, "tags"),
        ({"Title": "t"}, "Title"),
        ({"user": {"login": "ada", "Login": "eve"}}, "Login"),
    ],
)
def test_another_type_a_gap_or_a_lookalike_is_refused_by_name(change, name):
    found = declared(SAMPLE, Place.BODY, {**WHOLE, **change})
    assert isinstance(found, Refusal)
    assert found.code is Code.AMBIGUOUS_INPUT
    assert name in found.detail


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({name: JSON | st.just(value) for name, value in WHOLE.items()}))
def test_what_is_read_has_the_declared_types(document):
    found = declared(SAMPLE, Place.BODY, document)
    if isinstance(found, Refusal):
        return
    assert isinstance(found["title"], str)
    assert isinstance(found["user"]["login"], str)
    assert type(found.get("count", 0)) is int
    assert all(isinstance(tag, str) for tag in found.get("tags", []))
