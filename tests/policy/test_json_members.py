import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy import json_members
from proxy.policy.json_members import LIMIT, JsonMembers

NAMES = st.sampled_from(["usage", "model", "response", "message", "x", "\\", '"', "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)
WANTED, ENTERED = ("usage", "model"), ("response", "message")


def expected(document):
    found = {name: value for name, value in document.items() if name in WANTED}
    for name in ENTERED:
        if isinstance(document.get(name), dict):
            found[name] = {key: value for key, value in document[name].items() if key in WANTED}
    return found


def scanned(text, cuts):
    scan = json_members._Scan(WANTED, ENTERED)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in pairwise(edges):
        scan.feed(text[start:end])
    return scan.found


@given(DOCUMENTS, st.sampled_from([None, 2]), st.booleans(), st.lists(st.integers(0, 400), max_size=20))
def test_scanning_finds_what_parsing_finds(document, indent, ascii_only, cuts):
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    assert scanned(text, cuts) == expected(document)
    assert scanned(b" \n" + text + b' {"usage": 1}', range(len(text))) == expected(document)


@given(st.binary(), st.lists(st.integers(0, 100), max_size=10))
def test_any_octets_give_one_answer(data, cuts):
    assert scanned(data, cuts) == scanned(data, ())


def test_small_documents_are_whole_and_large_ones_are_not():
    small = JsonMembers(WANTED, ENTERED)
    small.feed(b'{"x":1,')
    assert small.members() == {}
    small.feed(b'"usage":2}')
    assert (small.members(), small.whole, small.octets) == ({"x": 1, "usage": 2}, True, 17)
    large = JsonMembers(WANTED, ENTERED)
    large.feed(b'{"model":"' + b"m" * LIMIT + b'","usage":2')
    large.feed(b',"x":3}')
    assert (large.members(), large.whole) == ({"usage": 2}, False)


def test_what_is_no_object_has_no_members():
    array = JsonMembers(WANTED, ENTERED)
    array.feed(b'[{"usage":1}]')
    assert array.members() == {}
    assert scanned(b'[{"usage":1}]', ()) == {}
    assert scanned(b'{"x":[1,"a\\"],{"],"usage":[1,2]}', (14, 15, 16)) == {"usage": [1, 2]}
