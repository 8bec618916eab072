import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.catalogue import Service
from proxy.policy.matching import ambiguous
from proxy.policy.operation import Group, Operation
from proxy.policy.path_shape import general, is_id, name_of, operation_name, shapes, unique
from proxy.policy.service_file import parse_service
from proxy.policy.service_text import service_text
from proxy.policy.template import parse_template


@pytest.mark.parametrize(
    "segment",
    [
        "7",
        "007",
        "2f1c9a3e-94a5-4c4e-9d7a-0123456789ab",
        "deadbeef01",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "a%40b" * 5 + "1",
    ],
)
def test_ids(segment):
    assert is_id(segment)


@pytest.mark.parametrize(
    "segment",
    ["", "v1", "orders", "deadbeef", "issue-7", "requests-2.31.0-py3-none-any.whl", "internationalization"],
)
def test_names(segment):
    assert not is_id(segment)


def test_ids_become_parameters():
    assert general("/v1/orders/17/lines/3") == "/v1/orders/{id}/lines/{id2}"
    assert general("/a/gp_[sha256:0011aabb]/b") == "/a/{id}/b"
    assert general("/") == "/"


def test_identical_shapes_merge():
    found = shapes([("GET", "/o/1"), ("GET", "/o/2"), ("POST", "/o/2"), ("GET", "/o/x")])
    assert found == {
        ("GET", "/o/1"): "/o/{id}",
        ("GET", "/o/2"): "/o/{id}",
        ("POST", "/o/2"): "/o/{id}",
        ("GET", "/o/x"): "/o/x",
    }


def test_what_would_be_ambiguous_stays_as_it_was_used():
    found = shapes([("GET", "/a/1/b"), ("GET", "/a/c/2"), ("GET", "/a/c/3")])
    assert found["GET", "/a/1/b"] == "/a/{id}/b"
    assert found["GET", "/a/c/2"] == "/a/c/2"
    assert found["GET", "/a/c/3"] == "/a/c/3"


def test_what_can_have_no_template_is_left_out():
    assert shapes([("OPTIONS", "*")]) == {}


segments = st.sampled_from(["1", "2", "v1", "a", "b", "deadbeef01", "%20", "", "HEAD", "é"])
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts))
used = st.lists(st.tuples(st.sampled_from(["GET", "HEAD", "POST"]), paths), max_size=12)


@given(used)
def test_no_two_templates_are_ambiguous_and_each_covers_its_path(used):
    found = shapes(used)
    names, operations = [], []
    for method, template in sorted({(method, template) for (method, _), template in found.items()}):
        operations.append(Operation(f"s.{method}{template}", Group.READ, (method,), parse_template(template)))
        names.append(unique(name_of(method, template), names))
    heads = {op.template for op in operations if op.methods == ("HEAD",)}
    gets = {op.template for op in operations if op.methods == ("GET",)}
    assert (
        ambiguous([op for op in operations if not (op.methods == ("HEAD",) and op.template in heads & gets)])
        is None
    )
    for (method, path), template in found.items():
        service = Service(
            "s", ("h",), ("https",), (443,), "o", "d", "internal", ("development",),
            (Operation("s.x", Group.READ, (method,), parse_template(template)),), None,
        )  # fmt: skip
        assert service.rest_candidates(method, path) is not None
    entry = {
        "name": "s",
        "hosts": ["h.example.org"],
        "owner": "o",
        "data_owner": "d",
        "sensitivity": "internal",
    }
    entry |= {"environments": ["development"]}
    entry["operations"] = {
        name: {"group": "read", "method": "PUT", "path": f"/{n}"} for n, name in enumerate(names)
    }
    assert isinstance(parse_service(service_text(entry).encode(), "s"), Service)


@given(st.text())
def test_every_text_becomes_the_name_of_an_operation(text):
    name = unique(operation_name(text), ["path", "a"])
    data = f'name: s\nhosts: [h.example.org]\nowner: o\ndata_owner: d\nsensitivity: internal\nenvironments: [a]\noperations:\n  "{name}": {{group: read, method: GET, path: /}}\n'
    assert isinstance(parse_service(data.encode(), "s"), Service)


def test_names_of_paths():
    assert name_of("GET", "/v1/orders/{id}") == "v1.orders.id.get"
    assert name_of("POST", "/graphql") == "path.graphql.post"
    assert name_of("GET", "/") == "get"
    assert name_of("GET", "/1/2") == "path.1.2.get"
