"""Every path has one spelling, and reading it again changes nothing."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import Code, Refusal
from proxy.http.path import ASTERISK, ROOT, CanonicalPath, Note, canonical_path, parse_path

PIECES = st.sampled_from(
    [
        "/",
        "/",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%2F",
        "%5c",
        "%25",
        "%41",
        "%7e",
        "%c3%a9",
        "%C0%AE",
        "%00",
        "a",
        "B",
        ";",
        "x=1",
        "~",
        "-",
        "_",
        "%",
        "2",
        "e",
        "|",
        '"',
        "{",
        "\\",
        "?",
        "#",
        " ",
        "%e2%82%ac",
        "%0a",
    ]
)
PATHISH = st.lists(PIECES, max_size=12).map(lambda parts: ("/" + "".join(parts)).encode())


def text(raw: bytes, *, encoded_slash: bool = False) -> str:
    path = parse_path(raw, encoded_slash=encoded_slash)
    assert isinstance(path, CanonicalPath), path
    return path.text


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"/", "/"),
        (b"/v1/chat/completions", "/v1/chat/completions"),
        (b"/.well-known/x", "/.well-known/x"),
        (b"/a/../admin", "/admin"),
        (b"/a/%2e%2e/admin", "/admin"),
        (b"/a/%2E./admin", "/admin"),
        (b"/../../x", "/x"),
        (b"/a/.", "/a/"),
        (b"/a/..", "/"),
        (b"/a/./b/", "/a/b/"),
        (b"/...", "/..."),
        (b"/a..b/.c", "/a..b/.c"),
        (b"//a//b", "//a//b"),
        (b"/a//../b", "/a/b"),
        (b"/%252e%252e/x", "/%252e%252e/x"),
        (b"/%7Euser/%41%2d", "/~user/A-"),
        (b"/caf%c3%a9", "/caf%C3%A9"),
        (b"/a;jsessionid=1/b", "/a;jsessionid=1/b"),
        (b"/a%3Bb", "/a%3Bb"),
        (b"/a|b[c]", "/a%7Cb%5Bc%5D"),
        (b"/a%20b%25", "/a%20b%25"),
        (b"/A/a", "/A/a"),
    ],
)
def test_canonical_form(raw, canonical):
    assert text(raw) == canonical


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"a", b"*", b"/a b", b"/a\tb", b"/a\x00", b"/\xc3\xa9", b"/a#b", b"/a?b", b"/a\x7f"),
        *(b"/a\\b", b"/a%5Cb", b"/a%5c..%5cb", b"/a%2Fb", b"/a%2f..%2fb"),
        *(b"/a%00", b"/a%0d%0aX:y", b"/a%0A", b"/a%1b", b"/a%7f"),
        *(b"/%c0%ae%c0%ae/x", b"/%c0%af", b"/%e0%80%af", b"/%ff", b"/%e9", b"/%ed%a0%80", b"/%c3"),
        *(b"/%", b"/%2", b"/%zz", b"/%%32e", b"/%2%35", b"/%u002e"),
        *(b"/..;/admin", b"/a/..;x=1/admin", b"/.;/x", b"/%2e%2e;a/x"),
    ],
)
def test_refuses_what_servers_read_in_two_ways(raw):
    refusal = parse_path(raw)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.TARGET_MALFORMED


def test_an_encoded_slash_passes_only_where_it_is_declared():
    assert text(b"/@types%2fnode", encoded_slash=True) == "/@types%2Fnode"
    for raw in (b"/a%2f..%2fadmin", b"/..%2Fx", b"/a%2F.;x/b", b"/a%5cb"):
        assert isinstance(parse_path(raw, encoded_slash=True), Refusal)


def test_notes_say_what_was_normalised():
    assert canonical_path(b"/plain/path") == (parse_path(b"/plain/path"), ())
    result = canonical_path(b"/%61/./b")
    assert not isinstance(result, Refusal)
    path, notes = result
    assert path.text == "/a/b"
    assert notes == (
        Note("path_percent", "/%61/./b", "/a/./b"),
        Note("path_dot_segments", "/a/./b", "/a/b"),
    )


@given(raw=PATHISH, encoded_slash=st.booleans())
@example(raw=b"/..//a", encoded_slash=False)
@example(raw=b"/%2E%2e/..", encoded_slash=False)
def test_reading_it_again_changes_nothing(raw, encoded_slash):
    path = parse_path(raw, encoded_slash=encoded_slash)
    if isinstance(path, CanonicalPath):
        again = canonical_path(path.text.encode("ascii"), encoded_slash=encoded_slash)
        assert again == (path, ())


@given(PATHISH, st.booleans())
def test_nothing_climbs_after_any_number_of_decodings_at_one_level(raw, encoded_slash):
    path = parse_path(raw, encoded_slash=encoded_slash)
    if isinstance(path, CanonicalPath):
        assert path.text.startswith("/")
        decoded = unquote_to_bytes(path.text).decode("utf-8")
        assert not {".", ".."} & {segment.partition(";")[0] for segment in decoded.split("/")}
        assert "\\" not in decoded
        assert not any(ord(char) < 32 for char in decoded)


@given(st.binary(max_size=12).map(lambda tail: b"/" + tail))
def test_any_octets_get_an_answer(raw):
    path = parse_path(raw)
    assert isinstance(path, Refusal) or path.text.isascii()


def test_a_path_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        CanonicalPath("/../x", object())
    assert (str(ROOT), str(ASTERISK)) == ("/", "*")
