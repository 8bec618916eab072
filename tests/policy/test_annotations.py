"""Annotations: what they say, and every way to get one wrong."""

import pytest

from proxy.policy.annotations import FRAMING, Notes, parse_annotations
from proxy.policy.obligation import NO_OBLIGATIONS, Obligations


def parse(effect="permit", **texts):
    return parse_annotations({"id": "a", **texts}, effect)


def test_a_name_alone_is_enough():
    assert parse() == Notes("a", "", "", "", NO_OBLIGATIONS)
    assert parse().obligations is NO_OBLIGATIONS


def test_words_are_kept():
    notes = parse("forbid", reason="No.", owner="team@example.org", advice="Ask a person.")
    assert notes == Notes("a", "No.", "team@example.org", "Ask a person.", NO_OBLIGATIONS)


def test_obligations_are_read():
    notes = parse(
        drop_headers="cookie, X-Debug",
        redact_headers="x-user",
        drop_fields="/user/email, /messages/*/name",
        redact_fields="/a~1b",
        max_response="1MiB",
        require="interception",
    )
    assert notes.obligations == Obligations(
        frozenset({"cookie", "x-debug"}), frozenset({"x-user"}),
        frozenset({"/user/email", "/messages/*/name"}), frozenset({"/a~1b"}), 1 << 20, interception=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "octets"), [("1", 1), ("7B", 7), ("64KiB", 65_536), ("2MiB", 2 << 20), ("1GiB", 1 << 30)]
)
def test_sizes(text, octets):
    assert parse(max_response=text).obligations.max_response == octets


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"id": ""}, "a policy needs a name"),
        ({"id": "a b"}, "letters, digits"),
        ({"reason": "a\nb"}, "@reason is one line"),
        ({"advice": "x" * 501}, "@advice is one line"),
        ({"drop_header": "cookie"}, "@drop_header is not known; did you mean @drop_headers?"),
        ({"zzz": ""}, "@zzz is not known; known are id, reason"),
        ({"drop_headers": ""}, "@drop_headers: a list separated by commas"),
        ({"drop_headers": "a,,b"}, "without empty members"),
        ({"drop_headers": "a b"}, "is not the name of a header"),
        ({"drop_fields": "email"}, "@drop_fields: 'email' is not a JSON Pointer"),
        ({"redact_fields": "/a~2"}, "a tilde is written ~0"),
        ({"max_response": "0"}, "@max_response: a size such as"),
        ({"max_response": "1MB"}, "a size such as"),
        ({"max_response": "1 MiB"}, "a size such as"),
        ({"require": "tls"}, '"interception"'),
    ],
)
def test_what_is_wrong_is_said(texts, words):
    assert words in parse(**texts)


@pytest.mark.parametrize("name", sorted(FRAMING))
def test_what_the_message_needs_cannot_be_changed(name):
    assert f"{name} is needed" in parse(drop_headers=f"x-a, {name.title()}")
    assert f"{name} is needed" in parse(redact_headers=name)


@pytest.mark.parametrize("name", ["drop_headers", "redact_fields", "max_response", "require"])
def test_a_forbid_obliges_to_nothing(name):
    assert f"@{name} stands at a forbid" in parse("forbid", **{name: "x"})
