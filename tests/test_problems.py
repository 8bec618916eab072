import gc

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml.nodes import ScalarNode

from proxy.problems import MAX_OCTETS, LoadedYaml, Problem, load_yaml, problems_of


def test_a_problem_prints_its_place():
    assert str(Problem("a.yaml", 3, "no")) == "a.yaml:3: no"
    assert str(Problem("a.yaml", None, "no")) == "a.yaml: no"


def test_values_and_their_lines():
    loaded = load_yaml(b"a:\n  - b: 1\n    c: yes\n  - 0o17\nd: null\n", "f")
    assert isinstance(loaded, LoadedYaml)
    assert loaded.data == {"a": [{"b": 1, "c": "yes"}, 15], "d": None}  # YAML 1.2: yes is a string
    assert [loaded.line(path) for path in ((), ("a",), ("a", 0, "c"), ("a", 1), ("a", 0, "x"), ("d",), ("y",))] == [
        1, 1, 3, 4, 2, 5, 1,
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"\n# nothing\n", b"---\n"])
def test_an_empty_document_is_none(data):
    loaded = load_yaml(data, "f")
    assert isinstance(loaded, LoadedYaml)
    assert loaded.data is None


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a: 1\nb: 2\na: 3\n", 3, "'a' stands here twice"),
        (b"x:\n  a: 1\n  a: 1\n", 3, "twice"),
        (b"a: &x [1]\nb: *x\n", None, "aliases"),
        (b"a: &x\n  b: *x\n", None, "aliases"),
        (b"1: a\n", 1, "keys must be strings"),
        (b"? [a]\n: b\n", 1, "keys must be strings"),
        (b"<<: {a: 1}\n", 1, "keys must be strings"),
        (b"a: 2026-01-01\n", 1, "must be quoted"),
        (b"a: !!binary aGk=\n", 1, "is not accepted"),
        (b"a: !x {}\n", 1, "is not accepted"),
        (b"a: !!int x\n", 1, "not a value of its type"),
        (b"a: [1\nb: 2\n", 2, ""),
        (b"a: 1\n---\nb: 2\n", 2, "document"),
        (b"a: \x01\n", None, "not YAML"),
        (b"\xff", None, "not UTF-8"),
        (b"[" * 40 + b"]" * 40, 1, "deep"),
        (b"[" * 50_000, None, "deep"),
        (b"a" * (MAX_OCTETS + 1), None, "larger than"),
        (b"a: " + b"9" * 5000, 1, "not a value of its type"),
    ],
)
def test_what_has_more_than_one_reading_is_refused(data, line, words):
    problems = load_yaml(data, "f")
    assert isinstance(problems, list)
    assert len(problems) == 1
    assert words in problems[0].message
    if line is not None:
        assert problems[0].line == line


class _Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    port: int


class _Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    listen: list[_Inner]


def test_the_errors_of_a_model_have_lines_and_no_values():
    loaded = load_yaml(b"listen:\n  - port: 1\n  - port: hunter2\n    tls: 1\n  - {}\n", "f.yaml")
    assert isinstance(loaded, LoadedYaml)
    with pytest.raises(ValidationError) as caught:
        _Outer.model_validate(loaded.data)
    problems = problems_of(caught.value, loaded)
    assert [problem.line for problem in problems] == [3, 4, 5]
    assert str(problems[1]) == "f.yaml:4: listen.1.tls: this key is not known here"
    assert "hunter2" not in "".join(map(str, problems))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["C"])),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["C"])), children, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_json_reads_as_itself(value):
    loaded = load_yaml(orjson.dumps(value), "f")
    assert isinstance(loaded, LoadedYaml)
    assert loaded.data == value


@given(st.binary(max_size=60) | st.text(alphabet="-:[]{}&*!|>'\"%@? \n\tab#,<1", max_size=60).map(str.encode))
def test_it_never_raises(data):
    assert isinstance(load_yaml(data, "f"), LoadedYaml | list)


def test_what_was_read_of_a_file_is_gone_without_a_collection():
    data = b"a: [1, 2, {b: c}]\n" + b"".join(b"k%d: v\n" % number for number in range(200))
    load_yaml(data, "x.yaml")
    gc.collect()
    gc.disable()
    try:
        load_yaml(data, "x.yaml")
        assert not [one for one in gc.get_objects() if isinstance(one, ScalarNode)]
    finally:
        gc.enable()
