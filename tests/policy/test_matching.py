import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.fact import Condition, Place, Protocol, Selector
from proxy.policy.matching import (
    Ambiguous,
    Endpoints,
    Patterns,
    RestTable,
    Selectors,
    ambiguous,
    exclusive,
    expand,
    rivals,
)
from proxy.policy.operation import Group, Operation
from proxy.policy.template import more_specific, parse_template
from tests.policy.worlds_catalogue import PATH, TEMPLATE, op


def found(table, method, path):
    matched = table.match(method, path)
    return [] if matched is None else [candidate.operation.id for candidate in matched.candidates]


def test_the_more_specific_operation_wins_whatever_the_order():
    operations = [
        op("s.rest", "/a/{r*}"),
        op("s.one", "/a/{x}"),
        op("s.literal", "/a/b"),
        op("s.deep", "/a/{x}/{r*}"),
    ]
    for ordered in (operations, operations[::-1]):
        table = RestTable(ordered)
        first = [found(table, "GET", path) for path in ("/a/b", "/a/c", "/a/", "/a/c/d", "/a/b/d")]
        assert first == [["s.literal"], ["s.one"], ["s.rest"], ["s.deep"], ["s.deep"]]


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("/a/{x}", "/a/{y}", True),
        ("/a/{x}/c", "/{y}/b/c", True),
        ("/a/{x*}", "/a/{y*}", True),
        ("/a/{x}/c", "/{y*}", False),
        ("/{x}/b/c", "/a/{y*}", True),
        ("/a/{x}", "/a/b", False),
        ("/a/{x}", "/b/{x}", False),
        ("/a/{x}", "/a/", False),
        ("/a/{x*}", "/a/{x}/{y}", False),
        ("/a/b", "/a/b", True),
    ],
)
def test_ambiguous_templates_are_found(one, other, clash):
    operations = [op("s.one", one), op("s.other", other)]
    assert (ambiguous(operations) is not None) is clash
    assert (ambiguous(operations[::-1]) is not None) is clash
    if clash:
        with pytest.raises(Ambiguous, match=r"s\.one and s\.other") as caught:
            RestTable(operations)
        assert caught.value.operations == tuple(operations)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ({"q": ("a",)}, {}, False),
        ({"q": ("a",)}, {"q": ("b",)}, False),
        ({"q": ("a", "c")}, {"q": ("b", "c")}, True),
        ({"q": ()}, {"q": ("b",)}, True),
        ({"q": ("a",)}, {"p": ("b",)}, False),
        ({"q": (), "p": ("1",)}, {"q": (), "p": ()}, True),
        ({"q": (), "p": ()}, {"q": (), "r": ()}, False),
        ({"q": ("a",)}, {"q": ("b",), "p": ()}, False),
    ],
)
def test_conditions_tell_operations_apart_by_number_by_parameters_or_by_excluding_each_other(
    one, other, clash
):
    operations = [op("s.one", "/a", when=one), op("s.other", "/a", when=other)]
    assert (ambiguous(operations) is not None) is clash
    assert (ambiguous(operations[::-1]) is not None) is clash


def test_between_templates_of_no_order_only_exclusion_helps():
    number = [op("s.a", "/a/{x}", when={"q": ()}), op("s.b", "/{y}/b")]
    assert ambiguous(number) == tuple(number)
    parameters = [op("s.a", "/a/{x}", when={"q": ()}), op("s.b", "/{y}/b", when={"p": ()})]
    assert ambiguous(parameters) == tuple(parameters)
    assert (
        ambiguous([op("s.a", "/a/{x}", when={"q": ("1",)}), op("s.b", "/{y}/b", when={"q": ("2",)})]) is None
    )


def test_fields_of_the_content_do_not_tell_operations_apart():
    body = [
        Operation(
            name, Group.READ, ("POST",), parse_template("/a"), when=(Condition(Place.BODY, (key,), ()),)
        )
        for name, key in (("s.a", "x"), ("s.b", "y"))
    ]
    assert ambiguous(body) == tuple(body)


