"""What a message must be to be believed, and values in DER that stand one after another."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_der_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from proxy.broker.workload_proto import jwt_bundles_message, x509_message
from proxy.broker.workload_svid import Identity, JwtKeys, merge, parse_x509_svid, read_identity, read_jwt_keys
from proxy.identity.keyset import KeySet
from tests.broker.workload_scene import ABROAD, FIRST, HOME
from tests.support.workload_api import START, Minted, jwt_response, x509_response

NOW = int(START.timestamp()) + 60


def encrypted(minted: Minted) -> bytes:
    key = load_der_private_key(minted.x509_svid_key, None)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))


def bad_x509() -> dict[str, tuple[bytes, str]]:
    """Messages that must not be believed, by why, with words of the alarm."""
    name, other = FIRST.spiffe_id, HOME.svid("/egress/2")
    response: Callable[[Minted], bytes] = lambda svid: x509_response([svid])  # noqa: E731 - a short name
    return {
        "no svid": (x509_response([], federated={ABROAD.id: ABROAD.bundle}), "no SVID"),
        "empty svid": (response(Minted("", b"", b"", b"")), "empty field"),
        "no key": (response(replace(FIRST, x509_svid_key=b"")), "empty field"),
        "no bundle": (response(replace(FIRST, bundle=b"")), "empty field"),
        "not an id": (response(replace(FIRST, spiffe_id="https://example.org/x")), "spiffe://"),
        "root path": (response(replace(FIRST, spiffe_id=HOME.id)), "has a path"),
        "another name": (
            response(replace(FIRST, spiffe_id=f"{HOME.id}/egress/9")),
            "does not carry that name",
        ),
        "two names": (response(HOME.svid("/egress/1", uris=[name, f"{HOME.id}/b"])), "does not carry"),
        "no name": (response(HOME.svid("/egress/1", uris=[])), "no readable subject alternative"),
        "an authority": (response(HOME.svid("/egress/1", ca=True)), "signing certificate"),
        "another's key": (response(replace(FIRST, x509_svid_key=other.x509_svid_key)), "is not the key"),
        "not a key": (response(replace(FIRST, x509_svid_key=b"\x30\x00")), "is not the key"),
        "encrypted key": (response(replace(FIRST, x509_svid_key=encrypted(FIRST))), "is not the key"),
        "chain cut": (response(replace(FIRST, x509_svid=FIRST.x509_svid[:-1])), "the chain"),
        "chain of nothing": (response(replace(FIRST, x509_svid=b"\x30\x00")), "the chain"),
        "bundle of nothing": (response(replace(FIRST, bundle=b"\x30\x00")), "not certificates in DER"),
        "bundle of a leaf": (response(replace(FIRST, bundle=other.x509_svid)), "not a certificate authority"),
        "expired": (response(HOME.svid("/egress/1", lives=dt.timedelta(seconds=60))), "has expired"),
        "second bad": (x509_response([FIRST, replace(other, x509_svid_key=b"x")]), "is not the key"),
        "crl": (x509_response([FIRST], [b"\x30\x00"]), "not a CRL"),
        "federated name": (
            x509_response([FIRST], federated={"abroad.example": ABROAD.bundle}),
            "not the SPIFFE ID",
        ),
        "federated path": (
            x509_response([FIRST], federated={f"{ABROAD.id}/": ABROAD.bundle}),
            "not the SPIFFE ID",
        ),
        "federated bundle": (x509_response([FIRST], federated={ABROAD.id: b"x"}), "not certificates in DER"),
        "two bundles": (x509_response([FIRST], federated={HOME.id: ABROAD.bundle}), "two different"),
    }


@pytest.mark.parametrize("why", bad_x509())
def test_a_bad_x509_message_is_words(why: str) -> None:
    written, words = bad_x509()[why]
    message = x509_message(written)
    assert message is not None
    assert words in str(read_identity(message, NOW))


@pytest.mark.parametrize("written", [b"\xff\xff", b"\x0a\x03\x0a\x01\xff"], ids=["octets", "not-utf-8"])
def test_what_is_not_protobuf_is_no_message(written: bytes) -> None:
    assert x509_message(written) is None
    assert jwt_bundles_message(written) is None


def test_a_good_message_is_the_first_identity_and_every_bundle() -> None:
    written = x509_response([FIRST, HOME.svid("/egress/2")], federated={ABROAD.id: ABROAD.bundle})
    message = x509_message(written)
    assert message is not None
    identity = read_identity(message, NOW)
    assert isinstance(identity, Identity)
    assert identity.svid.spiffe_id == FIRST.spiffe_id
    assert {name: each.der for name, each in identity.authorities.items()} == {
        HOME.id: (HOME.bundle,),
        ABROAD.id: (ABROAD.bundle,),
    }


PRIVATE = b'{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA","kid":"k"}]}'


@pytest.mark.parametrize(
    ("written", "words"),
    [
        pytest.param(jwt_response({"example.org": HOME.jwks()}), "not the SPIFFE ID", id="name"),
        pytest.param(jwt_response({HOME.id: b"{"}), "not a JSON object", id="not-json"),
        pytest.param(jwt_response({HOME.id: b"[]"}), "not a JSON object", id="not-an-object"),
        pytest.param(jwt_response({HOME.id: b'{"keys":[],"keys":[]}'}), "occurs twice", id="twice"),
        pytest.param(jwt_response({HOME.id: b'{"keys":[1]}'}), "not a JWK set", id="not-keys"),
        pytest.param(jwt_response({HOME.id: b'{"keys":{}}'}), "not a JWK set", id="not-a-list"),
        pytest.param(jwt_response({HOME.id: HOME.jwks(use="x509-svid")}), "another use", id="use"),
        pytest.param(jwt_response({HOME.id: PRIVATE}), "private or shared keys", id="private"),
    ],
)
def test_a_bad_jwt_message_is_words(written: bytes, words: str) -> None:
    message = jwt_bundles_message(written)
    assert message is not None
    assert words in str(read_jwt_keys(message))


@pytest.mark.parametrize(
    "document", [b'{"keys": null}', b'{"keys": []}', b"{}"], ids=["null", "empty", "none"]
)
def test_a_trust_domain_may_have_no_jwt_keys(document: bytes) -> None:
    assert read_jwt_keys({HOME.id: document}) == {HOME.id: JwtKeys({}, document)}


@pytest.mark.parametrize("marks", [{}, {"use": "jwt-svid"}], ids=["plain", "marked"])
def test_jwt_keys_may_be_marked_with_their_use(marks: dict[str, str]) -> None:
    keys = read_jwt_keys({HOME.id: HOME.jwks(**marks)})
    assert not isinstance(keys, str)
    assert keys[HOME.id].keys.keys() == {"h1"}


def test_an_empty_half_is_an_empty_bundle() -> None:
    assert merge(None, None) == KeySet({}, (), sha256().hexdigest())


@given(st.binary(max_size=60))
def test_any_octets_are_a_message_that_is_judged_or_none(data: bytes) -> None:
    message = x509_message(data)
    assert message is None or read_identity(message, 0) != ""
    bundles = jwt_bundles_message(data)
    assert bundles is None or read_jwt_keys(bundles) != ""


def der(content: bytes) -> bytes:
    """A SEQUENCE by the rules of X.690, 8.1.3 and 10.1, in other words than the parser's."""
    size = len(content)
    if size < 128:
        return bytes([0x30, size]) + content
    length = bytes.fromhex(f"{size:0{len(f'{size:x}') + len(f'{size:x}') % 2}x}")
    return bytes([0x30, 0x80 | len(length)]) + length + content


