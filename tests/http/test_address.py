"""Only public addresses are dialled, whatever they are dressed up as."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.address import (
    TABLE,
    AddressClass,
    AllowPrivate,
    classify,
    embedded,
    name_refusal,
    refusal_for,
    vet,
)
from proxy.http.host import Host, parse_host, parse_port


def host(raw: str) -> Host:
    parsed = parse_host(raw.encode())
    assert isinstance(parsed, Host), parsed
    return parsed


def code(result: object) -> Code:
    assert isinstance(result, Refusal), result
    return result.code


C = AddressClass


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        # A1, A5, A9
        ("127.0.0.1", C.LOOPBACK),
        ("127.255.255.254", C.LOOPBACK),
        ("::1", C.LOOPBACK),
        ("169.254.169.254", C.METADATA),
        ("169.254.170.2", C.METADATA),
        ("168.63.129.16", C.METADATA),
        ("192.0.0.192", C.METADATA),
        ("100.100.100.200", C.METADATA),
        ("fd00:ec2::254", C.METADATA),
        ("fd20:ce::254", C.METADATA),
        # A6 to A8
        ("::ffff:169.254.169.254", C.EMBEDDED_V4),
        ("::ffff:a9fe:a9fe", C.EMBEDDED_V4),
        ("::ffff:8.8.8.8", C.EMBEDDED_V4),
        ("::169.254.169.254", C.EMBEDDED_V4),
        ("::2", C.EMBEDDED_V4),
        ("::ffff:0:169.254.169.254", C.EMBEDDED_V4),
        ("2002:a9fe:a9fe::1", C.EMBEDDED_V4),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", C.EMBEDDED_V4),
        ("64:ff9b::a9fe:a9fe", C.NAT64),
        ("64:ff9b::8.8.8.8", C.NAT64),
        ("64:ff9b:1::a9fe:a9fe", C.NAT64),
        # A10
        ("10.0.0.1", C.PRIVATE),
        ("172.16.0.1", C.PRIVATE),
        ("172.31.255.255", C.PRIVATE),
        ("192.168.1.1", C.PRIVATE),
        ("100.64.0.1", C.PRIVATE),
        ("fc00::1", C.PRIVATE),
        ("fdff::1", C.PRIVATE),
        ("fec0::1", C.PRIVATE),
        ("169.254.1.1", C.LINK_LOCAL),
        ("fe80::1", C.LINK_LOCAL),
        *[
            (address, C.RESERVED)
            for address in ("0.0.0.0", "0.1.2.3", "192.0.0.1", "192.0.2.1", "192.88.99.1")
        ],
        *[
            (address, C.RESERVED)
            for address in ("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1")
        ],
        *[
            (address, C.RESERVED)
            for address in ("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255")
        ],
        *[(address, C.RESERVED) for address in ("::", "100::1", "2001:2::1", "2001:10::1", "2001:20::1")],
        *[(address, C.RESERVED) for address in ("2001:db8::1", "3fff::1", "5f00::1", "ff02::1", "4000::1")],
        *[(address, C.RESERVED) for address in ("1::1", "64:ff9a::1", "e000::1", "200::1")],
        # what cannot be read, and zones
        *[
            (address, C.RESERVED)
            for address in ("", "x", "1.2.3", "01.2.3.4", "fe80::1%eth0", "2606::1%1", "1.2.3.4 ")
        ],
        # the neighbours of all that
        *[
            (address, C.PUBLIC)
            for address in ("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255")
        ],
        *[
            (address, C.PUBLIC)
            for address in ("100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255")
        ],
        *[
            (address, C.PUBLIC)
            for address in ("169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255")
        ],
        *[
            (address, C.PUBLIC)
            for address in ("198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.17")
        ],
        *[
            (address, C.PUBLIC)
            for address in ("2606:4700::1111", "2001:4860::8888", "2003::1", "2001:200::1")
        ],
    ],
)
def test_classes(address, expected):
    assert classify(address) is expected


@given(st.sampled_from([row for row in TABLE if "/32" not in row[1] and "/128" not in row[1]]), st.data())
def test_no_address_of_any_row_is_public(row, data):
    network = ip_network(row[1])
    value = data.draw(st.integers(int(network.network_address), int(network.broadcast_address)))
    kind = classify(str(type(network.network_address)(value)))
    assert kind is not C.PUBLIC
    for address in (network.network_address, network.broadcast_address):
        assert classify(str(address)) is not C.PUBLIC


V4 = st.ip_addresses(v=4)


@given(V4, st.integers(0, 2**64 - 1))
def test_no_disguise_of_an_ipv4_address_is_public_and_each_is_seen_through(address: IPv4Address, noise: int):
    low = int(address)
    wide = 0x64_FF9B_0001 << 80
    disguises = {
        low: C.EMBEDDED_V4,
        0xFFFF << 32 | low: C.EMBEDDED_V4,
        0xFFFF << 48 | low: C.EMBEDDED_V4,
        0x2002 << 112 | low << 80 | noise: C.EMBEDDED_V4,
        0x2001_0000 << 96 | low << 64 | noise: C.EMBEDDED_V4,
        0x2001_0000 << 96 | (noise >> 32) << 64 | low ^ 0xFFFF_FFFF: C.EMBEDDED_V4,
        0x64_FF9B << 96 | low: C.NAT64,
        wide | (noise & 0xFFFF) << 64 | low: C.NAT64,
        wide | (low >> 16) << 64 | (low & 0xFFFF) << 40: C.NAT64,
        wide | (low >> 24) << 64 | (low & 0xFF_FFFF) << 32: C.NAT64,
        wide | low << 24: C.NAT64,
    }
    for value, kind in disguises.items():
        if value > 1:
            text = str(IPv6Address(value))
            assert classify(text) is kind
            assert str(address) in embedded(text)


@given(st.ip_addresses())
def test_only_disguises_hide_something(address):
    hides = classify(str(address)) in (C.EMBEDDED_V4, C.NAT64)
    assert bool(embedded(str(address))) == hides


@given(st.ip_addresses())
def test_public_is_never_more_than_what_the_standard_library_calls_private(address):
    if classify(str(address)) is C.PUBLIC:
        assert not address.is_loopback
        assert not address.is_link_local
        assert not address.is_multicast
        assert not address.is_unspecified
        assert not address.is_reserved


def test_every_class_but_public_has_its_refusal():
    assert refusal_for(C.PUBLIC, "x") is None
    codes = {kind: code(refusal_for(kind, "x")) for kind in C if kind is not C.PUBLIC}
    assert codes == {
        C.LOOPBACK: Code.DEST_LOOPBACK,
        C.PRIVATE: Code.DEST_PRIVATE,
        C.LINK_LOCAL: Code.DEST_LINK_LOCAL,
        C.METADATA: Code.DEST_METADATA,
        C.RESERVED: Code.DEST_RESERVED,
        C.EMBEDDED_V4: Code.EMBEDDED_V4,
        C.NAT64: Code.NAT64,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[
            (name, Code.DEST_METADATA)
            for name in ("metadata.google.internal", "METADATA.google.internal.", "metadata")
        ],
        *[
            (name, Code.DEST_METADATA)
            for name in ("instance-data", "instance-data.ec2.internal", "metadata.goog")
        ],
        ("x.metadata.google.internal", Code.DEST_METADATA),
        *[
            (name, Code.DEST_LOOPBACK)
            for name in ("localhost", "a.localhost", "localhost.localdomain", "localhost6")
        ],
        *[
            (name, Code.DEST_NAME)
            for name in ("x.internal", "host.docker.internal", "kubernetes.default.svc")
        ],
        *[
            (name, Code.DEST_NAME)
            for name in ("kubernetes.default.svc.cluster.local", "a.b.svc.corp.example")
        ],
        *[
            (name, Code.DEST_NAME)
            for name in ("kubernetes", "kubernetes.default", "printer.local", "db.prod.svc")
        ],
    ],
)
def test_names_that_are_not_even_resolved(name, expected):
    assert code(name_refusal(host(name))) is expected
    assert code(vet(host(name), 443, ["1.1.1.1"], [])) is expected


@pytest.mark.parametrize(
    "name", ["api.example", "localhost.example", "internal", "svc.example", "127.0.0.1", "[::1]"]
)
def test_other_names_may_be_resolved(name):
    assert name_refusal(host(name)) is None


def test_a_rule_opens_exactly_one_local_name():
    rules = [AllowPrivate("db.internal", "10.1.0.0/16", 5432), AllowPrivate("metadata", "169.254.0.0/16", 80)]
    assert name_refusal(host("db.internal"), rules) is None
    assert code(name_refusal(host("x.internal"), rules)) is Code.DEST_NAME
    assert code(name_refusal(host("metadata"), rules)) is Code.DEST_METADATA
    assert vet(host("db.internal"), 5432, ["10.1.2.3"], rules) == ("10.1.2.3",)


API = "api.example"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], Code.DNS_ERROR),
        (["10.0.0.1"], Code.DEST_PRIVATE),
        (["127.0.0.1"], Code.DEST_LOOPBACK),
        (["1.1.1.1", "10.0.0.1"], Code.MIXED_ANSWER),
        (["10.0.0.1", "1.1.1.1"], Code.MIXED_ANSWER),
        (["1.1.1.1", "fd00::1"], Code.MIXED_ANSWER),
        (["1.1.1.1", "169.254.169.254"], Code.MIXED_ANSWER),
        (["169.254.169.254", "10.0.0.1"], Code.DEST_METADATA),
        (["64:ff9b::1.1.1.1"], Code.NAT64),
        (["nonsense"], Code.DEST_RESERVED),
    ],
)
def test_an_answer_is_allowed_as_a_whole(answers, expected):
    assert code(vet(host(API), 443, answers, [])) is expected


def test_allowed_answers_keep_their_order():
    answers = ["9.9.9.9", "2606:4700:0::1", "1.1.1.1", "9.9.9.9"]
    assert vet(host(API), 443, answers, []) == ("9.9.9.9", "2606:4700::1", "1.1.1.1")


def test_an_address_is_its_only_answer():
    assert vet(host("1.1.1.1"), 443, ["1.1.1.1"], []) == ("1.1.1.1",)
    assert vet(host("[2606:4700:0::1]"), 443, ["2606:4700::1"], []) == ("2606:4700::1",)
    assert code(vet(host("1.1.1.1"), 443, ["1.1.1.2"], [])) is Code.DNS_ERROR
    assert code(vet(host("127.0.0.1"), 443, ["127.0.0.1"], [])) is Code.DEST_LOOPBACK


RULE = AllowPrivate(API, "10.1.0.0/16", 8443)


@pytest.mark.parametrize(
    ("name", "port", "answers", "expected"),
    [
        (API, 8443, ["10.1.2.3"], None),
        (API, 8443, ["10.1.2.3", "1.1.1.1"], None),
        (API, 443, ["10.1.2.3"], Code.DEST_PRIVATE),
        ("b.example", 8443, ["10.1.2.3"], Code.DEST_PRIVATE),
        (API, 8443, ["10.2.2.3"], Code.DEST_PRIVATE),
        (API, 8443, ["10.1.2.3", "10.2.2.3"], Code.MIXED_ANSWER),
        (API, 8443, ["::ffff:10.1.2.3"], Code.EMBEDDED_V4),
    ],
)
def test_a_rule_opens_host_network_and_port_together(name, port, answers, expected):
    result = vet(host(name), port, answers, [RULE])
    assert result == tuple(answers) if expected is None else code(result) is expected


@pytest.mark.parametrize("network", ["0.0.0.0/0", "169.254.169.254/32", "::/0", "::ffff:0:0/96"])
@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"]
)
def test_no_rule_opens_metadata_in_any_disguise(network, address):
    assert isinstance(vet(host(API), 80, [address], [AllowPrivate(API, network, 80)]), Refusal)


def test_a_rule_may_open_nat64_for_public_addresses():
    rules = [AllowPrivate(API, "64:ff9b::/96", 443)]
    assert vet(host(API), 443, ["64:ff9b::101:101"], rules) == ("64:ff9b::101:101",)


@given(st.lists(st.ip_addresses().map(str), max_size=4))
def test_without_rules_only_public_answers_pass(answers):
    result = vet(host(API), 443, answers, [])
    passes = bool(answers) and all(classify(answer) is C.PUBLIC for answer in answers)
    assert isinstance(result, tuple) == passes


@pytest.mark.parametrize(
    ("network", "port"), [("10.0.0.1/8", 80), ("x", 80), ("10.0.0.0/8", 0), ("::/0", 65536)]
)
def test_a_rule_that_says_nothing_clear_is_no_rule(network, port):
    with pytest.raises(ValueError, match=r".+"):
        AllowPrivate(API, network, port)
    assert parse_port(str(port).encode()) in (port, None)
