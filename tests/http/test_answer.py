"""What an answer may say, and what of it reaches the agent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.answer import GuardedResponse, guard_response
from proxy.http.message import Chunked, Header, Length, NoBody, ResponseHead, UntilClose


def head(*headers: Header, status: int = 200, version: str = "1.1", reason: bytes = b"OK") -> ResponseHead:
    return ResponseHead(status, reason, version, headers)


def passed(*headers: Header, method: str = "GET", upgrade: str = "", status: int = 200, version: str = "1.1"):
    result = guard_response(head(*headers, status=status, version=version), method, upgrade)
    assert isinstance(result, GuardedResponse), result
    return result


def refused(
    *headers: Header, method: str = "GET", upgrade: str = "", status: int = 200, version: str = "1.1"
):
    result = guard_response(head(*headers, status=status, version=version), method, upgrade)
    assert isinstance(result, Refusal), result
    return result.code is Code.UPSTREAM_PROTOCOL


CL, TE = (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")


@pytest.mark.parametrize(
    ("headers", "method", "status", "framing"),
    [
        ((CL,), "GET", 200, Length(5)),
        ((TE,), "GET", 200, Chunked()),
        ((), "GET", 200, UntilClose()),
        ((CL,), "HEAD", 200, NoBody()),
        ((TE,), "HEAD", 200, NoBody()),
        ((), "HEAD", 200, NoBody()),
        ((), "GET", 204, NoBody()),
        (((b"Content-Length", b"0"),), "GET", 204, NoBody()),
        ((CL,), "GET", 304, NoBody()),
        ((), "GET", 304, NoBody()),
        ((), "POST", 100, NoBody()),
        ((), "GET", 103, NoBody()),
        ((CL,), "GET", 500, Length(5)),
        (((b"Content-Length", b"0"),), "GET", 205, Length(0)),
    ],
)
def test_framing(headers, method, status, framing):
    assert passed(*headers, method=method, status=status).framing == framing


@pytest.mark.parametrize(
    ("headers", "status", "version"),
    [
        ((CL, TE), 200, "1.1"),
        ((TE, CL), 304, "1.1"),
        ((CL, (b"content-length", b"6")), 200, "1.1"),
        ((CL, CL), 200, "1.1"),
        (((b"Content-Length", b"5, 5"),), 200, "1.1"),
        (((b"Content-Length", b"+5"),), 200, "1.1"),
        (((b"Content-Length", b"-1"),), 304, "1.1"),
        (((b"Transfer-Encoding", b"chunked, gzip"),), 200, "1.1"),
        (((b"Transfer-Encoding", b"gzip, chunked"),), 200, "1.1"),
        (((b"Transfer-Encoding", b"identity"),), 200, "1.1"),
        ((TE, TE), 200, "1.1"),
        ((TE,), 200, "1.0"),
        ((CL,), 204, "1.1"),
        ((TE,), 204, "1.1"),
        ((CL,), 100, "1.1"),
        ((), 99, "1.1"),
        ((), 600, "1.1"),
        ((), 200, "2.0"),
        (((b"a b", b"x"),), 200, "1.1"),
        (((b"X", b"a\nb"),), 200, "1.1"),
        (((b"X", b"1" * 32768),), 200, "1.1"),
        (((b"X", b"1"),) * 201, 200, "1.1"),
    ],
)
def test_refuses_what_can_be_read_in_two_ways(headers, status, version):
    assert refused(*headers, status=status, version=version)


def test_order_and_case_stay_and_hop_by_hop_goes():
    result = passed(
        (b"date", b"now"),
        (b"Connection", b"keep-alive, X-Hop, content-length"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Alt-Svc", b'h3=":443"'),
        (b"Proxy-Authenticate", b"Basic"),
        (b"Upgrade", b"h2,h2c"),
        (b"X-Hop", b"1"),
        (b"CONTENT-length", b"005"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2 "),
    )
    assert result.forward == (
        (b"date", b"now"),
        (b"CONTENT-length", b"5"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
    )
    assert result.stripped == ("alt-svc", "proxy-authenticate")
    assert result.keep_alive


def test_framing_fields_stay_where_they_say_something():
    assert passed((b"transfer-ENCODING", b"Chunked")).forward == ((b"transfer-ENCODING", b"chunked"),)
    assert passed(CL, method="HEAD").forward == (CL,)
    assert passed(CL, status=304).forward == (CL,)
    assert passed(TE, method="HEAD").forward == ()
    assert passed((b"Content-Length", b"0"), status=204).forward == ()


def test_which_connections_are_used_again():
    assert passed(CL).keep_alive
    assert not passed(CL, (b"Connection", b"close")).keep_alive
    assert not passed(CL, version="1.0").keep_alive
    assert passed(CL, (b"Connection", b"Keep-Alive"), version="1.0").keep_alive
    assert not passed().keep_alive
    assert passed(status=204).keep_alive


SWITCH = (
    (b"upgrade", b"WebSocket"),
    (b"Connection", b"keep-alive, upgrade"),
    (b"Sec-WebSocket-Accept", b"x"),
)


def test_switching_protocols():
    result = passed(*SWITCH, (b"Connection", b"x"), status=101, upgrade="websocket")
    assert result.forward == (SWITCH[0], (b"Connection", b"Upgrade"), SWITCH[2])
    assert (result.framing, result.keep_alive) == (NoBody(), False)
    assert refused(*SWITCH, status=101)
    assert refused((b"Upgrade", b"h2c"), status=101, upgrade="websocket")
    assert refused(status=101, upgrade="websocket")
    assert refused(SWITCH[0], status=101, upgrade="websocket")
    assert passed(CL, *SWITCH[:2], status=200, upgrade="websocket").forward == (CL,)


def test_a_reason_phrase_that_is_not_printable_is_left_out():
    for reason, kept in ((b"Not Found", b"Not Found"), (b"", b""), (b"a\nb", b""), (b"\x1b[31m", b"")):
        result = guard_response(head(CL, reason=reason), "GET")
        assert isinstance(result, GuardedResponse)
        assert result.reason == kept


FIELDS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"Connection", b"Transfer-Encoding", b"Content-Length", b"Upgrade", b"X-A", b"Alt-Svc"]
        ),
        st.sampled_from([b"chunked", b"5", b"0", b"close", b"upgrade", b"websocket", b"x-a", b""]),
    ),
    max_size=5,
).map(tuple)


@given(FIELDS, st.sampled_from(["GET", "HEAD"]), st.sampled_from([100, 101, 200, 204, 304]))
def test_what_is_forwarded_passes_again_unchanged(headers, method, status):
    first = guard_response(head(*headers, status=status), method, "websocket")
    if isinstance(first, Refusal):
        return
    again = guard_response(head(*first.forward, status=status), method, "websocket")
    assert isinstance(again, GuardedResponse)
    assert (again.framing, again.forward, again.stripped) == (first.framing, first.forward, ())
