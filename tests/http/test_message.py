"""Looking up fields: any case of the name, values in order and untouched."""

from proxy.http.message import first, tokens, values

HEADERS = ((b"Accept", b"a, B"), (b"X", b"1"), (b"ACCEPT", b" ,c ,"), (b"accept", b""))


def test_values():
    assert values(HEADERS, b"accept") == [b"a, B", b" ,c ,", b""]
    assert values(HEADERS, b"y") == []


def test_first():
    assert first(HEADERS, b"accept") == b"a, B"
    assert first(HEADERS, b"y") is None


def test_tokens():
    assert tokens(HEADERS, b"accept") == [b"a", b"b", b"c"]
    assert tokens(HEADERS, b"y") == []
