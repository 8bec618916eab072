"""The certificates of one run (RFC 5280): a P-256 CA, and the API's P-256 leaf. Thrown away afterwards."""

import datetime as dt
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

HOST = "api.bench.test"
SPAN = dt.timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, both as PEM files."""

    certificate: Path
    key: Path

    @property
    def both(self) -> bytes:
        return self.certificate.read_bytes() + self.key.read_bytes()


def authority(directory: Path, name: str) -> Issued:
    """Make a CA of that name."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
    )
    return _write(directory, name, builder.sign(key, hashes.SHA256()), key)


def leaf(directory: Path, issuer: Issued, *names: str) -> Issued:
    """Issue a server's certificate for host names, and for 127.0.0.1."""
    certificate = x509.load_pem_x509_certificate(issuer.certificate.read_bytes())
    signer = serialization.load_pem_private_key(issuer.key.read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    alternatives = [*map(x509.DNSName, names), x509.IPAddress(IPv4Address("127.0.0.1"))]
    builder = (
        _builder(subject, certificate.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    return _write(directory, names[0], builder.sign(signer, hashes.SHA256()), key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    public = key.public_key()
    return x509.CertificateBuilder(
        issuer, subject, public, x509.random_serial_number(), now - SPAN, now + SPAN
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _write(
    directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> Issued:
    issued = Issued(directory / f"{name}.pem", directory / f"{name}-key.pem")
    issued.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    issued.key.touch(mode=0o600)
    issued.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return issued
