"""Foreign tokens: taken apart strictly, verified by the key's own type alone."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from proxy.identity.compact import Compact, parse, verifies
from proxy.identity.jws import MAX_TOKEN
from proxy.identity.keyset import VerifyingKey
from tests.support.issuer import ALGORITHMS, SmallIssuer, b64, compact, private_key


def key(algorithm: str, *algorithms: str, number: int = 0) -> VerifyingKey:
    return VerifyingKey(
        "k", private_key(algorithm, number).public_key(), frozenset(algorithms or {algorithm})
    )


def token(algorithm: str, payload: object = None) -> Compact:
    parsed = parse(SmallIssuer(algorithm=algorithm).mint(payload=payload))
    assert isinstance(parsed, Compact)
    return parsed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_is_taken_apart_and_its_signature_holds(algorithm):
    issuer = SmallIssuer(algorithm=algorithm)
    parsed = token(algorithm)
    assert parsed.header == issuer.header()
    assert parsed.claims == issuer.claims()
    assert (parsed.algorithm, parsed.key_id) == (algorithm, issuer.key_id)
    assert verifies(key(algorithm), parsed)
    assert not verifies(key(algorithm, number=1), parsed)
    assert not verifies(key(algorithm), replace(parsed, signing_input=parsed.signing_input + b"A"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_must_be_meant_for_the_algorithm(algorithm):
    others = frozenset(ALGORITHMS) - {algorithm}
    assert not verifies(replace(key(algorithm), algorithms=others), token(algorithm))
    assert not verifies(replace(key(algorithm), algorithms=frozenset()), token(algorithm))


@pytest.mark.parametrize("of_key", ["RS256", "ES256", "ES384", "ES512", "EdDSA"])
@pytest.mark.parametrize("claimed", [*ALGORITHMS, "HS256", "none", "ES256K", ""])
def test_a_key_verifies_nothing_of_another_type_whatever_it_is_said_to_be_for(of_key, claimed):
    confused = key(of_key, of_key, claimed)
    parsed = replace(token(of_key), algorithm=claimed)
    assert verifies(confused, parsed) is (of_key == claimed)


@pytest.mark.parametrize("cut", [0, 1, 63, 65, 128])
def test_an_ecdsa_signature_has_exactly_two_numbers_of_full_size(cut):
    parsed = token("ES256")
    longer = parsed.signature + parsed.signature
    assert not verifies(key("ES256"), replace(parsed, signature=longer[:cut]))


def test_an_ecdsa_signature_in_der_is_none():
    der = private_key("ES256").sign(b"a.b", ec.ECDSA(hashes.SHA256()))
    assert decode_dss_signature(der)
    assert not verifies(key("ES256"), replace(token("ES256"), signing_input=b"a.b", signature=der))


@pytest.mark.parametrize("zero", [b"\0" * 64, b"\0" * 32 + b"\1" * 32, b"\xff" * 64])
def test_no_signature_is_made_of_nothing(zero):
    assert not verifies(key("ES256"), replace(token("ES256"), signature=zero))
    assert not verifies(key("EdDSA"), replace(token("EdDSA"), signature=zero))


def test_an_rsa_pss_salt_is_as_long_as_the_digest():
    parsed = token("PS256")
    salted = padding.PSS(padding.MGF1(hashes.SHA256()), 8)
    short = private_key("PS256").sign(parsed.signing_input, salted, hashes.SHA256())
    assert not verifies(key("PS256"), replace(parsed, signature=short))
    full = get_default_algorithms()["PS256"].sign(parsed.signing_input, private_key("PS256"))
    assert verifies(key("PS256"), replace(parsed, signature=full))


def test_as_long_as_it_may_be():
    def padded(size: int) -> bytes:
        return compact({"alg": "none"}, {"x": "a" * size})

    longest = next(padded(size) for size in range(12_300, 12_200, -1) if len(padded(size)) <= MAX_TOKEN)
    assert len(longest) > MAX_TOKEN - 4
    assert isinstance(parse(longest), Compact)
    assert isinstance(parse(longest + b"A" * (MAX_TOKEN + 1 - len(longest))), str)


@pytest.mark.parametrize(
    ("header", "key_id"),
    [({"kid": "a b"}, "a b"), ({"kid": ""}, ""), ({}, ""), ({"kid": "a" * 512}, "a" * 512)],
)
def test_a_key_id_is_optional(header, key_id):
    assert parse(compact({"alg": "ES256"} | header, {})).key_id == key_id


@pytest.mark.parametrize(
    "header",
    [
        {"kid": None},
        {"kid": 1},
        {"kid": ["a"]},
        {"kid": "a\n"},
        {"kid": "a" * 513},
        {"alg": None},
        {"alg": 1},
    ],
)
def test_a_key_id_that_is_none_is_refused_in_words(header):
    assert isinstance(parse(compact({"alg": "ES256"} | header, {})), str)


def test_words_and_repr_do_not_quote_the_token():
    honest = SmallIssuer().mint(secret="c29tZXRoaW5n")
    for piece in honest.split(b"."):
        assert piece.decode() not in str(parse(honest[:-1] + b"="))
        assert piece.decode() not in repr(parse(honest))
    assert "c29tZXRoaW5n" not in repr(parse(honest))


@given(st.binary(max_size=80) | st.lists(st.binary(max_size=30).map(b64), max_size=5).map(b".".join))
def test_anything_gets_an_answer(data):
    assert isinstance(parse(data), Compact | str)


OBJECTS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "iss"]), st.none() | st.integers(-9, 9) | st.text(max_size=9)
)


@given(
    OBJECTS, OBJECTS, st.sampled_from(["RS256", "PS512", "ES256", "ES512", "EdDSA"]), st.binary(max_size=140)
)
def test_any_token_and_any_signature_get_an_answer(header, claims, algorithm, signature):
    parsed = parse(compact(header | {"alg": algorithm}, claims, lambda _: signature))
    if isinstance(parsed, Compact):
        assert (parsed.claims, parsed.signature) == (claims, signature)
        assert not verifies(key(algorithm), parsed)
