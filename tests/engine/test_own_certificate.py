"""What a TLS listener shows: from files, from our own CA, or as somebody pushes it."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from proxy.engine.own_certificate import Minted, Pushed, from_files, from_pem
from tests.engine.svids import Authority, House, pem, pem_key, pkcs8, shown


def test_our_own_ca_signs_one_certificate_for_all_names():
    house = House()
    leaf = house.own.current()
    certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(house.pem))
    assert from_pem(leaf.cert_chain_pem, leaf.key_pem) == leaf


@pytest.mark.parametrize("names", [(), ("elsewhere.test",), ("localhost", "elsewhere.test")])
def test_it_signs_for_no_other_name(names):
    house = House()
    with pytest.raises(ValueError, match="no certificate for"):
        Minted(house.mint, names, lambda: house.time, x509.random_serial_number)


def test_a_minted_one_is_replaced_before_its_end_and_when_the_clock_is_set_back():
    house = House()
    first = house.own.current()
    house.time += dt.timedelta(hours=16)
    assert house.own.current() is first
    house.time += dt.timedelta(hours=2)
    second = house.own.current()
    assert second.not_after > first.not_after
    house.time -= dt.timedelta(days=1)
    assert house.own.current().not_before < first.not_before


def test_files_are_read_again_when_both_have_changed(tmp_path):
    chain, key, told = tmp_path / "tls.crt", tmp_path / "tls.key", []
    authority = Authority()
    one, two = shown(tmp_path, authority), shown(tmp_path, authority)
    chain.write_bytes(pem(one.chain[0]) + pem(authority.certificate))
    key.write_bytes(pem_key(one.key))
    own = from_files(chain, key, told.append)
    first = own.current()
    assert first.cert_chain_pem == chain.read_bytes()
    assert first.not_after == one.chain[0].not_valid_after_utc
    chain.write_bytes(pem(two.chain[0]))
    assert own.current() is first
    assert "does not belong" in told[0]
    key.unlink()
    key.write_bytes(pem_key(two.key))
    assert own.current().cert_chain_pem == pem(two.chain[0])
    assert len(told) == 1


def test_files_that_are_of_no_use(tmp_path):
    authority = Authority()
    one, two = shown(tmp_path, authority), shown(tmp_path, authority)
    secret = one.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    strange = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for chain, key, word in (
        (pem(one.chain[0]), secret, "encrypted"),
        (pem(one.chain[0]), pem_key(two.key), "does not belong"),
        (pem(one.chain[0]), strange, "does not belong"),
        (pem(one.chain[0]), b"", r".+"),
        (b"", pem_key(one.key), r".+"),
        (pem_key(one.key), pem(one.chain[0]), r".+"),
    ):
        with pytest.raises(ValueError, match=word):
            from_pem(chain, key)


def test_what_is_pushed_is_shown_until_it_is_withdrawn(tmp_path):
    own, one = Pushed(), shown(tmp_path, Authority())
    assert own.current() is None
    own.present([one.der], pkcs8(one.key))
    leaf = own.current()
    assert leaf == from_pem(pem(one.chain[0]), pem_key(one.key))
    for chain, key in (
        ([], pkcs8(one.key)),
        ([b"junk"], pkcs8(one.key)),
        ([one.der], b"junk"),
        ([one.der], pkcs8(ec.generate_private_key(ec.SECP256R1()))),
    ):
        with pytest.raises(ValueError, match=r".+"):
            own.present(chain, key)
        assert own.current() is leaf
    own.withdraw()
    assert own.current() is None
