"""Session tokens: only what this sidecar signed, for itself, for now."""

import ast
import base64
import hashlib
import hmac
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

import proxy
from proxy.errors import Code, Refusal
from proxy.identity.claims import MAX_SESSION_S, SessionClaims, parse_payload, payload_of
from proxy.identity.jws import (
    LEEWAY_S,
    MAX_TOKEN,
    TYPE,
    SignedClaims,
    SigningKey,
    VerifyingKeys,
    sign_session,
    thumbprint,
    verify_session,
)

NOW = 1_800_000_000
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = SigningKey.of(PRIVATE)
KEYS = VerifyingKeys(PRIVATE.public_key())
CLAIMS = SessionClaims(
    issuer="urn:gatepass:a",
    subject="coder",
    audience="urn:gatepass:a:egress",
    token_id="j1",
    task="t-abc",
    issued_at=NOW,
    expires_at=NOW + 3600,
    scopes=("repo:read",),
)


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def forge(header: object, payload: object, key: Ed25519PrivateKey = PRIVATE) -> bytes:
    """A token with any header and payload, properly signed."""
    parts = [part if isinstance(part, bytes) else orjson.dumps(part) for part in (header, payload)]
    signed = b".".join(map(b64, parts))
    return signed + b"." + b64(key.sign(signed))


def header(**changes: object) -> dict[str, object]:
    return {"alg": "EdDSA", "kid": KEY.key_id, "typ": TYPE} | changes


def payload(**changes: object) -> dict[str, object]:
    document = orjson.loads(payload_of(CLAIMS)) | changes
    return {name: value for name, value in document.items() if value is not ...}


def verify(token: bytes, now: int = NOW, keys: VerifyingKeys = KEYS) -> SignedClaims | Refusal:
    return verify_session(token, keys, issuer=CLAIMS.issuer, audience=CLAIMS.audience, now=now)


def code(token: bytes, now: int = NOW, keys: VerifyingKeys = KEYS) -> Code | None:
    result = verify(token, now, keys)
    return result.code if isinstance(result, Refusal) else None


def test_what_was_signed_is_read_back():
    token = sign_session(CLAIMS, KEY).encode()
    signed = verify(token)
    assert isinstance(signed, SignedClaims)
    assert signed.claims == CLAIMS
    assert signed.key_id == KEY.key_id
    assert signed.token_sha256 == hashlib.sha256(token.rpartition(b".")[0]).hexdigest()


def test_the_forge_of_these_tests_makes_tokens_that_count():
    assert code(forge(header(), payload())) is None


def test_key_ids_are_jwk_thumbprints():
    """The vector of RFC 8037, appendix A.3."""
    public = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    key = serialization.load_der_public_key(bytes.fromhex("302a300506032b6570032100") + public)
    assert thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_signed_claims_cannot_be_made_by_hand():
    with pytest.raises(TypeError):
        SignedClaims(CLAIMS, KEY.key_id, "00", seal=object())
    with pytest.raises(TypeError):
        SignedClaims({"sub": "coder"})
    signed = verify(sign_session(CLAIMS, KEY).encode())
    with pytest.raises((TypeError, ValueError)):
        replace(signed, claims=replace(CLAIMS, subject="admin"))


def _takes_seal(node: ast.ImportFrom) -> bool:
    return any(alias.name == "_SEAL" for alias in node.names)


def test_only_jws_knows_the_seal():
    users = [
        path.name
        for path in Path(proxy.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.ImportFrom) and node.module == "proxy.identity.jws" and _takes_seal(node))
        or (isinstance(node, ast.Attribute) and node.attr == "_SEAL")
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SignedClaims")
    ]
    assert users == ["jws.py"]


@pytest.mark.parametrize(
    "changed",
    [
        header(alg="none"),
        header(alg="HS256"),
        header(alg="ES256"),
        header(alg="Ed25519"),
        header(typ="JWT"),
        header(kid="unknown"),
        header(kid=7),
        header(crit=["exp"]),
        header(b64=False),
        header(jwk={"kty": "OKP"}),
        header(jku="https://evil.example/keys"),
        header(x5c=["AA=="]),
        {"alg": "EdDSA", "typ": TYPE},
        {"alg": "EdDSA", "kid": KEY.key_id},
        ["EdDSA"],
        b"not json",
        b"\xff",
    ],
    ids=repr,
)
def test_a_header_says_only_what_ours_say(changed):
    assert code(forge(changed, payload())) is Code.IDENTITY_INVALID


