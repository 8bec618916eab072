import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.policy.catalogue import Service
from proxy.policy.content import Call, Classified
from proxy.policy.fact import Protocol, Selector
from proxy.policy.grpc import classify
from proxy.policy.needs import EVERYTHING, NOTHING
from proxy.policy.operation import Group, Operation


def operation(name, pattern):
    return Operation(f"shop.{name}", Group.WRITE, selector=Selector(Protocol.GRPC, pattern))


SHOP = Service(
    *("shop", ("shop.example.org",), ("https",), (443,), "a@example.org", "b@example.org", "internal"),
    ("development",),
    (operation("pay", "shop.v1.Cart/Pay"), operation("cart", "shop.v1.Cart/*")),
    None,
    protocol=Protocol.GRPC,
)
TYPE = (b"content-type", b"application/grpc")


def call(path, *, method="POST", headers=(TYPE,), query=()):
    return Call(method, path, query, headers, has_body=True, body=None)


def act(path, needs=EVERYTHING, **more):
    found = classify(call(path, **more), SHOP, needs)
    assert isinstance(found, Classified), found
    assert len(found.acts) == 1
    return found.acts[0].operation.id, json.loads(found.acts[0].facts)


@pytest.mark.parametrize(
    ("path", "expected", "service", "method"),
    [
        ("/shop.v1.Cart/Pay", "shop.pay", "shop.v1.Cart", "Pay"),
        ("/shop.v1.Cart/Add", "shop.cart", "shop.v1.Cart", "Add"),
        ("/shop.v1.Cart/pay", "shop.cart", "shop.v1.Cart", "pay"),
        ("/shop.v1.Carts/Pay", "shop.grpc.call", "shop.v1.Carts", "Pay"),
        ("/Greeter/Say_Hello2", "shop.grpc.call", "Greeter", "Say_Hello2"),
    ],
)
def test_the_path_names_the_method(path, expected, service, method):
    assert act(path) == (expected, {"grpc": {"service": service, "method": method}})


def test_what_no_rule_reads_is_not_told():
    assert act("/shop.v1.Cart/Pay", NOTHING) == ("shop.pay", {})


@pytest.mark.parametrize(
    "kind",
    [
        b"application/grpc+proto",
        b"Application/gRPC; x=y",
        b"application/grpc-web",
        b"application/grpc-web-text+proto",
    ],
)
def test_every_kind_of_grpc_is_spoken(kind):
    assert act("/shop.v1.Cart/Pay", headers=((b"Content-Type", kind),))[0] == "shop.pay"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"method": "GET"}, Code.CONTENT_UNSUPPORTED),
        ({"method": "PUT"}, Code.CONTENT_UNSUPPORTED),
        ({"headers": ()}, Code.CONTENT_UNSUPPORTED),
        ({"headers": (TYPE, TYPE)}, Code.CONTENT_UNSUPPORTED),
        ({"headers": ((b"content-type", b"application/json"),)}, Code.CONTENT_UNSUPPORTED),
        ({"headers": ((b"content-type", b"application/grpcx"),)}, Code.CONTENT_UNSUPPORTED),
        ({"headers": ((b"content-type", b"application/grpc, text/plain"),)}, Code.CONTENT_UNSUPPORTED),
        ({"query": (("a", "b"),)}, Code.AMBIGUOUS_INPUT),
    ],
)
def test_what_is_no_grpc_is_refused(change, code):
    found = classify(call("/shop.v1.Cart/Pay", **change), SHOP, EVERYTHING)
    assert isinstance(found, Refusal)
    assert found.code is code


NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
ODD = ["/", "//", "%2F", ".", "%2E", " ", "é", ";x", "-", "\n", "\u0660"]


@given(st.lists(NAME, min_size=1, max_size=4), NAME)
def test_every_method_has_one_path(package, method):
    service = ".".join(package)
    assert act(f"/{service}/{method}")[1] == {"grpc": {"service": service, "method": method}}


@given(st.data())
def test_a_path_with_anything_else_in_it_is_refused(data):
    path = "/shop.v1.Cart/Pay"
    place = data.draw(st.integers(0, len(path)))
    odd = path[:place] + data.draw(st.sampled_from(ODD)) + path[place:]
    found = classify(call(odd), SHOP, EVERYTHING)
    if isinstance(found, Classified):  # a dot between two words of the package
        assert odd.count("/") == 2
        assert found.acts[0].operation.id == "shop.grpc.call"
    else:
        assert found.code is Code.AMBIGUOUS_INPUT
