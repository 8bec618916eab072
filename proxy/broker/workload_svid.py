"""What a Workload API message must be to be believed (X509-SVID, 2 to 5; SPIFFE Workload API, 5 and 6).

Values in, values out. A message is taken as a whole or not at all: it is the full set of what the server
knows, and half of it would be a set that nobody ever issued.

Not checked: the leaf's signature against its bundle. The bundle comes from the same server as the leaf,
so a server that lies would lie about both; peers check it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

import orjson
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from proxy.broker.workload_proto import X509Message, X509SvidMessage
from proxy.identity.i_json import parse_object
from proxy.identity.keyset import KeySet, VerifyingKey, parse_bundle
from proxy.identity.spiffe import SCHEME, flaw

_SEQUENCE = 0x30
_LONG_FORM = 0x80
_MAX_LENGTH_OCTETS = 4
_MALFORMED = (
    *(ValueError, UnsupportedAlgorithm, x509.InvalidVersion),
    *(x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)


@dataclass(frozen=True, slots=True)
class Svid:
    """The sidecar's own X.509-SVID: everything in DER, the leaf first. ``expires_at`` is POSIX seconds.

    ``bundle`` holds the authorities of its own trust domain; ``crl`` every revocation list of the message.
    """

    spiffe_id: str
    chain_der: tuple[bytes, ...] = field(repr=False)
    key_pkcs8_der: bytes = field(repr=False)
    bundle: tuple[bytes, ...] = field(repr=False)
    crl: tuple[bytes, ...] = field(repr=False)
    expires_at: int


@dataclass(frozen=True, slots=True)
class Authorities:
    """The X.509 half of a trust domain's bundle; ``document`` is the octets it came in."""

    der: tuple[bytes, ...]
    document: bytes


@dataclass(frozen=True, slots=True)
class JwtKeys:
    """The JWT half of a trust domain's bundle; ``document`` is the octets it came in."""

    keys: Mapping[str, VerifyingKey]
    document: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """One X.509 message: the default identity, and the authorities by the SPIFFE ID of their trust domain."""

    svid: Svid
    authorities: Mapping[str, Authorities]


def parse_x509_svid(der_concat: bytes) -> tuple[bytes, ...] | None:
    """Split DER values that stand one after another (X.690, 8.1 and 10.1); None if these are not such values.

    Each is a SEQUENCE with its length in the shortest form, nothing is left over, and there is at least one.
    """
    parts, start = [], 0
    while start < len(der_concat):
        end = _end_of_sequence(der_concat, start)
        if end is None or end > len(der_concat):
            return None
        parts.append(der_concat[start:end])
        start = end
    return tuple(parts) or None


def _end_of_sequence(data: bytes, start: int) -> int | None:
    head = data[start : start + 2]
    if len(head) < 2 or head[0] != _SEQUENCE:  # noqa: PLR2004 - a tag and a length
        return None
    if head[1] < _LONG_FORM:
        return start + 2 + head[1]
    count = head[1] - _LONG_FORM
    octets = data[start + 2 : start + 2 + count]
    length = int.from_bytes(octets)
    # X.690, 10.1: the shortest form; and 8.1.3.6: no indefinite one.
    if not 0 < count <= _MAX_LENGTH_OCTETS or len(octets) != count or not octets[0] or length < _LONG_FORM:
        return None
    return start + 2 + count + length


def trust_domain_flaw(name: str) -> str | None:
    """What is wrong with the SPIFFE ID of a trust domain (``spiffe://example.org``), in words, or None."""
    # A trust domain is named right if a workload in it could be.
    return (
        None
        if "/" not in name.removeprefix(SCHEME) and flaw(f"{name}/x") is None
        else (f"{name[:80]!r} is not the SPIFFE ID of a trust domain")
    )


def read_identity(message: X509Message, now: int) -> Identity | str:
    """Judge one X.509 message at ``now`` (POSIX seconds); a str says what is wrong with it.

    1. there is an SVID, and every revocation list is one;
    2. every SVID holds (``_svid``), also those that are not used: the message comes as a whole;
    3. every bundle is of a trust domain and holds authorities, and no trust domain has two different ones.
    """
    # (1): what must be there, is.
    if not message.svids:
        return "it has no SVID"
    if not all(_is_crl(crl) for crl in message.crl):
        return "a revocation list in it is not a CRL"
    # (2): the first is the default identity (SPIFFE Workload API, 5.3).
    svids: list[Svid] = []
    for each in message.svids:
        svid = _svid(each, message.crl, now)
        if isinstance(svid, str):
            return svid
        svids.append(svid)
    # (3): an SVID's own bundle, and those of other trust domains.
    own = [(_trust_domain(svid.spiffe_id), svid.bundle) for svid in message.svids]
    authorities = _bundles([*own, *message.federated_bundles.items()])
    return authorities if isinstance(authorities, str) else Identity(svids[0], authorities)


def read_jwt_keys(message: Mapping[str, bytes]) -> Mapping[str, JwtKeys] | str:
    """Judge one message of JWT bundles, by the SPIFFE ID of the trust domain; a str says what is wrong."""
    read = {}
    for name, document in message.items():
        if words := trust_domain_flaw(name):
            return words
        keys = _jwt_keys(document)
        if isinstance(keys, str):
            return f"the JWT bundle of {name}: {keys}"
        read[name] = JwtKeys(keys, document)
    return read


