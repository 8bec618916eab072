import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.matching import RestTable, ambiguous
from proxy.policy.operation import Group, Operation, by_method
from proxy.policy.template import parse_template


def op(name, path, *methods):
    return Operation(name, Group.READ, methods or ("GET",), parse_template(path))


@pytest.mark.parametrize(
    ("template", "path", "matches"),
    [
        ("/a/{x}", "/a/b", True),
        ("/a/{x}", "/a/", False),
        ("/a/{x}", "/a/b/", False),
        ("/a/{x}", "/a/b/c", False),
        ("/a/{x}", "/a/b%2Fc", True),  # what is encoded inside a segment stays inside it
        ("/a/{x}", "/A/b", False),
        ("/a", "/a/", False),
        ("/a/", "/a/", True),
        ("/a/{r*}", "/a", False),
        ("/a/{r*}", "/a/", True),
        ("/a/{r*}", "/a/b/c//d", True),
        ("/a.b/{x}", "/aXb/c", False),
        ("/", "/", True),
    ],
)
def test_a_template_matches_segments(template, path, matches):
    assert (RestTable([op("s.o", template)]).match("GET", path) is not None) is matches


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "/a/../b",
        "/a/./b",
        "/a?b",
        "/a/{x",
        "/a/x}",
        "/a/{x}y",
        "/{x*}/b",
        "/a b",
        "/%61",
        "/é",
        "/{X}",
        "/a#b",
    ],
)
def test_what_is_no_canonical_template_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_template(text)


def test_the_more_specific_operation_wins_whatever_the_order():
    operations = [
        op("s.rest", "/a/{r*}"),
        op("s.one", "/a/{x}"),
        op("s.literal", "/a/b"),
        op("s.deep", "/a/{x}/{r*}"),
    ]
    for ordered in (operations, operations[::-1]):
        classifier = RestTable(ordered)
        found = [classifier.match("GET", path) for path in ("/a/b", "/a/c", "/a/", "/a/c/d", "/a/b/d")]
        assert [operation.id for operation in found if operation] == [
            "s.literal",
            "s.one",
            "s.rest",
            "s.deep",
            "s.deep",
        ]


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
        with pytest.raises(ValueError, match=r"s\.one and s\.other"):
            RestTable(operations)


def test_the_same_path_with_other_methods_is_no_clash_but_get_includes_head():
    assert ambiguous([op("s.a", "/a", "GET"), op("s.b", "/a", "POST")]) is None
    assert ambiguous([op("s.a", "/a", "GET"), op("s.b", "/a", "HEAD")]) is not None
    head = RestTable([op("s.a", "/a", "GET")]).match("HEAD", "/a")
    assert head is not None
    assert head.id == "s.a"


def test_no_operations_match_nothing():
    assert RestTable([]).match("GET", "/") is None
    assert RestTable([op("s.a", "/a")]).match("POST", "/a") is None


@pytest.mark.parametrize(
    ("method", "action"),
    [("GET", "read"), ("HEAD", "read"), ("OPTIONS", "read"), ("POST", "write"), ("PUT", "write"), ("PATCH", "write"),
     ("DELETE", "delete"), ("PROPFIND", "admin"), ("get", "admin"), ("", "admin")],
)  # fmt: skip
def test_http_itself_classes_what_is_not_catalogued(method, action):
    assert by_method(method).id == f"http.{action}"
    assert by_method(method).group == action


SEGMENT = st.sampled_from(["a", "b", "", "{x}"])
TEMPLATE = st.builds(
    lambda parts, rest: "/" + "/".join([*parts, *(["{r*}"] if rest else [])]),
    st.lists(SEGMENT, min_size=1, max_size=3),
    st.booleans(),
)
PATH = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.lists(TEMPLATE, min_size=2, max_size=4, unique=True), PATH)
def test_unless_ambiguous_the_answer_does_not_depend_on_the_order(templates, path):
    operations = [op(f"s.o{index}", text) for index, text in enumerate(templates)]
    if ambiguous(operations) is not None:
        return
    assert RestTable(operations).match("GET", path) == RestTable(operations[::-1]).match("GET", path)
