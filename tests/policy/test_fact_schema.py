import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.fact import FactField, FactType, Place
from proxy.policy.fact_entry import FactsEntry
from proxy.policy.fact_schema import PROTOCOL_TYPES, attribute, declared
from proxy.policy.needs import FACTS

ASK = {"principal": 'U::"u"', "action": 'Action::"a"', "resource": 'U::"u"'}


def fits(kind, value):
    """Whether Cedar takes ``value`` for a member of the type."""
    schema = f'entity U; action "a" appliesTo {{ principal: U, resource: U, context: {{ body: {kind} }} }};'
    permit = "permit(principal, action, resource);"
    return cedarpy.is_authorized(ASK | {"context": {"body": value}}, permit, [], schema).allowed


def field(name, kind=FactType.STRING, *, required=True):
    return FactField(Place.BODY, tuple(name.split(".")), kind, required)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a", "a: T"), ("a1_B", "a1_B: T"), ("in", '"in": T'), ("f[x]", '"f[x]": T'), ("__cedar_x", '"__cedar_x": T'),
     ("é", '"é": T'), ("1", '"1": T')],
)  # fmt: skip
def test_what_is_no_plain_name_is_quoted(name, text):
    assert attribute(name, "T") == text
    assert attribute(name, "T", required=False) == text.replace(": T", "?: T")


def test_objects_nest_and_are_optional_if_all_of_their_fields_are():
    fields = [
        field("user.login"),
        field("title"),
        field("user.name", required=False),
        field("x.y", FactType.BOOL, required=False),
        field("tags", FactType.STRINGS),
        field("n", FactType.LONG),
    ]
    kind = declared(fields)
    assert kind == (
        "{user: {login: String, name?: String}, title: String, x?: {y?: Bool}, tags: Set<String>, n: Long}"
    )
    least = {"user": {"login": "ada"}, "title": "t", "tags": [], "n": 1}
    assert fits(kind, least)
    assert fits(kind, least | {"x": {}})
    assert fits(kind, least | {"x": {"y": True}, "user": {"login": "ada", "name": "Ada"}})
    assert not fits(kind, least | {"user": {}})
    assert not fits(kind, least | {"n": "1"})
    assert not fits(kind, least | {"more": 1})


VALUES = {
    FactType.STRING: st.text(max_size=5),
    FactType.LONG: st.integers(-(2**63), 2**63 - 1),
    FactType.BOOL: st.booleans(),
    FactType.STRINGS: st.lists(st.text(max_size=3), max_size=3),
}
NAMES = st.lists(
    st.sampled_from(["a", "in", "f[x]", "é", "__cedar", "'"]) | st.text(max_size=3), min_size=1, max_size=3
)


@given(st.dictionaries(NAMES.map(".".join), st.sampled_from(FactType), min_size=1, max_size=4), st.data())
def test_whatever_may_be_declared_cedar_can_read(entries, data):
    raw = {name: ["string"] if kind is FactType.STRINGS else kind.value for name, kind in entries.items()}
    try:
        fields = FactsEntry.model_validate({"body": raw}).fields()
    except ValueError:
        return
    value = {}
    for one in fields:
        inner = value
        for name in one.path[:-1]:
            inner = inner.setdefault(name, {})
        if one.required or data.draw(st.booleans()):
            inner[one.path[-1]] = data.draw(VALUES[one.type])
    assert fits(declared(fields), value)


def test_each_protocol_has_a_type_for_its_group():
    assert set(PROTOCOL_TYPES) == FACTS - {"path", "query", "body", "input"}
    for kind in PROTOCOL_TYPES.values():
        assert f"type {kind.name} = {{\n" in kind.text
