"""Keys of a foreign issuer: JWK sets (RFC 7517) and SPIFFE bundles (SPIFFE Trust Domain and Bundle, 4)."""

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One public key; ``algorithms`` are those of RFC 7518 and RFC 8037 that it may verify."""

    key_id: str
    key: PublicKey
    algorithms: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one document, by key id. ``sha256`` is hex over the document.

    ``authorities`` are X.509 authorities in DER, in a SPIFFE bundle alone.
    """

    keys: Mapping[str, VerifyingKey]
    authorities: tuple[bytes, ...]
    sha256: str