def merge(authorities: Authorities | None, jwt: JwtKeys | None) -> KeySet:
    """Both halves of one trust domain's bundle.

    ``sha256`` is over both documents, one after the other; a DER value tells where it ends.
    """
    documents = (authorities.document if authorities else b"") + (jwt.document if jwt else b"")
    return KeySet(
        keys=jwt.keys if jwt else {},
        authorities=authorities.der if authorities else (),
        sha256=sha256(documents).hexdigest(),
    )


def _svid(message: X509SvidMessage, crl: tuple[bytes, ...], now: int) -> Svid | str:
    """1. no field is empty, the name is one; 2. chain and bundle; 3. the leaf; 4. its key; 5. its time."""
    # (1): SPIFFE Workload API, 5.4: a default value is an error.
    if not all(message):
        return "an SVID in it has an empty field"
    if words := flaw(message.spiffe_id):
        return words
    # (2): the leaf comes first.
    chain, bundle = _certificates(message.x509_svid), _authorities(message.bundle)
    if chain is None:
        return f"the chain of {message.spiffe_id} is not certificates in DER"
    if isinstance(bundle, str):
        return f"the bundle of {message.spiffe_id}: {bundle}"
    # (3): it carries the name.
    if words := _leaf_flaw(chain[0], message.spiffe_id):
        return words
    # (4): we can prove that it is ours.
    key = _matching_key(message.x509_svid_key, chain[0])
    if key is None:
        return f"the key of {message.spiffe_id} is not the key of its certificate"
    # (5): it can still be used.
    expires_at = int(chain[0].not_valid_after_utc.timestamp())
    if expires_at <= now:
        return f"the certificate of {message.spiffe_id} has expired"
    der = tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)
    return Svid(message.spiffe_id, der, key, bundle, crl, expires_at)


def _leaf_flaw(leaf: x509.Certificate, spiffe_id: str) -> str | None:
    """X509-SVID, 2 and 4.1: exactly one URI, the SPIFFE ID; and no signing certificate."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        signs = any(
            isinstance(extension.value, x509.BasicConstraints) and extension.value.ca
            for extension in leaf.extensions
        )
    except (*_MALFORMED, x509.ExtensionNotFound):
        return f"the certificate of {spiffe_id} has no readable subject alternative name"
    if uris != [spiffe_id]:
        return f"the certificate of {spiffe_id} does not carry that name and no other"
    return f"the certificate of {spiffe_id} is a signing certificate" if signs else None


def _matching_key(data: bytes, leaf: x509.Certificate) -> bytes | None:
    """The key in PKCS#8, if it is the leaf's."""
    try:
        key = serialization.load_der_private_key(data, None)
        ours, theirs = (
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for public in (key.public_key(), leaf.public_key())
        )
    except (*_MALFORMED, TypeError):  # TypeError: it is encrypted
        return None
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) if ours == theirs else None


def _bundles(documents: Iterable[tuple[str, bytes]]) -> Mapping[str, Authorities] | str:
    read: dict[str, Authorities] = {}
    for name, document in documents:
        if words := trust_domain_flaw(name):
            return words
        authorities = _authorities(document)
        if isinstance(authorities, str):
            return f"the X.509 bundle of {name}: {authorities}"
        if read.setdefault(name, Authorities(authorities, document)).document != document:
            return f"{name} has two different X.509 bundles"
    return read


def _authorities(document: bytes) -> tuple[bytes, ...] | str:
    """The authorities of a bundle in DER; read as PEM, so that one place says what an authority is."""
    certificates = _certificates(document)
    if certificates is None:
        return "it is not certificates in DER"
    bundle = parse_bundle(b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates))
    return bundle if isinstance(bundle, str) else bundle.authorities


def _jwt_keys(document: bytes) -> Mapping[str, VerifyingKey] | str:
    """The keys of a JWK set. SPIRE sends a plain one: no ``use``, and null for no keys.

    SPIFFE Workload API, 6.3: keys with another use must not be there.
    """
    parsed = parse_object(document)
    if parsed is None:
        return "it is not a JSON object, or a name occurs twice in it"
    listed = parsed.get("keys")
    if listed is None:
        return {}
    if not isinstance(listed, list) or not all(isinstance(key, dict) for key in listed):
        return "it is not a JWK set"
    marked = [{"use": "jwt-svid", **key} for key in listed]
    if any(key["use"] != "jwt-svid" for key in marked):
        return "it has a key with another use than jwt-svid"
    keys = parse_bundle(orjson.dumps({"keys": marked}))
    return keys if isinstance(keys, str) else keys.keys


def _certificates(document: bytes) -> list[x509.Certificate] | None:
    try:
        return [x509.load_der_x509_certificate(part) for part in parse_x509_svid(document) or ()] or None
    except _MALFORMED:
        return None


def _is_crl(document: bytes) -> bool:
    try:
        x509.load_der_x509_crl(document)
    except _MALFORMED:
        return False
    return True


def _trust_domain(spiffe_id: str) -> str:
    return SCHEME + spiffe_id.removeprefix(SCHEME).partition("/")[0]
