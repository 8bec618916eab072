"""The CA's own certificate (RFC 5280): self-signed, path length 0, signs certificates and CRLs only."""

import hashlib
import platform
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from proxy.store.private_file import KeyringError

BACKDATE = timedelta(hours=1)  # clients' clocks lag
LIFETIME = timedelta(days=3650)
_MAX_HOST = 40  # a common name holds 64 characters
_KEY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def certificate(key: ec.EllipticCurvePrivateKey, now: datetime, serial: int) -> bytes:
    """A certificate for the CA key, as PEM."""
    public = key.public_key()
    host = platform.node()[:_MAX_HOST] or "localhost"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"gatepass CA ({host}-{short_id(public)})")])
    ski = x509.SubjectKeyIdentifier.from_public_key(public)
    not_before = now.replace(microsecond=0) - BACKDATE
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_before + LIFETIME - timedelta(seconds=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_KEY_USAGE, critical=True)
        .add_extension(ski, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def parse(pem: bytes, key: ec.EllipticCurvePrivateKey, path: Path) -> x509.Certificate:
    """The CA's certificate.

    :raises KeyringError: if it is malformed or belongs to another key.
    """
    try:
        cert = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise KeyringError(f"{path} is not a certificate; restore it from a backup") from error
    if cert.public_key() != key.public_key():
        raise KeyringError(f"{path} belongs to another key than ca.key; restore both from one backup")
    return cert


def short_id(public: ec.EllipticCurvePublicKey) -> str:
    """Sixteen hex digits that name the key."""
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()[:16]
