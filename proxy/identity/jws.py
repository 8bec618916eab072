"""Session tokens: JWS compact serialisation (RFC 7515) with EdDSA over Ed25519 (RFC 8037).

The only maker of ``SignedClaims``: whoever holds one holds claims whose signature, issuer, audience
and times were checked here. The header may say ``alg``, ``kid`` and ``typ``, nothing else, so that no
token brings its own key (RFC 8725, section 3). Key ids are JWK thumbprints (RFC 7638).

Not checked here: whether the task is open and the agent registered. That is ``attribution``.
"""

import base64
import hashlib
import re
from dataclasses import InitVar, dataclass, field
from typing import Self, final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError

from proxy.errors import Code, Refusal
from proxy.identity.claims import MAX_SESSION_S, SessionClaims, parse_payload, payload_of

MAX_TOKEN = 16 * 1024  # octets
LEEWAY_S = 30
TYPE = "gatepass-session+jwt"  # explicit typing, RFC 8725, section 3.11
_ALGORITHM = "EdDSA"
_COMPACT = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})")
_SEAL = object()


@final
@dataclass(frozen=True, slots=True)
class SignedClaims:
    """Verified claims. Only ``verify_session`` can make one.

    :raises TypeError: if anything else tries.
    """

    claims: SessionClaims
    key_id: str
    token_sha256: str  # hex
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("SignedClaims come from verify_session alone")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that signs session tokens."""

    key_id: str
    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> Self:
        """The key together with its id."""
        return cls(thumbprint(private.public_key()), private)


class VerifyingKeys:
    """The keys whose signatures count, by id. Without keys nothing verifies."""

    __slots__ = ("_keys",)

    def __init__(self, *keys: Ed25519PublicKey) -> None:
        self._keys = {thumbprint(key): key for key in keys}

    def get(self, key_id: str) -> Ed25519PublicKey | None:
        """The key with this id, or None."""
        return self._keys.get(key_id)


def thumbprint(key: Ed25519PublicKey) -> str:
    """The key's id: the SHA-256 thumbprint of its JWK (RFC 7638; RFC 8037, appendix A.3)."""
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": _b64(key.public_bytes_raw())}
    return _b64(hashlib.sha256(orjson.dumps(jwk, option=orjson.OPT_SORT_KEYS)).digest())


def sign_session(claims: SessionClaims, key: SigningKey) -> str:
    """A session token that says ``claims``."""
    headers = {"kid": key.key_id, "typ": TYPE}
    return PyJWS(algorithms=[_ALGORITHM]).encode(payload_of(claims), key.private, _ALGORITHM, headers)


def verify_session(
    token: bytes, keys: VerifyingKeys, *, issuer: str, audience: str, now: int, leeway: int = LEEWAY_S
) -> SignedClaims | Refusal:
    """Verify one session token; ``now`` and ``leeway`` are seconds.

    1. size and shape, 2. header, 3. key and signature, 4. claims, 5. issuer and audience, byte for
    byte, 6. times. Whatever fails up to (3) gets the same answer: it is not a token of ours.
    """
    # (1): shape, strictly: a second spelling of a token would be a second cache entry
    parts = _COMPACT.fullmatch(token) if len(token) <= MAX_TOKEN else None
    # (2), (3): the key is chosen by its id, and it alone says whether the signature holds
    key_id = _key_id(parts[1]) if parts else None
    public = keys.get(key_id) if key_id else None
    payload = _open(token, public) if parts and public and _is_canonical(parts[3]) else None
    if payload is None or key_id is None:
        return _invalid("the token is not a session token of this sidecar")
    # (4): nothing is missing, nothing is unknown
    claims = parse_payload(payload)
    if claims is None:
        return _invalid("the session token lacks a claim or has one that is not understood")
    # (5): byte for byte
    if claims.issuer != issuer or claims.audience != audience:
        return _invalid("the session token was issued by or for another sidecar")
    # (6): not before, not after, not too long
    refusal = out_of_time(claims, now, leeway)
    if refusal:
        return refusal
    return SignedClaims(claims, key_id, hashlib.sha256(token.rpartition(b".")[0]).hexdigest(), seal=_SEAL)


def out_of_time(claims: SessionClaims, now: int, leeway: int = LEEWAY_S) -> Refusal | None:
    """Why the claims do not hold at ``now``, or None if they do."""
    if not 0 < claims.expires_at - claims.issued_at <= MAX_SESSION_S:
        return _invalid("the session token's lifetime is not acceptable")
    if claims.issued_at > now + leeway:
        return _invalid("the session token is not valid yet; compare the clocks")
    if claims.expires_at + leeway <= now:
        return Refusal(Code.IDENTITY_EXPIRED, "the session token has expired")
    return None


def _key_id(segment: bytes) -> str | None:
    """The key id of a header that says what ours say and nothing else."""
    try:
        header: object = orjson.loads(base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)))
    except ValueError:
        return None
    if not isinstance(header, dict) or header.keys() != {"alg", "kid", "typ"}:
        return None
    key_id = header["kid"]
    known = header["alg"] == _ALGORITHM and header["typ"] == TYPE and isinstance(key_id, str)
    return key_id if known else None


def _is_canonical(signature: bytes) -> bool:
    # 86 characters hold 516 bits, a signature 512: without this, 16 spellings would verify.
    return _b64(base64.urlsafe_b64decode(signature + b"==")).encode() == signature


def _open(token: bytes, public: Ed25519PublicKey) -> bytes | None:
    """The payload if the signature holds."""
    try:
        payload: object = PyJWS(algorithms=[_ALGORITHM]).decode(token, public, [_ALGORITHM])
    except PyJWTError:
        return None
    return payload if isinstance(payload, bytes) else None


def _invalid(detail: str) -> Refusal:
    return Refusal(Code.IDENTITY_INVALID, detail)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
