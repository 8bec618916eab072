import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.path_tree import PathTree
from proxy.policy.template import common, covers, more_specific, parse_template
from tests.policy.worlds_catalogue import TEMPLATE

EVERY_PATH = [
    "/" + "/".join(parts)
    for length in (1, 2, 3, 4)
    for parts in itertools.product(["a", "b", "c", ""], repeat=length)
]


def matches(template, path):
    """The definition, segment by segment."""
    parts = path.split("/")[1:]
    for index, (segment, name) in enumerate(zip(template.segments, template.names, strict=True)):
        if segment.endswith("*}"):
            return index < len(parts)
        if index >= len(parts) or not (parts[index] if name else parts[index] == segment):
            return False
    return len(parts) == len(template.segments)


def tree(*templates):
    found = PathTree()
    for template in templates:
        found.add(template, template.text)
    return found


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("/a/{x}", "/a/b", {"x": "b"}),
        ("/a/{x}", "/a/", None),
        ("/a/{x}", "/a/b/", None),
        ("/a/{x}", "/a/b/c", None),
        ("/a/{x}", "/a/b%2Fc", {"x": "b%2Fc"}),  # what is encoded inside a segment stays inside it
        ("/a/{x}", "/A/b", None),
        ("/a", "/a/", None),
        ("/a/", "/a/", {}),
        ("/a/{r*}", "/a", None),
        ("/a/{r*}", "/a/", {"r": ""}),
        ("/a/{r*}", "/a/b/c//d", {"r": "b/c//d"}),
        ("/{x}/{y}/{r*}", "/1/2/3/4", {"x": "1", "y": "2", "r": "3/4"}),
        ("/a.b/{x}", "/aXb/c", None),
        ("/", "/", {}),
    ],
)
def test_a_template_matches_segments(text, path, values):
    template = parse_template(text)
    assert list(tree(template).find(path)) == ([] if values is None else [text])
    if values is not None:
        assert template.values(path) == values
        assert template.parameters == tuple(values)


@pytest.mark.parametrize(
    "text",
    ["", "a", "/a/../b", "/a/./b", "/a?b", "/a/{x", "/a/x}", "/a/{x}y", "/{x*}/b", "/a b", "/%61", "/é", "/{X}",
     "/a#b", "/{x}/{x}", "/{x}/{x*}"],
)  # fmt: skip
def test_what_is_no_canonical_template_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_template(text)


@given(TEMPLATE, TEMPLATE)
def test_the_relations_of_templates_are_those_of_the_paths_they_match(one, other):
    one, other = parse_template(one), parse_template(other)
    left = {path for path in EVERY_PATH if matches(one, path)}
    right = {path for path in EVERY_PATH if matches(other, path)}
    assert common(one, other) == common(other, one) == bool(left & right)
    assert covers(one, other) == (left >= right)
    assert not (more_specific(one, other) and more_specific(other, one))


@given(st.lists(TEMPLATE, max_size=5, unique=True))
def test_a_tree_finds_what_matches_and_the_more_specific_first(texts):
    templates = [parse_template(text) for text in texts]
    whole = tree(*templates)
    for path in EVERY_PATH:
        found = [parse_template(text) for text in whole.find(path)]
        assert sorted(t.text for t in found) == sorted(t.text for t in templates if matches(t, path))
        assert not any(more_specific(later, one) for one, later in itertools.combinations(found, 2))
