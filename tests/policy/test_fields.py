"""Declared fields come out of queries, forms and documents as they are declared, or the call is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.fact import Condition, FactField, FactType, Place
from proxy.policy.fields import from_document, from_pairs, in_document, in_pairs


def field(name, kind=FactType.STRING, *, required=True):
    return FactField(Place.BODY, tuple(name.split(".")), kind, required)


def condition(name, *values, place=Place.BODY):
    return Condition(place, tuple(name.split(".")), values)


def refused(found, *words):
    assert isinstance(found, Refusal)
    assert found.code is Code.AMBIGUOUS_INPUT
    assert all(word in found.detail for word in words)
    return True


ALL = (
    field("title"),
    field("milestone", FactType.LONG, required=False),
    field("draft", FactType.BOOL, required=False),
    field("labels", FactType.STRINGS, required=False),
    field("user.login", required=False),
)
GOOD = {"title": "t", "milestone": 3, "draft": True, "labels": ["b", "a"], "user": {"login": "ada"}}


def test_a_document_is_read_as_it_is_declared():
    assert from_document(ALL, {**GOOD, "other": [1.5]}) == GOOD


def test_what_is_optional_may_be_absent_or_null():
    assert from_document(ALL, {"title": "t"}) == {"title": "t"}
    nothing = dict.fromkeys(("milestone", "draft", "labels", "user"))
    assert from_document(ALL, {"title": "t", **nothing}) == {"title": "t"}
    assert from_document((), {}) == {}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"title": None}, "title"),
        ({"title": 5}, "title"),
        ({"title": ["t"]}, "title"),
        ({"milestone": "3"}, "milestone"),
        ({"milestone": True}, "milestone"),
        ({"milestone": 3.0}, "milestone"),
        ({"milestone": 2**53}, "milestone"),
        ({"draft": 1}, "draft"),
        ({"draft": "true"}, "draft"),
        ({"labels": "a"}, "labels"),
        ({"labels": ["a", 1]}, "labels"),
        ({"labels": {"a": "b"}}, "labels"),
        ({"user": "ada"}, "user.login"),
        ({"user": [{"login": "ada"}]}, "user.login"),
        ({"user": {"login": 1}}, "user.login"),
        ({"user": {"Login": "ada"}}, "Login"),
        ({"Title": "u"}, "Title"),
        ({"title[]": "u"}, "title[]"),
        ({"user.login": "root"}, "user.login"),
        ({"User.Login": "root"}, "User.Login"),
    ],
)
def test_another_type_or_a_lookalike_is_refused_by_name(change, name):
    assert refused(from_document(ALL, {**GOOD, **change}), name)


@pytest.mark.parametrize("document", [None, [], ["title"], "title", 1, True])
def test_only_an_object_has_fields(document):
    assert refused(from_document(ALL, document), "title")


def test_a_required_field_below_an_object_needs_the_object():
    needed = (field("a.b.c"), field("a.d", required=False))
    assert from_document(needed, {"a": {"b": {"c": "x"}}}) == {"a": {"b": {"c": "x"}}}
    assert refused(from_document(needed, {}), "a.b.c", "missing")
    assert refused(from_document(needed, {"a": {"b": None}}), "a.b.c", "missing")


def test_pairs_are_read_as_they_are_declared():
    pairs = (
        ("title", "t"), ("milestone", "-3"), ("draft", "false"), ("labels", "b"), ("x", ""), ("labels", "a"),
        ("user.login", "ada"), ("x", "again"),
    )  # fmt: skip
    expected = {"title": "t", "milestone": -3, "draft": False, "labels": ["b", "a"], "user": {"login": "ada"}}
    assert from_pairs(ALL, pairs) == expected
    assert from_pairs(ALL, (("title", ""),)) == {"title": ""}


@pytest.mark.parametrize(
    "pair",
    [
        ("title", "again"),
        ("milestone", "03"),
        ("milestone", "-0"),
        ("milestone", "+3"),
        ("milestone", " 3"),
        ("milestone", "3.0"),
        ("milestone", "٣"),
        ("milestone", "9007199254740992"),
        ("milestone", ""),
        ("draft", "True"),
        ("draft", "1"),
        ("TITLE", "x"),
        ("title[]", "x"),
        ("title[0]", "x"),
        ("labels[]", "x"),
        ("user_login", "x"),
        ("user[login]", "x"),
        ("user[login][]", "x"),
        ("User[login]", "x"),
        ("user[login", "x"),
    ],
)
def test_a_pair_that_can_be_read_otherwise_is_refused(pair):
    assert refused(from_pairs(ALL, (("title", "t"), pair)), pair[0])


def test_a_required_pair_has_to_be_there():
    assert refused(from_pairs(ALL, ()), "title", "missing")


TYPED = {
    FactType.STRING: st.text(max_size=5),
    FactType.LONG: st.integers(-(2**53) + 1, 2**53 - 1),
    FactType.BOOL: st.booleans(),
    FactType.STRINGS: st.lists(st.text(max_size=5), min_size=1, max_size=3),
}


def text(value):
    return value if isinstance(value, str) else json.dumps(value)


@given(
    st.data(),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(FactType)), unique_by=lambda f: f[0]),
)
def test_pairs_and_documents_say_the_same(data, declared):
    fields = [field(f"{name}.{name}" if name in "ab" else name, kind) for name, kind in declared]
    document, pairs = {}, []
    for one in fields:
        value = data.draw(TYPED[one.type])
        document[one.path[0]] = {one.path[1]: value} if len(one.path) > 1 else value
        pairs += [
            (".".join(one.path), text(item)) for item in (value if isinstance(value, list) else [value])
        ]
    if FactType.STRINGS not in {one.type for one in fields}:
        pairs = data.draw(st.permutations(pairs))
    assert from_pairs(fields, tuple(pairs)) == document
    assert from_document(fields, document) == document


@pytest.mark.parametrize(
    ("conditions", "pairs", "holds"),
    [
        ((), (), True),
        ((condition("acl"),), (("acl", ""),), True),
        ((condition("acl"),), (("acl", "x"), ("other", "")), True),
        ((condition("acl"),), (), False),
        ((condition("state", "open", "all"),), (("state", "all"),), True),
        ((condition("state", "open", "all"),), (("state", "closed"),), False),
        ((condition("state", "open"), condition("acl")), (("state", "open"),), False),
    ],
)
def test_conditions_on_pairs(conditions, pairs, holds):
    assert in_pairs(conditions, pairs) is holds


@pytest.mark.parametrize(
    "pairs", [(("acl", ""), ("acl", "")), (("ACL", ""),), (("acl[]", ""),), (("acl", ""), ("Acl", ""))]
)
def test_a_condition_on_an_ambiguous_pair_is_refused(pairs):
    assert refused(in_pairs((condition("acl"),), pairs), "acl")


@pytest.mark.parametrize(
    ("conditions", "document", "holds"),
    [
        ((), [], True),
        ((condition("action", "close"),), {"action": "close"}, True),
        ((condition("action", "close"),), {"action": "open"}, False),
        ((condition("action", "close"),), {}, False),
        ((condition("n", "1"),), {"n": 1}, True),
        ((condition("n", "1"),), {"n": "1"}, True),
        ((condition("n", "true"),), {"n": True}, True),
        ((condition("n", "1"),), {"n": True}, False),
        ((condition("n", "0"),), {"n": False}, False),
        ((condition("n", "x"),), {"n": None}, False),
        ((condition("n"),), {"n": None}, True),
        ((condition("n"),), {"n": {"a": 1.5}}, True),
        ((condition("a.b", "x", "y"),), {"a": {"b": "y"}}, True),
        ((condition("a.b", "x"),), {"a": None}, False),
        ((condition("a.b", "x"),), {"a": {}}, False),
        ((condition("a", "x"), condition("b", "y")), {"a": "x", "b": "z"}, False),
    ],
)
def test_conditions_on_documents(conditions, document, holds):
    assert in_document(conditions, document) is holds


@pytest.mark.parametrize(
    "document",
    [
        {"a": "x"},
        {"a": []},
        {"a": {"b": 1.0}},
        {"a": {"b": ["x"]}},
        {"a": {"b": {"x": 1}}},
        {"a": {"B": "x"}},
        {"A": {"b": "x"}},
        {"a": {"b": "y", "B": "x"}},
        {"a.b": "x"},
        {"A.b": "x", "a": {"b": "y"}},
        [],
        None,
        "a",
    ],
)
def test_a_condition_on_an_ambiguous_member_is_refused(document):
    assert refused(in_document((condition("a.b", "x"),), document))