def test_rivals_are_those_of_which_neither_takes_precedence():
    table = RestTable(
        [
            op("s.p", "/a/{x}", when={"p": ()}),
            op("s.q", "/a/{y}", when={"q": ()}),
            op("s.both", "/a/{x}", when={"p": (), "q": ()}),
            op("s.any", "/{r*}", when={"r": ()}),
        ]
    )
    both, p, q, rest = table.match("GET", "/a/b").candidates
    assert [rivals(p, q), rivals(q, p)] == [True, True]
    assert not any(rivals(one, other) for one, other in ((both, p), (both, q), (p, rest), (q, rest)))


def test_an_operation_whose_conditions_may_fail_is_followed_by_the_next():
    table = RestTable(
        [
            op("s.any", "/{r*}"),
            op("s.plain", "/a/{x}"),
            op("s.two", "/a/{y}", when={"p": (), "q": ()}),
            op("s.one", "/a/{x}", when={"q": ()}),
            op("s.literal", "/a/b", when={"q": ("z",)}),
        ]
    )
    assert found(table, "GET", "/a/b") == ["s.literal", "s.two", "s.one", "s.plain"]
    assert found(table, "GET", "/a/c") == ["s.two", "s.one", "s.plain"]
    assert found(table, "GET", "/c") == ["s.any"]
    assert [one.path for one in table.match("GET", "/a/b").candidates] == [
        {},
        {"y": "b"},
        {"x": "b"},
        {"x": "b"},
    ]


def test_whether_the_content_is_needed_is_said_by_the_conditions():
    body = Operation(
        "s.b", Group.READ, ("POST",), parse_template("/a"), when=(Condition(Place.BODY, ("x",), ()),)
    )
    table = RestTable([body, op("s.q", "/q", "POST", when={"q": ()}), op("s.p", "/p", "POST")])
    assert [table.match("POST", path).needs_body for path in ("/a", "/q", "/p")] == [True, False, False]


def test_the_same_path_with_other_methods_is_no_clash_but_get_includes_head():
    assert ambiguous([op("s.a", "/a", "GET"), op("s.b", "/a", "POST")]) is None
    assert ambiguous([op("s.a", "/a", "GET"), op("s.b", "/a", "HEAD")]) is not None
    assert found(RestTable([op("s.a", "/a", "GET")]), "HEAD", "/a") == ["s.a"]
    assert expand(["POST"]) == {"POST"}


def test_no_operations_match_nothing():
    assert RestTable([]).match("GET", "/") is None
    assert RestTable([op("s.a", "/a")]).match("POST", "/a") is None
    assert RestTable([op("s.a", "/a")]).match("GET", "/b") is None
    assert Selectors([]).find(Protocol.MCP, "tool:x") is None
    assert Patterns([]).find("x") is None
    assert Endpoints([], Protocol.GRPC).at("/") is Protocol.GRPC


WHEN = st.dictionaries(
    st.sampled_from(["p", "q"]), st.sampled_from([(), ("1",), ("2",), ("1", "2")]), max_size=2
)
QUERY = st.dictionaries(st.sampled_from(["p", "q"]), st.sampled_from(["1", "2", "3"]), max_size=2)


def holds(operation, query):
    fields = [(condition.path[0], condition.values) for condition in operation.when]
    return all(name in query and (not values or query[name] in values) for name, values in fields)


def beats(one, other):
    if one.template.shape == other.template.shape:
        return len(one.when) > len(other.when)
    return more_specific(one.template, other.template)


def same_template(one, other):
    return one.template.shape == other.template.shape and len(one.when) == len(other.when) > 0


@given(st.lists(st.tuples(TEMPLATE, WHEN), min_size=1, max_size=4), PATH, QUERY)
def test_unless_ambiguous_one_operation_and_its_rivals_beat_all_others_whatever_the_order(
    entries, path, query
):
    operations = [op(f"s.o{index}", text, when=when) for index, (text, when) in enumerate(entries)]
    if ambiguous(operations) is not None:
        return
    alone = [one for one in operations if RestTable([one]).match("GET", path) and holds(one, query)]
    best = [one for one in alone if not any(beats(other, one) for other in alone)]
    assert all(one is other or same_template(one, other) for one in best for other in best)
    for ordered in (operations, operations[::-1]):
        matched = RestTable(ordered).match("GET", path)
        fitting = [c for c in matched.candidates if holds(c.operation, query)] if matched else []
        chosen = [c.operation for c in fitting if c is fitting[0] or rivals(fitting[0], c)]
        assert sorted(chosen, key=operations.index) == best


