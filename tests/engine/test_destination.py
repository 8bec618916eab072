"""Which destinations may be named at all, before anything is looked up."""

import pytest

from proxy.engine.destination import Destinations
from proxy.errors import Code
from proxy.http.address import AllowPrivate
from proxy.http.canonical import Host, parse_host

OWN = frozenset({("127.0.0.1", 8470), ("gatepass.test", 8470)})
OPENED = [
    AllowPrivate("127.0.0.1", "127.0.0.0/8", 5000),
    AllowPrivate("db.internal", "10.0.0.0/8", 5432),
]


def check(
    host: str,
    port: int,
    *,
    ports: frozenset[int] | None = frozenset({80, 443}),
    ip_literals: bool = False,
    allowed: list[AllowPrivate] | None = None,
) -> Code | None:
    parsed = parse_host(host.encode())
    assert isinstance(parsed, Host)
    destinations = Destinations(
        None if ports is None else lambda: ports,
        OPENED if allowed is None else allowed,
        lambda: OWN,
        ip_literals=ip_literals,
    )
    refusal = destinations.check(parsed, port)
    return None if refusal is None else refusal.code


@pytest.mark.parametrize(
    ("host", "port", "code"),
    [
        ("api.example.com", 443, None),
        ("api.example.com", 80, None),
        ("api.example.com", 22, Code.PORT),
        ("api.example.com", 5432, Code.PORT),  # opened for another host
        ("db.internal", 5432, None),
        ("localhost", 443, Code.DEST_LOOPBACK),
        ("printer.local", 443, Code.DEST_NAME),
        ("db.internal", 443, None),
        ("metadata.google.internal", 80, Code.DEST_METADATA),
        ("127.0.0.1", 8470, Code.SELF_CONNECT),
        ("gatepass.test", 8470, Code.SELF_CONNECT),
        ("127.0.0.1", 5000, None),
        ("127.0.0.1", 5001, Code.DEST_LOOPBACK),
        ("127.0.0.2", 5000, Code.DEST_LOOPBACK),
        ("10.1.2.3", 443, Code.DEST_PRIVATE),
        ("169.254.169.254", 80, Code.DEST_METADATA),
        ("[::1]", 443, Code.DEST_LOOPBACK),
        ("[::ffff:10.0.0.1]", 443, Code.EMBEDDED_V4),
        ("93.184.216.34", 443, Code.IP_LITERAL),
        ("[2606:4700::1111]", 443, Code.IP_LITERAL),
    ],
)
def test_names_numbers_and_ports(host, port, code):
    assert check(host, port) is code


def test_addresses_may_be_opened_for_all():
    assert check("93.184.216.34", 443, ip_literals=True) is None
    assert check("10.1.2.3", 443, ip_literals=True) is Code.DEST_PRIVATE
    assert check("93.184.216.34", 22, ip_literals=True) is Code.PORT


def test_without_ports_every_port_is_open_and_nothing_else_is():
    assert check("api.example.com", 22, ports=None) is None
    assert check("169.254.169.254", 80, ports=None, ip_literals=True) is Code.DEST_METADATA
    assert check("127.0.0.1", 8470, ports=None, ip_literals=True) is Code.SELF_CONNECT


def test_empty_means_no():
    assert check("api.example.com", 443, ports=frozenset(), allowed=[]) is Code.PORT
