"""The lists of field names hold together."""

from proxy.http.names import CLAIMS, HOP_BY_HOP, METHOD_OVERRIDES, NO_TRAILER, PROTECTED, is_claim


def test_names_are_in_lower_case():
    assert all(
        name == name.lower() for name in HOP_BY_HOP | CLAIMS | METHOD_OVERRIDES | PROTECTED | NO_TRAILER
    )


def test_what_must_not_be_removed_must_not_come_late():
    assert PROTECTED <= NO_TRAILER
    assert not PROTECTED & HOP_BY_HOP


def test_claims():
    assert is_claim(b"via")
    assert is_claim(b"proxy-anything")
    assert is_claim(b"x-forwarded-anything")
    assert is_claim(b"x_forwarded-anything")
    assert not is_claim(b"authorization")
    assert not is_claim(b"x-forwarded")
