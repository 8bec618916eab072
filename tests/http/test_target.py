"""Everything that names an origin names the same one, and the canonical target is what is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.host import Host, Origin, parse_host
from proxy.http.path import Note
from proxy.http.target import Target, parse_connect, parse_target, query_pairs


def host(raw: bytes) -> Host:
    parsed = parse_host(raw)
    assert isinstance(parsed, Host), parsed
    return parsed


TUNNEL = Origin("https", host(b"api.example"), 443)


def plain(raw: bytes, *hosts: bytes, method: str = "GET", version: str = "1.1") -> Target | Refusal:
    return parse_target(method, raw, tunnel=None, hosts=hosts, version=version)


def inside(raw: bytes, *hosts: bytes, method: str = "GET", tunnel: Origin = TUNNEL) -> Target | Refusal:
    return parse_target(method, raw, tunnel=tunnel, hosts=hosts or (b"api.example",), version="1.1")


def target(result: Target | Refusal) -> Target:
    assert isinstance(result, Target), result
    return result


def code(result: object) -> Code:
    assert isinstance(result, Refusal), result
    return result.code


@pytest.mark.parametrize(
    ("raw", "name", "canonical"),
    [
        (b"http://a.example/x?y=1", b"a.example", "http://a.example/x?y=1"),
        (b"http://a.example", b"a.example", "http://a.example/"),
        (b"http://a.example?q", b"a.example", "http://a.example/?q"),
        (b"http://a.example/?", b"a.example:80", "http://a.example/?"),
        (b"HTTP://A.Example.:80/%7e", b"a.example", "http://a.example/~"),
        (b"https://a.example:8443/", b"a.example:8443", "https://a.example:8443/"),
        (b"http://[2606:4700:0::1]:81/", b"[2606:4700::1]:81", "http://[2606:4700::1]:81/"),
        (
            b"http://a.example/http://b/?u=http://c@d/\\",
            b"a.example",
            "http://a.example/http://b/?u=http://c@d/\\",
        ),
    ],
)
def test_absolute_form(raw, name, canonical):
    assert str(target(plain(raw, name))) == canonical


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", Code.TARGET_MALFORMED),
        (b"/", Code.TARGET_MALFORMED),
        (b"*", Code.TARGET_MALFORMED),
        (b"a.example", Code.TARGET_MALFORMED),
        (b"a.example:80", Code.TARGET_MALFORMED),
        (b"http:/a.example/", Code.TARGET_MALFORMED),
        (b"http:a.example", Code.TARGET_MALFORMED),
        (b"http:///x", Code.HOST_NONCANONICAL),
        (b"http://a.example:/", Code.TARGET_MALFORMED),
        (b"http://a.example:0/", Code.TARGET_MALFORMED),
        (b"http://user@a.example/", Code.TARGET_MALFORMED),
        (b"http://user:pw@a.example/", Code.TARGET_MALFORMED),
        (b"http://evil\\@a.example/", Code.TARGET_MALFORMED),
        (b"http://a.example\\@b/", Code.TARGET_MALFORMED),
        (b"http://a.example/#x", Code.TARGET_MALFORMED),
        (b"http://a.example/?q#x", Code.TARGET_MALFORMED),
        (b"http://a.example/a b", Code.TARGET_MALFORMED),
        (b"http://a.example/?a b", Code.TARGET_MALFORMED),
        (b"http://a.example/\xc3\xa9", Code.TARGET_MALFORMED),
        (b"http://a.example/?\xc3\xa9", Code.TARGET_MALFORMED),
        (b"http://a.example/\r\nX: y", Code.TARGET_MALFORMED),
        (b"http://2130706433/", Code.HOST_NONCANONICAL),
        (b"http://[a.example]/", Code.HOST_NONCANONICAL),
        (b"http://a%2eexample/", Code.HOST_NONCANONICAL),
        (b"ftp://a.example/", Code.SCHEME_UNSUPPORTED),
        (b"file:///etc/passwd", Code.SCHEME_UNSUPPORTED),
        (b"unix:/run/x.sock", Code.SCHEME_UNSUPPORTED),
        (b"gopher://a.example:70/", Code.SCHEME_UNSUPPORTED),
        (b"ws://a.example/", Code.SCHEME_UNSUPPORTED),
        (b"javascript:x", Code.SCHEME_UNSUPPORTED),
    ],
)
def test_refuses_targets_on_a_proxy_connection(raw, expected):
    assert code(plain(raw, b"a.example")) is expected


def test_a_path_without_a_tunnel_is_told_that_this_is_a_proxy():
    refusal = plain(b"/v1", b"127.0.0.1:8470")
    assert isinstance(refusal, Refusal)
    assert "this is a proxy" in refusal.detail


@pytest.mark.parametrize(
    ("hosts", "version", "expected"),
    [
        ((), "1.1", Code.MALFORMED),
        ((b"a.example", b"a.example"), "1.1", Code.MALFORMED),
        ((b"a.example", b"b.example"), "1.0", Code.MALFORMED),
        ((b"b.example",), "1.1", Code.AUTHORITY_MISMATCH),
        ((b"b.example",), "1.0", Code.AUTHORITY_MISMATCH),
        ((b"a.example:8080",), "1.1", Code.AUTHORITY_MISMATCH),
        ((b"a.example:443",), "1.1", Code.AUTHORITY_MISMATCH),
        ((b"u@a.example",), "1.1", Code.TARGET_MALFORMED),
        ((b"a.example/x",), "1.1", Code.HOST_NONCANONICAL),
        ((b"a.example, b.example",), "1.1", Code.HOST_NONCANONICAL),
        ((b"",), "1.1", Code.HOST_NONCANONICAL),
    ],
)
def test_host_header_names_the_target(hosts, version, expected):
    assert code(plain(b"http://a.example/", *hosts, version=version)) is expected


def test_http_1_0_needs_no_host():
    assert target(plain(b"http://a.example/x", version="1.0")).request_target == b"/x"


def test_inside_a_tunnel():
    assert str(target(inside(b"/v1?x"))) == "https://api.example/v1?x"
    assert str(target(inside(b"/v1", b"API.example.:443"))) == "https://api.example/v1"
    assert target(inside(b"https://api.example:443/v1?")).request_target == b"/v1?"
    assert target(inside(b"//evil.example/x")).origin == TUNNEL
    other = Origin("https", host(b"api.example"), 8443)
    assert str(target(inside(b"/", b"api.example:8443", tunnel=other))) == "https://api.example:8443/"


@pytest.mark.parametrize(
    ("raw", "name", "expected"),
    [
        (b"/", b"b.example", Code.AUTHORITY_MISMATCH),
        (b"/", b"api.example:80", Code.AUTHORITY_MISMATCH),
        (b"https://b.example/", b"b.example", Code.AUTHORITY_MISMATCH),
        (b"https://b.example/", b"api.example", Code.AUTHORITY_MISMATCH),
        (b"http://api.example/", b"api.example", Code.AUTHORITY_MISMATCH),
        (b"https://api.example:8443/", b"api.example:8443", Code.AUTHORITY_MISMATCH),
        (b"/a%2fb", b"api.example", Code.TARGET_MALFORMED),
        (b"*", b"api.example", Code.TARGET_MALFORMED),
        (b"api.example:443", b"api.example", Code.TARGET_MALFORMED),
    ],
)
def test_a_tunnel_leads_to_one_origin(raw, name, expected):
    assert code(inside(raw, name)) is expected


def test_the_whole_server_is_for_options_only():
    whole = target(inside(b"*", method="OPTIONS"))
    assert (whole.path.text, whole.request_target, whole.query) == ("*", b"*", None)
    assert target(plain(b"http://a.example", b"a.example", method="OPTIONS")).request_target == b"*"
    assert target(plain(b"http://a.example/", b"a.example", method="OPTIONS")).request_target == b"/"
    assert target(plain(b"http://a.example?", b"a.example", method="OPTIONS")).request_target == b"/?"


def test_an_encoded_slash_passes_where_it_is_declared():
    raw = b"/@types%2fnode"
    result = parse_target(
        "GET", raw, tunnel=TUNNEL, hosts=[b"api.example"], version="1.1", encoded_slash=True
    )
    assert target(result).request_target == b"/@types%2Fnode"


def test_notes_tell_what_was_normalised():
    assert target(inside(b"/v1?%7e")).notes == ()
    assert target(plain(b"HTTP://A.example:80", b"a.example")).notes == (
        Note("scheme_case", "HTTP", "http"),
        Note("host", "A.example", "a.example"),
        Note("default_port", ":80", ""),
        Note("path_empty", "", "/"),
    )
    assert [note.rule for note in target(inside(b"/a/../%62")).notes] == ["path_percent", "path_dot_segments"]


AUTHORITY = st.tuples(
    st.sampled_from(["a.example", "A.EXAMPLE.", "8.8.8.8", "[2606:4700::1]", "[::FFFF:1.2.3.4]"]),
    st.sampled_from(["", ":80", ":443", ":8080"]),
).map("".join)
REST = st.text(alphabet="/.%2eEfFab~?=&;|\\", max_size=14)


@given(st.sampled_from(["http", "HTTPS"]), AUTHORITY, REST)
def test_what_is_printed_is_read_as_the_same_target(scheme, authority, rest):
    first = plain(f"{scheme}://{authority}/{rest}".encode(), authority.encode())
    if isinstance(first, Refusal):
        return
    again = target(plain(str(first).encode(), first.origin.authority.encode()))
    assert (again.origin, again.path, again.query, again.notes) == (first.origin, first.path, first.query, ())
    tunnelled = target(inside(first.request_target, first.origin.authority.encode(), tunnel=first.origin))
    assert tunnelled == again


@given(st.binary(max_size=24), st.binary(max_size=12), st.booleans())
def test_any_octets_get_an_answer(raw, name, tunnelled):
    result = parse_target("GET", raw, tunnel=TUNNEL if tunnelled else None, hosts=[name], version="1.1")
    assert isinstance(result, Target | Refusal)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"a.example", Code.TARGET_MALFORMED),
        (b"a.example:", Code.TARGET_MALFORMED),
        (b"a.example:0", Code.TARGET_MALFORMED),
        (b"/x", Code.TARGET_MALFORMED),
        (b"/x:443", Code.TARGET_MALFORMED),
        (b"https://a.example:443", Code.TARGET_MALFORMED),
        (b"u@a.example:443", Code.TARGET_MALFORMED),
        (b"a.example:443#x", Code.TARGET_MALFORMED),
        (b"a.example:443?", Code.TARGET_MALFORMED),
        (b":443", Code.HOST_NONCANONICAL),
        (b"127.1:443", Code.HOST_NONCANONICAL),
        (b"a b:443", Code.HOST_NONCANONICAL),
    ],
)
def test_refuses_connect(raw, expected):
    assert code(parse_connect(raw)) is expected


def test_connect():
    assert parse_connect(b"A.example:443") == (host(b"a.example"), 443)
    assert parse_connect(b"[::1]:8443", [b"[::1]"]) == (host(b"[::1]"), 8443)
    assert parse_connect(b"a.example:443", [b"A.Example:443"]) == (host(b"a.example"), 443)
    assert code(parse_connect(b"a.example:443", [b"b.example"])) is Code.AUTHORITY_MISMATCH
    assert code(parse_connect(b"a.example:443", [b"a.example:80"])) is Code.AUTHORITY_MISMATCH
    assert code(parse_connect(b"a.example:443", [b"a.example", b"a.example"])) is Code.MALFORMED
    assert code(parse_connect(b"a.example:443", [b"0x1"])) is Code.HOST_NONCANONICAL


def test_query_pairs():
    assert query_pairs(None) == ()
    assert query_pairs("") == ()
    assert query_pairs("a=1&b&&c=%26+x&a=") == (("a", "1"), ("b", ""), ("c", "& x"), ("a", ""))
    assert query_pairs("k%C3%A9y=%252e;x") == (("k\u00e9y", "%2e;x"),)
    for query in ("a=%", "a=%zz", "%ff=1", "a=%c0%ae"):
        assert code(query_pairs(query)) is Code.TARGET_MALFORMED
