import cedarpy
import orjson
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.expression import printed

TEXTS = [
    'context.task.scopes.contains("a") && (context.a < 5 || context has b) && context.c like "x\\*y*"',
    "context.a || context.b || context.c",
    "!(context.a || context.b) && !context.c",
    "-context.x * 2 + 1 - (2 - 3) < 3",
    'ip("1.2.3.4").isInRange(ip("1.0.0.0/8")) && decimal("1.0").lessThan(decimal("2.0"))',
    '{"a b": 1, "c": [1, "x"]}["a b"] == 1',
    "(if context.a then 1 else 2) == 1",
    'principal is Agent in Team::"a\\nb" && principal is Agent',
    'principal in [Team::"a", Team::"b"] && context.s.isEmpty()',
    'context has "a b" && context["a b"] != "\\u{202e}\\"\\\\"',
    'resource.environments.containsAny(["a"]) && context.s.containsAll([]) && !resource.getTag("x")',
]


def parse(text: str):
    document = orjson.loads(
        cedarpy.policies_to_json_str(f"permit(principal, action, resource) when {{ {text} }};")
    )
    return document["staticPolicies"]["policy0"]["conditions"][0]["body"]


def test_what_is_printed_is_the_same_expression():
    for text in TEXTS:
        assert parse(printed(parse(text))) == parse(text), printed(parse(text))


def test_no_more_brackets_than_needed():
    for text in TEXTS[:4]:
        assert printed(parse(text)) == text


NAMES = st.sampled_from(["context.a", "context.b.c", "principal", "1", '"x"', "true", "[1]", 'Team::"a"'])
binary = st.sampled_from(["||", "&&", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*"])


def combined(inner):
    return st.one_of(
        st.tuples(inner, binary, inner).map(lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"),
        inner.map(lambda text: f"!({text})"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"({text}).a"),
        inner.map(lambda text: f"({text}) has a"),
        inner.map(lambda text: f'({text}) like "a*\\*"'),
        st.tuples(inner, inner).map(lambda parts: f"({parts[0]}).contains({parts[1]})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"if {parts[0]} then {parts[1]} else {parts[2]}"),
    )


@given(st.recursive(NAMES, combined, max_leaves=8))
def test_every_expression_comes_back(text):
    expression = parse(text)
    assert parse(printed(expression)) == expression


def test_what_is_no_expression_is_shown_as_it_is():
    assert printed({"new": 1}) == '{"new": 1}'
    assert printed([1]) == "[1]"
