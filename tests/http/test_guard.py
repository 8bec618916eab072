"""What a request head may say, and what of it leaves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.guard import METHODS, Guarded, guard_request, guard_trailers, with_host
from proxy.http.host import Host, Origin, parse_host
from proxy.http.message import Chunked, Header, Length, NoBody, RequestHead

HOST: Header = (b"Host", b"a.example")


def head(*headers: Header, method: str = "POST", version: str = "1.1") -> RequestHead:
    return RequestHead(method, b"/", version, (HOST, *headers))


def passed(*headers: Header, method: str = "POST", version: str = "1.1") -> Guarded:
    result = guard_request(head(*headers, method=method, version=version))
    assert isinstance(result, Guarded), result
    return result


def refused(*headers: Header, method: str = "POST", version: str = "1.1") -> Code:
    result = guard_request(head(*headers, method=method, version=version))
    assert isinstance(result, Refusal), result
    return result.code


@pytest.mark.parametrize("method", ["TRACE", "get", "PRI", "QUERY", "PROPFIND", "", "GET "])
def test_methods_are_a_closed_list(method):
    assert refused(method=method) is Code.METHOD_UNSUPPORTED


def test_every_listed_method_passes():
    assert all(passed(method=method).framing == NoBody() for method in METHODS)


@pytest.mark.parametrize("version", ["0.9", "1.2", "2.0", "2", ""])
def test_versions_are_1_0_and_1_1(version):
    assert refused(version=version) is Code.MALFORMED


@pytest.mark.parametrize(
    "name", [b"", b"a b", b"a:", b"a\x00", b"a\r\n", b" a", b"a ", "é".encode(), b"a(b", b'"']
)
def test_names_are_tokens(name):
    assert refused((name, b"x")) is Code.MALFORMED


@pytest.mark.parametrize(
    "value", [b" x", b"x ", b"\tx", b"x\t", b"a\r\nb", b"a\nb", b"a\rb", b"a\x00b", b"a\x0bb", b"\x7f", b" "]
)
def test_values_have_no_controls_and_no_edges(value):
    assert refused((b"X-A", value)) is Code.MALFORMED


def test_other_values_pass_untouched():
    odd = ((b"x-Empty", b""), (b"X-Utf8", "é".encode()), (b"X-Tab", b"a\tb"), (b"x-empty", b"second"))
    assert passed(*odd).forward == (HOST, *odd)


def test_limits_are_arguments():
    many = head(*[(b"X-%d" % number, b"1") for number in range(5)])
    assert isinstance(guard_request(many, max_headers=6), Guarded)
    assert guard_request(many, max_headers=5) == Refusal(Code.HEAD_TOO_LARGE, "more than 5 header fields")
    long = head((b"X-Long", b"1" * 20))
    assert isinstance(guard_request(long, max_line=26), Guarded)
    refusal = guard_request(long, max_line=25)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.HEAD_TOO_LARGE


@pytest.mark.parametrize(
    "headers",
    [
        ((b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")),
        ((b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5")),
        ((b"Content-Length", b"5"), (b"content-length", b"5")),
        *[
            ((b"Content-Length", v),)
            for v in (b"5, 5", b"+5", b"-5", b"0x5", b"", b"5 5", b"9" * 19, b"1_0", b"\xb2")
        ],
        *[
            ((b"Transfer-Encoding", v),)
            for v in (
                b"chunked, identity",
                b"gzip, chunked",
                b"identity",
                b"xchunked",
                b"chunked, chunked",
                b"",
            )
        ],
        ((b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")),
    ],
)
def test_framing_that_can_be_read_in_two_ways(headers):
    assert refused(*headers) is Code.MALFORMED


def test_framing():
    assert passed().framing == NoBody()
    assert passed((b"Content-Length", b"007")).framing == Length(7)
    assert passed((b"content-length", b"007")).forward == (HOST, (b"content-length", b"7"))
    assert passed((b"Transfer-Encoding", b"CHUNKED")).framing == Chunked()
    assert passed((b"transfer-Encoding", b"CHUNKED")).forward == (HOST, (b"transfer-Encoding", b"chunked"))
    assert refused((b"Transfer-Encoding", b"chunked"), version="1.0") is Code.MALFORMED


def test_connect_has_no_body():
    assert refused((b"Content-Length", b"1"), method="CONNECT") is Code.MALFORMED
    assert refused((b"Transfer-Encoding", b"chunked"), method="CONNECT") is Code.MALFORMED
    assert passed((b"Content-Length", b"0"), method="CONNECT").framing == Length(0)


@pytest.mark.parametrize(
    "option",
    [
        b"host",
        b"Content-Length",
        b"transfer-encoding",
        b"authorization",
        b"Proxy-Authorization",
        b"cookie",
        b"x-agent-id",
        b"via",
        b"X-Forwarded-For",
        b"content-type",
        b"proxy-x",
        b"Txn-Token",
        b"dpop",
        b"expect",
    ],
)
def test_connection_must_not_remove_what_was_decided_on(option):
    assert refused((b"Connection", b"close, " + option)) is Code.HEADER_FORBIDDEN


def test_connection_is_a_list_of_tokens():
    assert refused((b"Connection", b"a b")) is Code.MALFORMED


def test_hop_by_hop_fields_end_here():
    result = passed(
        (b"X-First", b"1"),
        (b"Connection", b"Keep-Alive, X-Hop, TE"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Proxy-Authorization", b"Basic eDp5"),
        (b"TE", b"trailers"),
        (b"x-hop", b"gone"),
        (b"X-Last", b"2"),
    )
    assert result.forward == (HOST, (b"X-First", b"1"), (b"X-Last", b"2"))
    assert result.stripped == ("x-hop",)


@pytest.mark.parametrize(
    "name",
    [
        b"Via",
        b"Forwarded",
        b"X-Forwarded-For",
        b"X-Forwarded-Host",
        b"X-Upstream-Https-Proxy",
        b"Txn-Token",
        b"Workload-Identity-Token",
        b"Workload-Proof-Token",
        b"Proxy-Foo",
        b"X-Real-IP",
        b"X-Original-URL",
        b"X_Forwarded_For",
        b"X-Forwarded_Host",
        b"Proxy_Foo",
        b"X_Real-IP",
    ],
)
def test_claims_of_an_agent_are_stripped_and_recorded(name):
    result = passed((name, b"x"))
    assert result.forward == (HOST,)
    assert result.stripped == (name.decode().lower(),)


@pytest.mark.parametrize("name", [b"Authorization", b"Content-Type", b"Proxy-Authorization", b"Expect"])
def test_fields_that_steer_come_once(name):
    assert refused((name, b"100-continue"), (name.lower(), b"100-continue")) is Code.HEADER_FORBIDDEN


def test_no_header_asks_for_another_method():
    assert refused((b"X-HTTP-Method-Override", b"DELETE")) is Code.HEADER_FORBIDDEN
    assert refused((b"X-Method-Override", b"POST"), (b"X-Method-Override", b"PUT")) is Code.HEADER_FORBIDDEN
    assert passed((b"X-HTTP-Method-Override", b"post")).stripped == ()
    for name in (b"X_HTTP_Method_Override", b"x-http_method-override", b"X_Method_Override"):
        assert refused((name, b"DELETE")) is Code.HEADER_FORBIDDEN  # behind CGI or WSGI it is the same


def test_keep_alive():
    assert passed().keep_alive
    assert not passed((b"Connection", b"Close")).keep_alive
    assert not passed(version="1.0").keep_alive
    assert passed((b"Connection", b"keep-alive"), version="1.0").keep_alive
    assert not passed((b"Connection", b"keep-alive, close"), version="1.0").keep_alive


def test_expect():
    waits = passed((b"Expect", b"100-Continue"), (b"Content-Length", b"5"))
    assert waits.expect_continue
    assert waits.forward == (HOST, (b"Content-Length", b"5"))
    assert not passed((b"Expect", b"100-continue")).expect_continue
    assert not passed((b"Expect", b"100-continue"), (b"Content-Length", b"5"), version="1.0").expect_continue
    assert refused((b"Expect", b"202-accepted"), (b"Content-Length", b"5")) is Code.HEADER_FORBIDDEN


def test_upgrade_to_websocket_keeps_its_two_fields_in_place():
    result = passed(
        (b"upgrade", b"WebSocket"),
        (b"Sec-WebSocket-Key", b"k"),
        (b"connection", b"keep-alive, Upgrade"),
        method="GET",
    )
    assert result.upgrade == "websocket"
    assert result.forward == (
        HOST,
        (b"upgrade", b"websocket"),
        (b"Sec-WebSocket-Key", b"k"),
        (b"connection", b"Upgrade"),
    )
    assert result.stripped == ()


def test_h2c_is_stripped():
    fields = (
        (b"Connection", b"Upgrade, HTTP2-Settings"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"AAMAAABk"),
    )
    result = passed(*fields, method="GET")
    assert (result.upgrade, result.forward, result.stripped) == ("", (HOST,), ("upgrade",))
    both = passed((b"Connection", b"upgrade"), (b"Upgrade", b"h2c, websocket"), method="GET")
    assert both.upgrade == "websocket"
    assert both.forward == (HOST, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_upgrade_without_its_connection_option_or_in_1_0_is_stripped(version):
    connection = () if version == "1.1" else ((b"Connection", b"upgrade"),)
    result = passed(*connection, (b"Upgrade", b"TLS/1.0"), method="GET", version=version)
    assert (result.upgrade, result.forward, result.stripped) == ("", (HOST,), ("upgrade",))


@pytest.mark.parametrize("protocols", [b"TLS/1.0", b"h2", b"websocket, foo", b"websocket, websocket"])
def test_other_upgrades(protocols):
    fields = ((b"Connection", b"upgrade"), (b"Upgrade", protocols))
    assert refused(*fields, method="GET") is Code.UPGRADE_UNSUPPORTED


def test_a_websocket_starts_with_a_get_without_body():
    fields = ((b"Connection", b"upgrade"), (b"Upgrade", b"websocket"))
    assert refused(*fields, method="POST") is Code.UPGRADE_UNSUPPORTED
    assert refused(*fields, (b"Content-Length", b"1"), method="GET") is Code.UPGRADE_UNSUPPORTED
    assert refused(*fields, (b"Transfer-Encoding", b"chunked"), method="GET") is Code.UPGRADE_UNSUPPORTED
    assert passed(*fields, (b"Content-Length", b"0"), method="GET").upgrade == "websocket"
    assert passed(*fields, method="CONNECT").upgrade == ""


def test_host_is_written_in_place():
    name = parse_host(b"a.example")
    assert isinstance(name, Host)
    origin = Origin("https", name, 8443)
    before = ((b"X", b"1"), (b"HOST", b"A.EXAMPLE:8443"), (b"Y", b"2"))
    assert with_host(before, origin) == ((b"X", b"1"), (b"HOST", b"a.example:8443"), (b"Y", b"2"))
    assert with_host(((b"X", b"1"),), origin) == ((b"Host", b"a.example:8443"), (b"X", b"1"))


def test_trailers_that_steer_are_dropped():
    trailers = (
        (b"X-Checksum", b"1"),
        (b"Authorization", b"Bearer x"),
        (b"HOST", b"b.example"),
        (b"Content-Length", b"5"),
        (b"X-Forwarded-For", b"::1"),
        (b"Proxy-Thing", b"x"),
        (b"grpc-status", b"0"),
    )
    result = guard_trailers(trailers)
    assert not isinstance(result, Refusal)
    keep, dropped = result
    assert keep == ((b"X-Checksum", b"1"), (b"grpc-status", b"0"))
    assert dropped == ("authorization", "host", "content-length", "x-forwarded-for", "proxy-thing")


@pytest.mark.parametrize("trailer", [(b"", b"x"), (b"a b", b"x"), (b"X", b"a\nb")])
def test_a_trailer_is_a_field(trailer):
    refusal = guard_trailers((trailer,))
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.MALFORMED


NAMES = st.sampled_from(
    [
        b"Connection",
        b"Transfer-Encoding",
        b"Content-Length",
        b"Upgrade",
        b"Via",
        b"X-A",
        b"Expect",
        b"TE",
        b"x-b",
    ]
)
VALUES = st.sampled_from(
    [b"chunked", b"5", b"close", b"upgrade", b"websocket", b"x-a", b"te", b"100-continue", b""]
)


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple),
    st.sampled_from(["GET", "POST", "CONNECT"]),
    st.sampled_from(["1.0", "1.1"]),
)
def test_what_is_forwarded_passes_again_unchanged(headers, method, version):
    first = guard_request(head(*headers, method=method, version=version))
    if isinstance(first, Refusal):
        return
    again = guard_request(RequestHead(method, b"/", version, first.forward))
    assert isinstance(again, Guarded)
    assert (again.framing, again.upgrade, again.forward) == (first.framing, first.upgrade, first.forward)
    assert again.stripped == ()
    kept = [name for name, _ in first.forward]
    order = iter([b"Host", *(name for name, _ in headers)])
    assert all(name in order for name in kept)


@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), max_size=4).map(tuple))
def test_any_octets_get_an_answer(headers):
    assert isinstance(guard_request(head(*headers)), Guarded | Refusal)
