"""Shapes: documents of one shape fit the same schemas, and nothing else is said of them."""

import cedarpy
import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.errors import Code
from proxy.policy.decision import Deny
from proxy.policy.shape import shape
from tests.policy.worlds import PAY, ask, rules

LEAVES = st.text(max_size=3) | st.integers(-(2**63), 2**63 - 1) | st.booleans()
NAMES = st.sampled_from(["a", "b", "owner", "labels"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(st.text(max_size=3), max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=3)


def written(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def typed(value: object) -> str:
    """The type of a value in Cedar's schema language."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {typed(member)}" for name, member in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "Set<String>"
    return {bool: "Bool", int: "Long", str: "String"}[type(value)]


def changed(value: object) -> object:
    """Other values in the same places."""
    if isinstance(value, dict):
        return {name: changed(member) for name, member in value.items()}
    if isinstance(value, list):
        return [*value, *value]
    return not value if isinstance(value, bool) else -1 if isinstance(value, int) else f"{value}x"


def fits(document: object, schema: cedarpy.Schema) -> bool:
    request = {"principal": 'A::"a"', "action": 'Action::"x"', "resource": 'A::"a"', "context": document}
    answer = cedarpy.is_authorized(request, "permit(principal, action, resource);", [], schema)
    return answer.decision is cedarpy.Decision.Allow


def schema(of: object) -> cedarpy.Schema:
    text = f"entity A; action x appliesTo {{ principal: A, resource: A, context: {typed(of)} }};"
    return cedarpy.Schema.from_str(text)


@given(DOCUMENTS, DOCUMENTS)
def test_documents_of_one_shape_fit_the_same_schema(one, other):
    mine = schema(one)
    assert fits(one, mine)
    if shape(written(one)) == shape(written(other)):
        assert fits(other, mine)
    if not fits(other, mine):
        assert shape(written(one)) != shape(written(other))


@given(DOCUMENTS)
def test_values_do_not_matter(document):
    same = changed(document)
    assert shape(written(document)) == shape(written(same))
    assert hash(shape(written(document))) == hash(shape(written(same)))


@given(DOCUMENTS, NAMES, LEAVES)
def test_names_and_types_do(document, name, leaf):
    assume(name not in document or typed(document[name]) != typed(leaf))
    assert shape(written(document)) != shape(written({**document, name: leaf}))


@pytest.mark.parametrize("name", ["__entity", "__extn", "__expr"])
def test_what_means_more_to_cedar_has_no_shape(name):
    assert shape(written({"a": {name: {"type": "Task", "id": "t"}}})) is None
    assert shape(written({"a": f'"{name}'})) is not None


def test_what_is_no_json_has_none():
    with pytest.raises(ValueError, match="unexpected"):
        shape(b"{")


TEXT = b"""@id("small") permit (principal, action == Action::"pay.charge", resource)
when { context.facts.body.amount < 10 };
@id("noted") forbid (principal, action == Action::"pay.charge", resource)
when { context.facts.body has note && context.facts.body.note == "no" };"""
CHARGE = "https://pay.example.org/v1/charges"


def test_a_question_of_a_wrong_form_is_denied_whatever_was_asked_before():
    ruleset = rules(TEXT, pay=PAY)

    def code(**body: object) -> Code | None:
        budgets = {name: {"limit": 9, "used": 0} for name in ("daily", "hourly")}
        ruling = ruleset.decide(ask("POST", CHARGE, within=ruleset, facts={"body": body}, budgets=budgets))
        return ruling.decision.refusal.code if isinstance(ruling.decision, Deny) else None

    for amount in range(3):
        assert code(amount=amount) is None
        assert code(amount=amount + 10) is Code.DEFAULT_DENY
        assert code(amount=amount, note="yes") is None
        assert code(amount=amount, note="no") is Code.POLICY_DENY
        assert code(amount=str(amount)) is Code.POLICY_ERROR
        assert code(amount=amount, note=amount) is Code.POLICY_ERROR
        assert code(amount=amount, more=amount) is Code.POLICY_ERROR
        assert code(note="no") is Code.POLICY_ERROR
        assert code(amount=True) is Code.POLICY_ERROR
        assert code(amount={"__entity": {"type": "Task", "id": "t"}}) is Code.POLICY_ERROR


def test_budgets_of_a_wrong_form_are_denied():
    ruleset = rules(TEXT, pay=PAY)
    for used in (0, "0", 0, None):
        budgets = {name: {"limit": 9, "used": used} for name in ("daily", "hourly")}
        question = ask("POST", CHARGE, within=ruleset, facts={"body": {"amount": 1}}, budgets=budgets)
        wrong = ruleset.decide(question)
        assert isinstance(wrong.decision, Deny) is (used != 0)
