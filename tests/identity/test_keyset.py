"""Key sets: what counts as a key, what is passed over, and what spoils the whole document."""

import base64
import hashlib

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.keyset import MAX_DOCUMENT, MAX_KEY_ID, MAX_KEYS, KeySet, parse_bundle, parse_jwks
from tests.support.certificates import LATER, PAST, SpiffeAuthority
from tests.support.issuer import ALGORITHMS, b64, jwk, jwks, private_key, rsa_key

RSA = jwk(rsa_key(2048, 0).public_key())
EC = jwk(private_key("ES256").public_key())
ED = jwk(private_key("EdDSA").public_key())
ALL_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
AUTHORITY = SpiffeAuthority()
DER = AUTHORITY.certificate.public_bytes(Encoding.DER)
PEM = AUTHORITY.certificate.public_bytes(Encoding.PEM)


def keys(document: bytes, parse=parse_jwks) -> dict[str, frozenset[str]]:
    """What the keys of a document may verify, by id."""
    found = parse(document)
    assert isinstance(found, KeySet), found
    assert {name: key.key_id for name, key in found.keys.items()} == {name: name for name in found.keys}
    return {name: key.algorithms for name, key in found.keys.items()}


def x509_entry(*chain: bytes, **members: object) -> dict[str, object]:
    encoded = [base64.b64encode(der).decode() for der in chain]
    return jwk(AUTHORITY.key.public_key(), **({"use": "x509-svid", "x5c": encoded} | members))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_verifies_what_its_type_can(algorithm):
    private = private_key(algorithm)
    found = parse_jwks(jwks(jwk(private.public_key(), kid="k", use="sig")))
    assert found.keys["k"].algorithms == (ALL_RSA if algorithm in ALL_RSA else {algorithm})
    assert found.keys["k"].key == private.public_key()
    narrowed = jwks(jwk(private.public_key(), kid="k", alg=algorithm, key_ops=["verify"]))
    assert keys(narrowed) == {"k": {algorithm}}


def test_the_digest_is_of_the_document_and_jwk_sets_have_no_authorities():
    document = jwks(EC | {"kid": "k"}, x509_entry(DER), extra=1)
    found = parse_jwks(document)
    assert found.sha256 == hashlib.sha256(document).hexdigest()
    assert found.authorities == ()
    assert keys(document) == {"k": {"ES256"}}


def test_the_keys_of_a_set_cannot_be_changed():
    found = parse_jwks(jwks(EC | {"kid": "k"}))
    with pytest.raises(TypeError):
        found.keys["other"] = found.keys["k"]


