"""Keys of a foreign issuer: JWK sets (RFC 7517) and SPIFFE bundles (SPIFFE Trust Domain and Bundle, 4).

A key that is not understood is ignored, so that an issuer can rotate to new types (RFC 7517, section 5).
A document that contradicts itself, or that gives away a secret, is refused as a whole: nobody can say
any more who else signs with its keys.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeGuard

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.identity import base64url
from proxy.identity.i_json import parse_object

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MAX_DOCUMENT = 1024 * 1024  # octets
MAX_KEYS = 256
MAX_KEY_ID = 512  # characters
_RSA_BITS = range(2048, 8192 + 1)  # RFC 7518, section 3.3; above, one verification costs milliseconds
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: dict[str, tuple[ec.EllipticCurve, str, int]] = {  # RFC 7518, section 3.4: curve, alg, octets
    "P-256": (ec.SECP256R1(), "ES256", 32),
    "P-384": (ec.SECP384R1(), "ES384", 48),
    "P-521": (ec.SECP521R1(), "ES512", 66),
}
_SECRET = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})  # RFC 7518, section 6
_PEM = b"-----BEGIN"

Entry = Mapping[str, object]


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


def parse_jwks(data: bytes) -> KeySet | str:
    """The signing keys of a JWK set, or what is wrong with it, in words.

    A key without a ``kid`` counts only if no other key does; its id is then "".
    """
    entries = _entries(data)
    if isinstance(entries, str):
        return entries
    keys = [key for entry in entries if entry.get("use", "sig") == "sig" and (key := _key(entry))]
    return _key_set(data, keys if len(keys) == 1 else (key for key in keys if key.key_id))


def parse_bundle(data: bytes) -> KeySet | str:
    """The keys and authorities of a SPIFFE bundle, or what is wrong with it, in words.

    Data that begins as PEM are certificates: authorities alone.
    """
    if data.lstrip().startswith(_PEM):
        return _pem_bundle(data)
    entries = _entries(data)
    if isinstance(entries, str):
        return entries
    authorities: list[bytes] = []
    for entry in entries:
        authority = _authority(entry) if entry.get("use") == "x509-svid" else None
        if isinstance(authority, str):
            return authority
        if authority is not None:
            authorities.append(authority)
    keys = [
        key for entry in entries if entry.get("use") == "jwt-svid" and (key := _key(entry)) and key.key_id
    ]
    return _key_set(data, keys, authorities)


def is_key_id(value: object) -> TypeGuard[str]:
    """Whether ``value`` can name a key: printable characters, ``MAX_KEY_ID`` of them at most, or none."""
    return isinstance(value, str) and len(value) <= MAX_KEY_ID and value.isprintable()


def _entries(data: bytes) -> list[Entry] | str:
    """The ``keys`` of a document without secrets, or what is wrong with it."""
    if len(data) > MAX_DOCUMENT:
        return f"the key set has more than {MAX_DOCUMENT} octets"
    document = parse_object(data)
    if document is None:
        return "the key set is not a JSON object, or a name occurs twice in it"
    entries = document.get("keys")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return "the key set has no member keys that is a list of objects"
    if len(entries) > MAX_KEYS:
        return f"the key set has more than {MAX_KEYS} keys"
    if any(entry.get("kty") in ("RSA", "EC", "OKP", "oct") and _SECRET & entry.keys() for entry in entries):
        return "the key set holds private or shared keys; publish public keys alone, and replace these"
    return entries


def _key_set(data: bytes, keys: Iterable[VerifyingKey], authorities: Iterable[bytes] = ()) -> KeySet | str:
    by_id: dict[str, VerifyingKey] = {}
    for key in keys:
        if key.key_id in by_id:
            return "the key set has two keys with the same kid"
        by_id[key.key_id] = key
    digest = hashlib.sha256(data).hexdigest()
    return KeySet(MappingProxyType(by_id), tuple(dict.fromkeys(authorities)), digest)


def _key(entry: Entry) -> VerifyingKey | None:
    """The key of one entry, or None if it is of no use to us."""
    operations = entry.get("key_ops", ["verify"])
    key_id = entry.get("kid", "")
    make = _MAKERS.get(str(entry.get("kty")))
    if make is None or not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        made = make(entry)
    except ValueError:  # numbers that are no key: "values out of the supported ranges", RFC 7517, section 5
        return None
    if made is None or not is_key_id(key_id):
        return None
    key, algorithms = made
    if "alg" in entry:  # the issuer narrows what its key may be used with
        algorithms = frozenset(name for name in algorithms if name == entry["alg"])
    return VerifyingKey(key_id, key, algorithms) if algorithms else None


Made = tuple[PublicKey, frozenset[str]] | None


def _rsa(entry: Entry) -> Made:
    modulus, exponent = _octets(entry, "n"), _octets(entry, "e")
    if not modulus or not exponent or int.from_bytes(modulus).bit_length() not in _RSA_BITS:
        return None
    return RSAPublicNumbers(int.from_bytes(exponent), int.from_bytes(modulus)).public_key(), _RSA


def _ec(entry: Entry) -> Made:
    x, y = _octets(entry, "x"), _octets(entry, "y")
    known = _CURVES.get(str(entry.get("crv")))
    if known is None or x is None or y is None:
        return None
    curve, algorithm, size = known
    if {len(x), len(y)} != {size}:  # RFC 7518, section 6.2.1.2
        return None
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve)
    return numbers.public_key(), frozenset({algorithm})


def _okp(entry: Entry) -> Made:
    x = _octets(entry, "x")
    if entry.get("crv") != "Ed25519" or x is None:
        return None
    return Ed25519PublicKey.from_public_bytes(x), frozenset({"EdDSA"})


_MAKERS: dict[str, Callable[[Entry], Made]] = {"RSA": _rsa, "EC": _ec, "OKP": _okp}


def _octets(entry: Entry, name: str) -> bytes | None:
    value = entry.get(name)
    return base64url.decode(value.encode()) if isinstance(value, str) else None


def _authority(entry: Entry) -> bytes | str | None:
    """The authority of an ``x509-svid`` entry; None if it is to be ignored (X509-SVID, section 6.2)."""
    chain = entry.get("x5c")
    if str(entry.get("kty")) not in _MAKERS or not isinstance(chain, list) or not chain:
        return None
    try:
        der = base64.b64decode(chain[0], validate=True)
        return _authority_der(x509.load_der_x509_certificate(der))
    except (TypeError, ValueError, x509.InvalidVersion):
        return _UNREADABLE


def _pem_bundle(data: bytes) -> KeySet | str:
    if len(data) > MAX_DOCUMENT:
        return f"the bundle has more than {MAX_DOCUMENT} octets"
    if b"PRIVATE KEY-----" in data:
        return "the bundle holds a private key; it is for certificates alone"
    try:
        certificates = x509.load_pem_x509_certificates(data)
    except (ValueError, x509.InvalidVersion):
        return _UNREADABLE
    if len(certificates) > MAX_KEYS:
        return f"the bundle has more than {MAX_KEYS} certificates"
    authorities: list[bytes] = []
    for certificate in certificates:
        authority = _authority_der(certificate)
        if isinstance(authority, str):
            return authority
        authorities.append(authority)
    return _key_set(data, (), authorities)


_UNREADABLE = "the bundle has a certificate that cannot be read"


def _authority_der(certificate: x509.Certificate) -> bytes | str:
    """The DER of a signing certificate; words for any other.

    OpenSSL takes whatever is in its trust store for an anchor: a leaf in here would vouch for itself.
    """
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return "the bundle has a certificate that is not a certificate authority's"
    if not constraints.ca:
        return "the bundle has a certificate that is not a certificate authority's"
    return certificate.public_bytes(Encoding.DER)
