"""The grammar of fields, against its definition octet by octet."""

import pytest

from proxy.http.field import TOKEN, VALUE, fault

TCHAR = b"!#$%&'*+-.^_`|~" + bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123))


@pytest.mark.parametrize("octet", range(256))
def test_every_octet(octet):
    one = bytes([octet])
    assert bool(TOKEN.fullmatch(one)) == (octet in TCHAR)
    visible = 0x21 <= octet <= 0x7E or octet >= 0x80
    assert bool(VALUE.fullmatch(one)) == visible
    assert bool(VALUE.fullmatch(b"a" + one + b"a")) == (visible or one in (b" ", b"\t"))


def test_fault_says_what_but_never_quotes_a_value():
    assert fault(((b"A", b"secret"),), 1, 7) is None
    assert fault(((b"A", b"secret"),), 1, 6) == (True, "a header field is longer than 6 octets")
    assert fault(((b"A", b"b"),) * 2, 1, 9) == (True, "more than 1 header fields")
    for header in ((b"A", b"secret\n"), (b"secret\n", b"A")):
        found = fault((header,), 1, 99)
        assert found is not None
        assert not found[0]
        assert "secret" not in found[1]
