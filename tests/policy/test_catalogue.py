from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.http.canonical import Origin, parse_host
from proxy.policy.catalogue import Catalogue, Overlap, Service, classify
from proxy.policy.fact import Protocol
from proxy.policy.operation import Group, Operation
from proxy.policy.template import parse_template
from tests.policy.worlds_catalogue import FULL, op, parsed


def service(name, *hosts, schemes=("https",), ports=(443,), operations=()):
    return Service(
        name=name, hosts=hosts, schemes=schemes, ports=ports, owner="o", data_owner="d", sensitivity="public",
        environments=("development",), operations=operations, credential=None,
    )  # fmt: skip


def found(catalogue, url):
    parts = urlsplit(url)
    host = parse_host(parts.netloc.removesuffix(f":{parts.port}").encode())
    assert not isinstance(host, Refusal)
    hit = catalogue.find(Origin(parts.scheme, host, parts.port or {"http": 80, "https": 443}[parts.scheme]))
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
    assert classify(one, "PROPFIND", "/x").id == "s.http.admin"
    assert classify(None, "GET", "/x").id == "http.read"


def test_what_depends_on_conditions_is_not_guessed():
    narrow, plain = op("s.narrow", "/x", when={"q": ()}), op("s.plain", "/x")
    assert classify(service("s", "a.example.com", operations=(narrow,)), "GET", "/x").id == "s.http.read"
    assert classify(service("s", "a.example.com", operations=(narrow, plain)), "GET", "/x") is plain


def test_a_service_finds_its_operations():
    one = parsed(FULL)
    assert one.rest_candidates("PATCH", "/repos/o/issues/7").candidates[0].path == {
        "owner": "o",
        "number": "7",
    }
    assert one.rest_candidates("PATCH", "/repos/o/issues/7").needs_body
    assert one.rest_candidates("GET", "/repos/o/issues/7") is None
    assert one.select(Protocol.MCP, "tool:search_issues").id == "api.search"
    assert one.select(Protocol.MCP, "rpc:resources/read").id == "api.docs.read"
    assert one.select(Protocol.AWS_JSON, "DynamoDB_20120810.GetItem").id == "api.items"
    assert one.select(Protocol.GRAPHQL, "mutation.viewer") is None
    assert {operation.id for operation in one.all_operations} > {"api.chat", "api.http.read", "api.aws.call"}
    assert len({operation.id for operation in one.all_operations}) == len(one.all_operations)


def test_the_names_that_rules_may_use():
    names = Catalogue([parsed(FULL)]).actions()
    assert {"read", "write", "delete", "admin", "http.read", "api", "api.search", "api.mcp.call"} <= names
    assert "api.grpc.call" in names
    assert Catalogue([]).actions() == {*Group, *(f"http.{group}" for group in Group)}
    assert "api.mcp.call" not in Catalogue([service("api", "a.example.com")]).actions()


def test_a_service_is_a_value():
    assert parsed(FULL) == parsed(FULL)
    assert hash(parsed(FULL)) == hash(parsed(FULL))
    assert parsed(FULL) != parsed(FULL.replace("query.viewer", "query.user"))


PIECES = st.sampled_from(
    ["example", "com", ".", ".", "evil", "-", "EXAMPLE", "Com", "xn--", "xn--bcher-kva", "\uff45xample", "。", "\u200d", "%2e", "\\",
     "/", "@", ":", "#", "*", "_", " ", "\0", "\uff11", "127.0.0.1", "[", "]"]
)  # fmt: skip


@given(
    st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=12),
    st.sampled_from(["", ".", ".example.com", ".Example.COM.", "example.com"]),
)
def test_nothing_but_a_name_below_it_is_found_by_a_wildcard(start, end):
    host = parse_host((start + end).encode())
    if isinstance(host, Refusal):
        return
    located = Catalogue([service("wild", "*.example.com")]).locate(Origin("https", host, 443))
    labels = host.name.split(".")
    below = len(labels) > 2 and labels[-2:] == ["example", "com"] and all(labels)
    assert (located is not None) is below
    assert host.name == host.name.lower().removesuffix(".")
    if located is not None:
        assert located[1] == "*.example.com"
        assert (start + end).lower().removesuffix(".").endswith(".example.com")


LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda text: text[2:4] != "--"
)


@given(st.lists(LABEL, min_size=1, max_size=4), LABEL)
def test_a_wildcard_is_what_ends_with_a_dot_and_the_suffix(labels, glued):
    catalogue = Catalogue([service("wild", "*.example.com")])
    assert found(catalogue, f"https://{'.'.join(labels)}.example.com/") == "wild"
    assert found(catalogue, f"https://{'.'.join(labels)}.{glued}example.com/") is None