def test_an_unsigned_token_is_refused():
    head, body = b64(orjson.dumps(header(alg="none"))), b64(orjson.dumps(payload()))
    for signature in (b"", b64(b"\0" * 64)):
        assert code(head + b"." + body + b"." + signature) is Code.IDENTITY_INVALID


def test_the_public_key_is_not_an_hmac_secret():
    public = PRIVATE.public_key().public_bytes_raw()
    for name in ("HS256", "HS512"):
        signed = b64(orjson.dumps(header(alg=name))) + b"." + b64(orjson.dumps(payload()))
        mac = hmac.digest(public, signed, "sha512" if name == "HS512" else "sha256")
        assert code(signed + b"." + b64(mac)) is Code.IDENTITY_INVALID


def test_another_key_does_not_count_even_under_our_key_id():
    assert code(forge(header(), payload(), Ed25519PrivateKey.generate())) is Code.IDENTITY_INVALID


def test_without_keys_nothing_verifies():
    assert code(sign_session(CLAIMS, KEY).encode(), keys=VerifyingKeys()) is Code.IDENTITY_INVALID


@pytest.mark.parametrize("name", ["iss", "sub", "aud", "iat", "exp", "jti", "task", "scope"])
@pytest.mark.parametrize("value", [..., None, "", 1.5, True, {}, [1], ["coder", None]], ids=repr)
def test_every_claim_is_required_and_of_its_type(name, value):
    assert code(forge(header(), payload(**{name: value}))) is Code.IDENTITY_INVALID


def test_claims_that_are_not_understood_could_be_restrictions():
    for extra in ({"nbf": NOW + 9}, {"act": {"sub": "x"}}, {"cnf": {}}):
        assert code(forge(header(), payload(**extra))) is Code.IDENTITY_INVALID


def test_issuer_and_audience_compare_byte_for_byte():
    for changed in ({"iss": "urn:gatepass:A"}, {"aud": "urn:gatepass:a"}, {"aud": [CLAIMS.audience]}):
        assert code(forge(header(), payload(**changed))) is Code.IDENTITY_INVALID


def test_times():
    token = sign_session(CLAIMS, KEY).encode()
    assert code(token, NOW - LEEWAY_S) is None
    assert code(token, NOW - LEEWAY_S - 1) is Code.IDENTITY_INVALID
    assert code(token, CLAIMS.expires_at + LEEWAY_S - 1) is None
    assert code(token, CLAIMS.expires_at + LEEWAY_S) is Code.IDENTITY_EXPIRED
    for lifetime in (0, -1, MAX_SESSION_S + 1):
        forever = replace(CLAIMS, expires_at=NOW + lifetime)
        assert code(sign_session(forever, KEY).encode()) is Code.IDENTITY_INVALID


def test_size_is_limited():
    scopes = [f"s{number}" for number in range(3000)]
    token = forge(header(), payload(scope=scopes))
    assert len(token) > MAX_TOKEN
    assert code(token) is Code.IDENTITY_INVALID


def test_a_token_has_one_spelling():
    """Otherwise the last character of the signature could be changed in 15 ways."""
    token = sign_session(CLAIMS, KEY).encode()
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = [last for last in alphabet if code(token[:-1] + bytes([last])) is None]
    assert accepted == [token[-1]]
    for other in (token + b"=", token + b"\n", b" " + token, token.replace(b".", b"..", 1), token + b".x"):
        assert code(other) is Code.IDENTITY_INVALID


@given(
    st.binary(max_size=200) | st.from_regex(rb"[A-Za-z0-9_-]{1,20}\.[A-Za-z0-9_-]{1,20}\.[A-Za-z0-9_-]{86}")
)
def test_anything_else_is_refused_alike(token):
    result = verify(token)
    assert isinstance(result, Refusal)
    assert result == verify(forge(header(kid="unknown"), payload()))


@given(st.integers(min_value=0), st.data())
def test_a_changed_token_is_refused(position, data):
    token = bytearray(sign_session(CLAIMS, KEY).encode())
    position %= len(token)
    token[position] = data.draw(st.integers(0, 255).filter(lambda octet: octet != token[position]))
    assert code(bytes(token)) is Code.IDENTITY_INVALID


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
times = st.integers(0, 2**53)
claims = st.builds(
    SessionClaims,
    issuer=names,
    subject=names,
    audience=names,
    token_id=names,
    task=names,
    issued_at=times,
    expires_at=times,
    scopes=st.lists(names, max_size=5).map(tuple),
)


@given(claims)
def test_claims_and_payload_undo_each_other(claims):
    assert parse_payload(payload_of(claims)) == claims


def test_repr_shows_no_key():
    assert "private" not in repr(KEY)