@pytest.mark.parametrize(
    "passed_over",
    [
        {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"},
        {"kty": "oct"},
        {"kty": ["RSA"]},
        {},
        EC | {"use": "enc"},
        EC | {"use": None},
        EC | {"use": ["sig"]},
        EC | {"key_ops": []},
        EC | {"key_ops": ["sign", "encrypt"]},
        EC | {"key_ops": "verify"},
        EC | {"alg": "ES384"},
        EC | {"alg": "ECDH-ES"},
        EC | {"alg": "HS256"},
        EC | {"alg": "none"},
        EC | {"alg": None},
        EC | {"alg": ["ES256"]},
        EC | {"kid": 7},
        EC | {"kid": "a" * (MAX_KEY_ID + 1)},
        EC | {"kid": "a\n"},
        EC | {"crv": "P-384"},
        EC | {"crv": "secp256k1"},
        EC | {"crv": ["P-256"]},
        EC | {"x": EC["y"]},
        EC | {"x": EC["x"] + "="},
        EC | {"x": "A" + EC["x"]},
        EC | {"x": None},
        {name: value for name, value in EC.items() if name != "y"},
        jwk(ec.generate_private_key(ec.SECP256K1()).public_key()) | {"crv": "P-256"},
        RSA | {"alg": "RSA-OAEP"},
        RSA | {"n": ""},
        RSA | {"e": "AA"},
        RSA | {"e": "Ag"},
        RSA | {"e": None},
        RSA | {"n": b64(b"\xff" * 1025).decode()},
        jwk(rsa_key(1024, 0).public_key()),
        ED | {"alg": "ES256"},
        ED | {"x": ED["x"][:-4]},
        ED | {"x": 7},
        {
            "kty": "OKP",
            "crv": "X25519",
            "x": b64(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()).decode(),
        },
        {
            "kty": "OKP",
            "crv": "Ed448",
            "x": b64(ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw()).decode(),
        },
    ],
    ids=lambda entry: repr({name: value for name, value in entry.items() if name not in {"x", "y", "n"}})[
        :60
    ],
)
def test_what_is_not_a_signing_key_of_a_known_kind_is_passed_over(passed_over):
    honest = jwk(private_key("ES384").public_key(), kid="good")
    assert keys(jwks({"kid": "other"} | passed_over, honest)) == {"good": {"ES384"}}
    assert keys(jwks(passed_over)) == {}


@pytest.mark.parametrize("bits", [2048, 3072])
def test_rsa_keys_of_good_size(bits):
    assert keys(jwks(jwk(rsa_key(bits, 0).public_key(), kid="k"))) == {"k": ALL_RSA}


def test_a_key_without_an_id_counts_only_alone():
    assert keys(jwks(EC)) == {"": {"ES256"}}
    assert keys(jwks(EC | {"kid": ""})) == {"": {"ES256"}}
    assert keys(jwks(EC, {"kty": "AKP"})) == {"": {"ES256"}}
    assert keys(jwks(EC, ED | {"kid": "k"})) == {"k": {"EdDSA"}}
    assert keys(jwks(EC, ED)) == {}


def test_no_keys_are_a_key_set():
    assert keys(jwks()) == {}
    assert keys(b'{"keys":[]}', parse_bundle) == {}


SPOILT = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "without keys": b"{}",
    "a page": b"<html>",
    "null keys": b'{"keys":null}',
    "keys in an object": b'{"keys":{}}',
    "a key that is text": b'{"keys":["k"]}',
    "keys twice": b'{"keys":[],"keys":[]}',
    "too large": jwks()[:-1] + b" " * MAX_DOCUMENT + b"}",
    "too many": jwks(*[{"kty": "AKP"}] * (MAX_KEYS + 1)),
    "private EC": jwks(jwk(private_key("ES256"), kid="k")),
    "private OKP": jwks(jwk(private_key("EdDSA"), kid="k")),
    "private RSA": jwks(jwk(rsa_key(2048, 0), kid="k")),
    "private, for something else": jwks(EC | {"kid": "k", "d": "AAAA", "use": "enc"}),
    "a prime of RSA": jwks(RSA | {"kid": "k", "p": "AAAA"}),
    "a shared key": jwks({"kty": "oct", "k": "AAAA", "kid": "k"}),
    "a shared key among others": jwks(EC | {"kid": "k"}, {"kty": "oct", "k": "AAAA", "kid": "s"}),
}


@pytest.mark.parametrize("parse", [parse_jwks, parse_bundle])
@pytest.mark.parametrize("name", SPOILT)
def test_a_document_that_is_no_key_set_or_gives_secrets_away_is_refused_in_words(parse, name):
    words = parse(SPOILT[name])
    assert isinstance(words, str)
    assert "AAAA" not in words


def test_as_large_as_it_may_be():
    assert keys(jwks()[:-1] + b" " * (MAX_DOCUMENT - len(jwks())) + b"}") == {}
    many = [EC | {"kid": str(number)} for number in range(MAX_KEYS)]
    assert len(keys(jwks(*many))) == MAX_KEYS


def test_two_keys_of_one_id_spoil_the_set():
    assert isinstance(parse_jwks(jwks(EC | {"kid": "k"}, ED | {"kid": "k"})), str)
    assert isinstance(parse_jwks(jwks(EC | {"kid": "k"}, EC | {"kid": "k"})), str)
    bundle = jwks(EC | {"kid": "k", "use": "jwt-svid"}, ED | {"kid": "k", "use": "jwt-svid"})
    assert isinstance(parse_bundle(bundle), str)
    assert keys(jwks(EC | {"kid": "k"}, RSA | {"kid": "k", "use": "enc"})) == {"k": {"ES256"}}


def test_a_bundle_has_keys_for_tokens_and_authorities_for_certificates():
    document = jwks(
        EC | {"kid": "k", "use": "jwt-svid"},
        x509_entry(DER, b"whatever follows is ignored"),
        x509_entry(DER),
        RSA | {"kid": "wit", "use": "wit-svid"},
        ED | {"kid": "sig", "use": "sig"},
        ED | {"kid": "none"},
        spiffe_sequence=1,
        spiffe_refresh_hint=60,
    )
    found = parse_bundle(document)
    assert keys(document, parse_bundle) == {"k": {"ES256"}}
    assert found.authorities == (DER,)
    assert found.sha256 == hashlib.sha256(document).hexdigest()


def test_the_keys_of_a_bundle_need_an_id_even_alone():
    assert keys(jwks(EC | {"use": "jwt-svid"}), parse_bundle) == {}


