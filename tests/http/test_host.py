"""Every host has one spelling; what a resolver would read as a number is not a host."""

import copy
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.host import Host, HostKind, Origin, ipv6_text, parse_authority, parse_host, parse_port

LABEL = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?", fullmatch=True)
HOSTISH = st.one_of(
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.text(alphabet="0123456789abcdefx.", max_size=18),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.text(max_size=12),
).map(lambda text: text.encode("utf-8", "replace"))


def host(raw: bytes) -> Host:
    parsed = parse_host(raw)
    assert isinstance(parsed, Host), parsed
    return parsed


@pytest.mark.parametrize(
    "raw",
    [
        # A2, A3: numbers that getaddrinfo is kind to
        *(b"2130706433", b"0x7f000001", b"0177.0.0.1", b"127.1", b"0", b"0x", b"1.2.3.0x4", b"169.254.43518"),
        *(b"example.1", b"1.2.3.4.5", b"256.1.1.1", b"01.2.3.4", b"1.2.3.4..", b"a.0x1f"),
        # A4: digits and letters of other scripts, raw or percent-encoded
        *(
            "\uff11\uff12\uff17.0.0.1".encode(),
            "\u2460.1.1.1".encode(),
            "p\u0430ypal.com".encode(),
            b"%31.2.3.4",
            b"b\xfccher.de",
        ),
        "example\u3002com".encode(),
        # A11, A28: zones and brackets
        *(b"[fe80::1%25eth0]", b"[fe80::1%eth0]", b"[example.com]", b"[127.0.0.1]", b"[::1", b"::1", b"[]"),
        *(b"[::1]x", b"[::ffff:1.2.3.04]", b"[1:2:3:4:5:6:7:8:9]", b"[:::]", b"[::1]."),
        # A30: lengths, empty labels, other characters
        *(b"", b".", b"..", b"a..b", b".a", b"a_b.c", b"_a.b", b"a.b_", b"-a.b", b"a-.b", b"a.b-"),
        *(b"a b", b"a\tb", b"a\x00b", b"a\nb", b"a/b", b"a@b", b"a:b", b"a\\b", b"*.a", b"a,b"),
        *(b"a" * 64 + b".com", b"a." * 126 + b"ab", b"a" * 254),
        # names that say they are A-labels and are not
        *(b"xn--foo-", b"xn--.com", b"xn--a-ecp.ru", b"a.xn--zzzzzz99999"),
    ],
)
def test_refuses_what_has_another_reading(raw):
    refusal = parse_host(raw)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.HOST_NONCANONICAL


@pytest.mark.parametrize(
    ("raw", "name", "kind"),
    [
        (b"example.com", "example.com", HostKind.NAME),
        (b"EXAMPLE.Com.", "example.com", HostKind.NAME),
        (b"localhost", "localhost", HostKind.NAME),
        (b"xn--bcher-kva.de", "xn--bcher-kva.de", HostKind.NAME),
        (b"XN--BCHER-KVA.de", "xn--bcher-kva.de", HostKind.NAME),
        (b"r3---sn-4g5e6nsz.example", "r3---sn-4g5e6nsz.example", HostKind.NAME),
        (b"1e100.net", "1e100.net", HostKind.NAME),
        (b"0xcafe.example", "0xcafe.example", HostKind.NAME),
        (b"a" * 63 + b".b", "a" * 63 + ".b", HostKind.NAME),
        (b"a." * 126 + b"a.", "a." * 126 + "a", HostKind.NAME),
        (b"169.254.169.254", "169.254.169.254", HostKind.IPV4),
        (b"169.254.169.254.", "169.254.169.254", HostKind.IPV4),
        (b"[::1]", "::1", HostKind.IPV6),
        (b"[2001:DB8:0:0:1:0:0:1]", "2001:db8::1:0:0:1", HostKind.IPV6),
        (b"[1:0:2:3:4:5:6:7]", "1:0:2:3:4:5:6:7", HostKind.IPV6),
        (b"[1:0:0:2:0:0:0:3]", "1:0:0:2::3", HostKind.IPV6),
        (b"[1:2:3:4:5:6:0:0]", "1:2:3:4:5:6::", HostKind.IPV6),
        (b"[::]", "::", HostKind.IPV6),
        (b"[::ffff:169.254.169.254]", "::ffff:a9fe:a9fe", HostKind.IPV6),
    ],
)
def test_reads_one_spelling(raw, name, kind):
    parsed = host(raw)
    assert (parsed.name, parsed.kind) == (name, kind)