SEQUENCES = st.lists(
    st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes)).map(der), min_size=1, max_size=4
)


@given(SEQUENCES)
def test_concatenated_values_come_apart_again(values: list[bytes]) -> None:
    assert parse_x509_svid(b"".join(values)) == tuple(values)


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda data: b"\x30" + data))
def test_what_comes_apart_is_what_went_in(data: bytes) -> None:
    parts = parse_x509_svid(data)
    assert parts is None or b"".join(parts) == data
    assert all(der(part[2:]) == part for part in parts or ())  # these are all short


@given(SEQUENCES, st.data())
def test_values_that_are_cut_or_have_more_behind_them_are_none(
    values: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(values)
    cut = data.draw(st.integers(1, len(values[-1]) - 1))
    assert parse_x509_svid(whole[:-cut]) is None
    assert parse_x509_svid(whole + b"\x30") is None
    assert parse_x509_svid(whole + b"\x00") is None


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x30",
        b"\x31\x00",
        b"\x30\x80\x00\x00",
        b"\x30\x81\x05hello",
        b"\x30\x82\x00\x80" + bytes(128),
        b"\x30\x81",
    ],
    ids=["empty", "tag", "set", "indefinite", "long-form-of-short", "leading-zero", "no-length"],
)
def test_other_encodings_are_none(octets: bytes) -> None:
    assert parse_x509_svid(octets) is None


def test_a_real_chain_comes_apart() -> None:
    assert len(parse_x509_svid(HOME.svid("/egress/1", intermediate=True).x509_svid) or ()) == 2
