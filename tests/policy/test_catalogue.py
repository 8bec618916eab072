import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.catalogue import Catalogue, Overlap, Service, classify
from proxy.policy.operation import Group, Operation
from proxy.policy.template import parse_template
from tests.policy.worlds import target


def service(name, *hosts, schemes=("https",), ports=(443,), operations=()):
    return Service(
        name=name, hosts=hosts, schemes=schemes, ports=ports, owner="o", data_owner="d", sensitivity="public",
        environments=("development",), operations=operations, credential=None,
    )  # fmt: skip


def found(catalogue, url):
    hit = catalogue.find(target(url).origin)
    return None if hit is None else hit.name


WILD = Catalogue(
    [
        service("wild", "*.example.com"),
        service("exact", "api.example.com"),
        service("deep", "*.eu.example.com"),
    ]
)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.example.com/", "wild"),
        ("https://a.b.example.com/", "wild"),
        ("https://example.com/", None),
        ("https://evil-example.com/", None),
        ("https://example.com.evil.org/", None),
        ("https://api.example.com/", "exact"),
        ("https://API.Example.com:443/", "exact"),
        ("https://x.api.example.com/", "wild"),
        ("https://x.eu.example.com/", "deep"),
        ("https://eu.example.com/", "wild"),
        ("http://api.example.com/", None),
        ("https://api.example.com:8443/", None),
        ("https://10.0.0.1/", None),
    ],
)
def test_exact_before_wildcard_and_the_longest_suffix(url, name):
    assert found(WILD, url) == name


def test_an_address_is_never_below_a_wildcard():
    catalogue = Catalogue(
        [service("v4", "127.0.0.1", schemes=("http",), ports=(8080,)), service("v6", "::1")]
    )
    assert found(catalogue, "http://127.0.0.1:8080/") == "v4"
    assert found(catalogue, "https://[::1]/") == "v6"
    assert found(catalogue, "https://127.0.0.1/") is None


def test_two_services_cannot_claim_one_origin():
    with pytest.raises(Overlap, match=r"one and two both claim https://a\.example\.com:443"):
        Catalogue([service("one", "a.example.com"), service("two", "b.example.com", "a.example.com")])
    Catalogue([service("one", "a.example.com"), service("two", "a.example.com", ports=(8443,))])


def test_an_empty_catalogue_knows_nothing():
    assert found(Catalogue([]), "https://example.com/") is None


def test_a_service_falls_back_to_the_method():
    read = Operation("s.get", Group.ADMIN, ("GET",), parse_template("/x"))
    one = service("s", "a.example.com", operations=(read,))
    assert classify(one, "GET", "/x") is read
    assert classify(one, "GET", "/y").id == "s.http.read"
    assert classify(None, "GET", "/x").id == "http.read"


LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda text: text[2:4] != "--"
)


@given(st.lists(LABEL, min_size=1, max_size=4), LABEL)
def test_a_wildcard_is_what_ends_with_a_dot_and_the_suffix(labels, glued):
    catalogue = Catalogue([service("wild", "*.example.com")])
    assert found(catalogue, f"https://{'.'.join(labels)}.example.com/") == "wild"
    assert found(catalogue, f"https://{'.'.join(labels)}.{glued}example.com/") is None
