from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.catalogue import Service
from proxy.policy.service_file import parse_service
from proxy.policy.service_text import flow, operation_line, scalar, service_text, with_operations
from proxy.problems import LoadedYaml, load_yaml

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def read(text: str):
    loaded = load_yaml(text.encode(), "x")
    assert isinstance(loaded, LoadedYaml), loaded
    return loaded.data


@given(values)
def test_what_is_written_is_read_back(value):
    assert read(f"a: {flow(value)}\n") == {"a": value}


@given(st.dictionaries(texts, values, max_size=3))
def test_a_whole_file_is_read_back(entry):
    assert (read(service_text(entry)) or {}) == entry


def test_words_that_yaml_takes_for_values_are_quoted():
    for word in ("true", "No", "null", "~", "1", "0x1", "1e5", ".inf", "-", "", "a b", "a: b", "# x"):
        assert scalar(word).startswith('"')
    assert scalar("GET") == "GET"
    assert scalar("/v1/orders") == "/v1/orders"


FILE = """\
# mine
name: orders
hosts: [orders.example.org]
owner: a
data_owner: b
sensitivity: internal
environments: [development]
operations:
    list: {group: read, method: GET, path: /v1/orders}  # keep me

# the key
encoded_slash: false
"""
ADDED = {"orders.get": operation_line("get", {"group": "read", "method": "GET", "path": "/v1/orders/{id}"})}


def test_operations_are_added_and_all_else_stays():
    text = with_operations(FILE, ADDED)
    assert text is not None
    assert [line for line in text.splitlines() if line not in FILE.splitlines()] == [
        '    get: {group: read, method: GET, path: "/v1/orders/{id}"}'
    ]
    service = parse_service(text.encode(), "x")
    assert isinstance(service, Service)
    assert [operation.id for operation in service.operations] == ["orders.list", "orders.get"]


def test_a_file_without_operations_gets_some():
    text = FILE.replace(
        "operations:\n    list: {group: read, method: GET, path: /v1/orders}  # keep me\n", ""
    )
    added = with_operations(text, ADDED)
    assert added is not None
    assert isinstance(parse_service(added.encode(), "x"), Service)


def test_operations_in_one_line_are_left_alone():
    assert with_operations("name: a\noperations: {}\n", ADDED) is None