@pytest.mark.parametrize(
    "entry",
    [
        x509_entry(),
        x509_entry() | {"x5c": "AAAA"},
        x509_entry() | {"x5c": None},
        x509_entry(DER, kty="AKP"),
        x509_entry(DER, kty=[]),
        x509_entry(DER, use="sig"),
    ],
)
def test_entries_without_an_authority_are_passed_over(entry):
    found = parse_bundle(jwks(entry, x509_entry(DER)))
    assert found.authorities == (DER,)
    assert parse_bundle(jwks(entry)).authorities == ()


NOW = {"not_before": PAST, "not_after": LATER}
LEAF = AUTHORITY.sign("spiffe://example.org/a", **NOW)
BARE = AUTHORITY.sign("spiffe://example.org/a", constraints=None, **NOW)


@pytest.mark.parametrize(
    "chain",
    [
        [LEAF.public_bytes(Encoding.DER)],
        [BARE.public_bytes(Encoding.DER)],
        [b""],
        [DER + b"\0"],
        [DER[:-1]],
        [b"\x30\x00"],
    ],
    ids=["leaf", "no constraints", "empty", "longer", "shorter", "empty sequence"],
)
def test_what_is_no_authority_spoils_the_bundle(chain):
    assert isinstance(parse_bundle(jwks(x509_entry(DER), x509_entry(*chain))), str)


@pytest.mark.parametrize("chain", [["!"], [7], [None], [base64.b64encode(DER).decode() + "\n"], ["ü"]])
def test_what_is_not_base64_spoils_the_bundle(chain):
    assert isinstance(parse_bundle(jwks(x509_entry() | {"x5c": chain})), str)


def test_certificates_in_pem_are_authorities_alone():
    other = SpiffeAuthority().certificate
    document = b"\n" + PEM + other.public_bytes(Encoding.PEM) + PEM
    found = parse_bundle(document)
    assert found.authorities == (DER, other.public_bytes(Encoding.DER))
    assert found.keys == {}
    assert found.sha256 == hashlib.sha256(document).hexdigest()
    assert isinstance(parse_jwks(PEM), str)


SECRET = AUTHORITY.key.private_bytes(
    Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize(
    "document",
    [
        b"-----BEGIN",
        PEM[:-20],
        PEM.replace(b"M", b"N"),
        SECRET + PEM,
        PEM + SECRET,
        LEAF.public_bytes(Encoding.PEM),
        PEM + LEAF.public_bytes(Encoding.PEM),
        PEM * (MAX_KEYS + 1),
        PEM + b" " * MAX_DOCUMENT,
    ],
    ids=["begin", "short", "broken", "secret first", "secret last", "leaf", "with leaf", "many", "large"],
)
def test_pem_that_is_no_bundle_is_refused_in_words(document):
    assert isinstance(parse_bundle(document), str)


def test_a_certificate_whose_extensions_cannot_be_read_is_no_authority():
    """The critical flag of basic constraints, made something that DER does not know."""
    broken = DER.replace(bytes.fromhex("0603551d130101ff"), bytes.fromhex("0603551d130101fe"))
    assert broken != DER
    assert isinstance(parse_bundle(jwks(x509_entry(broken))), str)


MEMBERS = st.sampled_from(["kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y", "x5c", "d"])
VALUES = st.none() | st.integers(-9, 9) | st.text(max_size=6) | st.lists(st.text(max_size=6), max_size=2)
ENTRIES = st.sampled_from([RSA, EC, ED, x509_entry(DER), {}])


@given(st.lists(st.tuples(ENTRIES, st.dictionaries(MEMBERS, VALUES, max_size=3)), max_size=3))
def test_any_key_set_gets_an_answer(entries):
    document = jwks(*(entry | changes for entry, changes in entries))
    assert isinstance(parse_jwks(document), KeySet | str)
    assert isinstance(parse_bundle(document), KeySet | str)


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"-----BEGIN", b"-----BEGIN CERTIFICATE-----\n", b'{"keys":[']),
)
def test_anything_gets_an_answer(data, start):
    assert isinstance(parse_jwks(start + data), KeySet | str)
    assert isinstance(parse_bundle(start + data), KeySet | str)


@pytest.mark.filterwarnings("ignore:Parsed a")  # of a serial number that is not positive
@given(st.data())
def test_a_bundle_with_a_changed_octet_gets_an_answer(data):
    position = data.draw(st.integers(0, len(DER) - 1))
    broken = DER[:position] + bytes([data.draw(st.integers(0, 255))]) + DER[position + 1 :]
    assert isinstance(parse_bundle(orjson.dumps({"keys": [x509_entry(broken)]})), KeySet | str)