@given(WHEN, WHEN, QUERY)
def test_exclusive_conditions_never_hold_together(one, other, query):
    left, right = op("s.a", "/", when=one), op("s.b", "/", when=other)
    assert exclusive(left, right) == exclusive(right, left)
    assert not (exclusive(left, right) and holds(left, query) and holds(right, query))


@given(st.sets(st.text("ab", max_size=3)), st.sets(st.text("ab", max_size=3)), st.text("ab", max_size=4))
def test_exact_beats_prefix_and_a_longer_prefix_a_shorter_one(exact, prefixes, name):
    patterns = Patterns([*((text, text) for text in exact), *((f"{text}*", f"{text}*") for text in prefixes)])
    fitting = sorted((text for text in prefixes if name.startswith(text)), key=len)
    expected = name if name in exact else f"{fitting[-1]}*" if fitting else None
    assert patterns.find(name) == expected


def test_a_pattern_stands_once():
    with pytest.raises(ValueError, match=r"a\* stands twice"):
        Patterns([("a*", 1), ("a", 2), ("a*", 3)])


def test_a_selector_belongs_to_its_protocol_and_stands_once():
    tool = Operation("s.t", Group.READ, selector=Selector(Protocol.MCP, "tool:x"))
    field = Operation("s.f", Group.READ, selector=Selector(Protocol.GRAPHQL, "query.*"))
    both = Selectors([tool, field, op("s.r", "/")])
    assert both.find(Protocol.MCP, "tool:x") is tool
    assert both.find(Protocol.GRAPHQL, "query.viewer") is field
    assert both.find(Protocol.MCP, "query.viewer") is None
    assert both.find(Protocol.GRPC, "tool:x") is None
    twin = Operation("s.u", Group.READ, selector=Selector(Protocol.MCP, "tool:x"))
    with pytest.raises(Ambiguous, match=r"s\.t and s\.u"):
        Selectors([tool, twin])


@pytest.mark.parametrize("text", ["/graphql", "/graphql/", "/{v}/graphql"])
def test_a_slash_at_the_end_makes_no_other_endpoint(text):
    """Servers answer GraphQL and MCP at both; as REST a mutation would be nothing but a POST."""
    found = Endpoints([(parse_template(text), Protocol.GRAPHQL)], Protocol.REST)
    plain = text.rstrip("/").replace("{v}", "v1")
    assert [found.at(plain), found.at(f"{plain}/")] == [Protocol.GRAPHQL] * 2
    assert [found.at(f"{plain}//"), found.at(f"{plain}/x"), found.at("/")] == [Protocol.REST] * 3


def test_an_endpoint_that_is_declared_is_what_it_is_declared_as():
    pairs = [("/a", Protocol.MCP), ("/a/", Protocol.REST), ("/b", Protocol.REST), ("/", Protocol.MCP)]
    found = Endpoints([(parse_template(text), spoken) for text, spoken in pairs], Protocol.GRPC)
    assert [found.at(path) for path in ("/a", "/a/", "/b/", "/")] == [
        Protocol.MCP, Protocol.REST, Protocol.GRPC, Protocol.MCP,
    ]  # fmt: skip


def test_the_most_specific_endpoint_says_what_is_spoken():
    pairs = [("/{r*}", Protocol.MCP), ("/api/{r*}", Protocol.REST), ("/api/graphql", Protocol.GRAPHQL)]
    for ordered in (pairs, pairs[::-1]):
        endpoints = Endpoints([(parse_template(text), spoken) for text, spoken in ordered], Protocol.GRPC)
        spoken = [endpoints.at(path) for path in ("/x", "/api/y", "/api/graphql", "/api/graphql/")]
        assert spoken == [Protocol.MCP, Protocol.REST, Protocol.GRAPHQL, Protocol.GRAPHQL]
    twins = [(parse_template("/{x}/b"), Protocol.MCP), (parse_template("/a/{x}"), Protocol.REST)]
    with pytest.raises(ValueError, match=r"endpoints /\{x\}/b and /a/\{x\} match the same paths"):
        Endpoints(twins, Protocol.REST)