@given(HOSTISH)
@example(b"0x7f.1")
@example(b"1.1")
def test_no_accepted_host_is_a_number_in_disguise(raw):
    parsed = parse_host(raw)
    if isinstance(parsed, Refusal):
        return
    try:
        found = socket.getaddrinfo(parsed.name, 1, flags=socket.AI_NUMERICHOST)
    except OSError:
        assert parsed.kind is HostKind.NAME
    else:
        assert parsed.kind is not HostKind.NAME
        read = {item[4][0] for item in found}
        assert {ipv6_text(int(IPv6Address(a))) if ":" in a else a for a in read} == {parsed.name}


@given(HOSTISH)
def test_printing_and_reading_again_changes_nothing(raw):
    parsed = parse_host(raw)
    if isinstance(parsed, Host):
        assert parse_host(str(parsed).encode()) == parsed
        assert parsed.name == parsed.name.lower()


@given(st.integers(0, 2**128 - 1) | st.integers(0, 2**24).map(lambda n: (n & 0xFFF) << 116 | n >> 12))
def test_ipv6_text_names_the_same_address(value):
    text = ipv6_text(value)
    assert int(IPv6Address(text)) == value
    if IPv6Address(text).ipv4_mapped is None:
        assert text == str(IPv6Address(value))


@given(st.ip_addresses(v=4))
def test_every_dotted_quad_is_itself(address: IPv4Address):
    assert host(str(address).encode()).name == str(address)


def test_a_host_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        Host("example.com", HostKind.NAME, object())
    assert copy.copy(host(b"example.com")) == host(b"example.com")


def test_an_origin_leaves_out_its_own_port():
    name, v6 = host(b"a.example"), host(b"[2606:4700::1111]")
    assert str(Origin("https", name, 443)) == "https://a.example"
    assert str(Origin("http", name, 443)) == "http://a.example:443"
    assert Origin("http", v6, 80).authority == "[2606:4700::1111]"
    assert Origin("https", v6, 8443).authority == "[2606:4700::1111]:8443"


@pytest.mark.parametrize(("scheme", "port"), [("ftp", 21), ("HTTPS", 443), ("https", 0), ("http", 65536)])
def test_there_is_no_other_origin(scheme, port):
    with pytest.raises(ValueError, match="no origin"):
        Origin(scheme, host(b"a.example"), port)


@pytest.mark.parametrize(
    "raw", [b"", b"0", b"080", b"65536", b"+80", b" 80", b"8_0", b"100000", "\uff18\uff10".encode()]
)
def test_refuses_ports(raw):
    assert parse_port(raw) is None
    refusal = parse_authority(b"a.example:" + raw)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.TARGET_MALFORMED


def test_reads_authorities():
    assert parse_authority(b"a.example:65535") == (host(b"a.example"), 65535)
    assert parse_authority(b"[::1]:80") == (host(b"[::1]"), 80)
    assert parse_authority(b"[::1]") == (host(b"[::1]"), None)
    user = parse_authority(b"user:pw@a.example")
    assert isinstance(user, Refusal)
    assert user.code is Code.TARGET_MALFORMED
    for raw in (b"[::1]x:80", b"::1:80", b"a:1:2"):
        assert isinstance(parse_authority(raw), Refusal)
