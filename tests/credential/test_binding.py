import pytest

from proxy.credential.binding import BasicSurface, EitherHeader, HeaderSurface, QuerySurface


def test_a_format_has_two_sides():
    assert HeaderSurface().around == (b"Bearer ", b"")
    assert HeaderSurface("X-Key", "key={secret};v=1").around == (b"key=", b";v=1")


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("", "{secret}"), ("a b", "{secret}"), ("Host", "{secret}"), ("Proxy-Authorization", "{secret}"),
        ("Content-Length", "{secret}"), ("Cookie", "{secret}"), ("X", ""), ("X", "Bearer"),
        ("X", "{secret}{secret}"), ("X", " {secret}"), ("X", "{secret} "), ("X", "a\r\n{secret}"), ("X", "é{secret}"),
    ],
)  # fmt: skip
def test_a_header_that_cannot_carry_one_is_refused(header, form):
    with pytest.raises(ValueError, match=r"."):
        HeaderSurface(header, form)


@pytest.mark.parametrize(
    ("username", "where"), [("a:b", "password"), ("a\n", "password"), ("bot", "username")]
)
def test_a_user_name_that_cannot_be_sent_is_refused(username, where):
    with pytest.raises(ValueError, match="user name"):
        BasicSurface(username, where)


def test_a_query_parameter_has_a_name():
    assert QuerySurface("key").parameter == "key"
    with pytest.raises(ValueError, match="name"):
        QuerySurface("")


@pytest.mark.parametrize("headers", [(), (HeaderSurface(),), (HeaderSurface(), HeaderSurface())])
def test_a_choice_of_headers_is_one(headers):
    with pytest.raises(ValueError, match="at least two"):
        EitherHeader(headers)
