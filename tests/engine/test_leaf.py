"""Minted leaves: their own key, their own host, a day at most, accepted by strict clients."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.leaf import Leaf, Mint
from proxy.errors import Code, Refusal
from proxy.store import authority

NOW = datetime(2027, 3, 1, 12, 0, 0, 999, tzinfo=UTC)
CA_KEY = ec.generate_private_key(ec.SECP256R1())
CA_CERT = x509.load_pem_x509_certificate(authority.certificate(CA_KEY, NOW, 1))
MINT = Mint(CA_KEY, CA_CERT, may_sign=lambda name: "forbidden" not in name)


def mint(name: str = "api.example.com", *, is_ip: bool = False, now: datetime = NOW, serial: int = 7) -> Leaf:
    leaf = MINT.leaf(name, is_ip, now=now, serial=serial)
    assert isinstance(leaf, Leaf)
    return leaf


def cert_of(leaf: Leaf) -> x509.Certificate:
    (cert,) = x509.load_pem_x509_certificates(leaf.cert_chain_pem)
    return cert


def extension(cert, kind):
    return cert.extensions.get_extension_for_class(kind)


def test_the_key_is_the_leaf_s_own():
    leaf, other = mint(), mint("other.example.com")
    key = load_pem_private_key(leaf.key_pem, None)
    assert isinstance(key.curve, ec.SECP256R1)
    public = [cert_of(each).public_key() for each in (leaf, other)]
    assert key.public_key() == public[0]
    assert public[0] != public[1]
    assert CA_KEY.public_key() not in public
    assert mint().key_pem != leaf.key_pem


def test_it_lives_a_day_at_most_and_starts_an_hour_ago():
    leaf = mint()
    cert = cert_of(leaf)
    assert cert.not_valid_before_utc == leaf.not_before == NOW.replace(microsecond=0) - timedelta(hours=1)
    assert cert.not_valid_after_utc == leaf.not_after
    # Both ends belong to the validity (RFC 5280, section 4.1.2.5).
    assert leaf.not_after - leaf.not_before + timedelta(seconds=1) == timedelta(hours=24)


def test_it_does_not_outlive_the_ca():
    late = CA_CERT.not_valid_after_utc - timedelta(hours=2)
    assert cert_of(mint(now=late)).not_valid_after_utc == CA_CERT.not_valid_after_utc


def test_it_says_one_name_and_that_it_is_a_server():
    cert = cert_of(mint())
    san = extension(cert, x509.SubjectAlternativeName)
    assert san.critical  # as the subject is empty
    assert not list(cert.subject)
    assert list(san.value) == [x509.DNSName("api.example.com")]
    assert list(extension(cert, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extension(cert, x509.BasicConstraints).value.ca
    usage = extension(cert, x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert cert.serial_number == 7


@pytest.mark.parametrize("address", ["127.0.0.1", "2001:db8::1"])
def test_an_address_is_an_address_and_not_a_name(address):
    cert = cert_of(mint(address, is_ip=True))
    assert list(extension(cert, x509.SubjectAlternativeName).value) == [x509.IPAddress(ip_address(address))]


def test_its_key_identifiers_chain_to_the_ca():
    cert = cert_of(mint())
    ski = extension(CA_CERT, x509.SubjectKeyIdentifier).value
    assert extension(cert, x509.AuthorityKeyIdentifier).value.key_identifier == ski.digest
    assert extension(cert, x509.SubjectKeyIdentifier).value.digest != ski.digest
    cert.verify_directly_issued_by(CA_CERT)


def test_a_name_that_no_rule_could_allow_is_not_signed():
    for is_ip in (False, True):
        refusal = MINT.leaf("forbidden.example.com", is_ip, now=NOW, serial=7)
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.DEFAULT_DENY


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(st.lists(labels, min_size=1, max_size=11).map(".".join), st.integers(1, 2**159 - 1))
def test_any_canonical_name_is_signed_as_it_is(name, serial):
    cert = cert_of(mint(name, serial=serial))
    assert list(extension(cert, x509.SubjectAlternativeName).value) == [x509.DNSName(name)]
    assert cert.serial_number == serial
