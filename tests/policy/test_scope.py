"""The head of a policy, and where that is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.canonical import parse_authority, parse_host
from proxy.http.host import Origin
from proxy.policy.catalogue import Catalogue
from proxy.policy.scope import Homes, Scope, host_of, names_of, operations_of, parse_origin, scope
from proxy.policy.service_file import parse_service
from proxy.policy.statement import Policy, Reference, parse_policies
from tests.policy.worlds import PAY, TICKETS

CATALOGUE = Catalogue([parse_service(TICKETS, "t"), parse_service(PAY, "p")])
HOMES = Homes(CATALOGUE)


def head(action, resource):
    (policy,) = parse_policies(f'@id("a") permit (principal, {action}, {resource});'.encode(), "f")
    assert isinstance(policy, Policy), policy
    return scope(policy)


@pytest.mark.parametrize(
    ("action", "names"),
    [
        ("action", None),
        ('action == Action::"a"', {"a"}),
        ('action in Action::"a"', {"a"}),
        ('action in [Action::"a", Action::"b"]', {"a", "b"}),
        ("action in []", set()),
    ],
)
def test_actions(action, names):
    assert head(action, "resource").actions == names


@pytest.mark.parametrize(
    ("resource", "found"),
    [
        ("resource", None),
        ("resource is Endpoint", None),
        ('resource == Endpoint::"x"', Reference("Endpoint", "x")),
        ('resource in Host::"x"', Reference("Host", "x")),
        ('resource is Endpoint in Service::"x"', Reference("Service", "x")),
    ],
)
def test_resources(resource, found):
    assert head("action", resource).resource == found


def test_what_is_not_understood_constrains_nothing():
    strange = Policy(
        None, "permit", "f", 1, "", {"action": {"op": "near", "entity": 7}, "resource": [], "principal": {}}
    )
    assert scope(strange) == Scope(None, None)
    listed = {"op": "in", "entities": [{"type": "Action", "id": "a"}, {"slot": "?action"}]}
    policy = Policy(
        None, "permit", "f", 1, "", {"action": listed, "resource": {"op": "in", "entity": {"slot": "x"}}}
    )
    assert scope(policy) == Scope(None, None)


@pytest.mark.parametrize(
    ("resource", "services", "host"),
    [
        (Reference("Service", "pay"), {"pay"}, None),
        (Reference("Host", "pay.example.org"), {"pay"}, "pay.example.org"),
        (Reference("Host", "*.tickets.example.org"), {"tickets"}, None),
        (Reference("Host", "a.b.tickets.example.org"), {"tickets"}, "a.b.tickets.example.org"),
        (Reference("Host", "x.example.org"), set(), "x.example.org"),
        (Reference("Host", "::1"), set(), "::1"),
        (Reference("Host", "Pay.example.org"), set(), None),
        (Reference("Endpoint", "https://pay.example.org"), {"pay"}, None),
        (Reference("Endpoint", "http://pay.example.org"), set(), "pay.example.org"),
        (Reference("Endpoint", "https://pay.example.org:443"), set(), None),
        (Reference("Agent", "pay"), set(), None),
    ],
)
def test_homes(resource, services, host):
    assert (HOMES.services(resource), HOMES.host(resource)) == (services, host)


def test_anywhere_is_at_every_service():
    assert HOMES.services(None) is None


def test_every_operation_has_its_own_name_and_those_of_its_groups():
    assert names_of(operations_of(None), None) == {
        *("http.read", "http.write", "http.delete", "http.admin"), *("read", "write", "delete", "admin")
    }  # fmt: skip
    (pay,) = [service for service in CATALOGUE.services if service.name == "pay"]
    assert {"pay", "pay.get", "pay.http.admin", "admin"} <= names_of(operations_of(pay), pay)
    assert names_of([pay.operations[0]], pay) == {"pay.get", "read", "pay"}


@given(st.sampled_from(["http", "https", "ftp"]), st.sampled_from(
    [b"x.example.org", b"127.0.0.1", b"[::1]", b"x.example.org:8443", b"[::1]:80"]))  # fmt: skip
def test_an_origin_is_read_as_it_is_written(scheme, authority):
    host, port = parse_authority(authority)
    if scheme == "ftp":
        assert parse_origin(f"ftp://{authority.decode()}") is None
        return
    origin = Origin(scheme, host, port or 443)
    assert parse_origin(str(origin)) == origin
    assert host_of(host.name) == host


@given(st.text())
def test_only_canonical_text_is_an_origin_or_a_host(text):
    origin = parse_origin(text)
    assert origin is None or str(origin) == text
    host = host_of(text)
    assert host is None or parse_host(host.bracketed.encode()) == host
