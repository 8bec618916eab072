"""Foreign tokens: JWS compact serialisation (RFC 7515, section 3.1), signed as RFC 7518 and RFC 8037 say.

This file knows the signatures of public keys and no others: there is no ``none`` to switch off, and no
HMAC that could take a public key for a shared secret (RFC 8725, section 2.1). A key verifies the
algorithms of its own type and curve, whatever a header says.

Not judged here: whose key it is, and what header and claims mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from proxy.identity import base64url
from proxy.identity.i_json import parse_object
from proxy.identity.jws import MAX_TOKEN
from proxy.identity.keyset import VerifyingKey, is_key_id

_SIZES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_RS = {f"RS{size}": (padding.PKCS1v15(), digest) for size, digest in _SIZES.items()}
_PS = {  # the salt is as long as the digest: RFC 7518, section 3.5
    f"PS{size}": (padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    for size, digest in _SIZES.items()
}
_ES = {  # curve, octets of one number, digest
    "ES256": ("secp256r1", 32, hashes.SHA256()),
    "ES384": ("secp384r1", 48, hashes.SHA384()),
    "ES512": ("secp521r1", 66, hashes.SHA512()),
}


@dataclass(frozen=True, slots=True)
class Compact:
    """A token taken apart, unverified. ``key_id`` is "" if the header names none."""

    header: Mapping[str, object]
    claims: Mapping[str, object] = field(repr=False)
    algorithm: str
    key_id: str
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse(token: bytes) -> Compact | str:
    """Take a token apart, or say what is wrong with its form (never quoting it)."""
    if len(token) > MAX_TOKEN:
        return f"the token has more than {MAX_TOKEN} octets"
    signing_input, _, last = token.rpartition(b".")
    parts = [base64url.decode(part) for part in (*signing_input.split(b"."), last)]
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004 - header, payload, signature
        return "the token is not three dotted parts in canonical base64url"
    header, claims, signature = (part or b"" for part in parts)
    names, said = parse_object(header), parse_object(claims)
    if names is None or said is None:
        return "the token's header or payload is not a JSON object, or a name occurs twice in it"
    algorithm, key_id = names.get("alg"), names.get("kid", "")
    if not isinstance(algorithm, str) or not is_key_id(key_id):
        return "the token's header has no alg, or a kid that names no key"
    return Compact(names, said, algorithm, key_id, signing_input, signature)


def verifies(key: VerifyingKey, token: Compact) -> bool:
    """Whether ``token`` was signed by ``key``, with an algorithm that this key may be used with."""
    if token.algorithm not in key.algorithms:
        return False
    try:
        return _verifies(key, token.algorithm, token.signature, token.signing_input)
    except InvalidSignature:
        return False


def _verifies(key: VerifyingKey, algorithm: str, signature: bytes, signed: bytes) -> bool:
    """True, False for an algorithm that is not of this key's type.

    :raises InvalidSignature: if the signature does not hold.
    """
    public = key.key
    if isinstance(public, RSAPublicKey):
        scheme = _RS.get(algorithm) or _PS.get(algorithm)
        if scheme is None:
            return False
        public.verify(signature, signed, *scheme)
    elif isinstance(public, Ed25519PublicKey):
        if algorithm != "EdDSA":
            return False
        public.verify(signature, signed)
    else:
        curve, size, digest = _ES.get(algorithm, ("", 0, hashes.SHA256()))
        if public.curve.name != curve or len(signature) != 2 * size:  # r || s: RFC 7518, section 3.4
            return False
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
    return True
