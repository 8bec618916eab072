"""Leaf certificates for intercepted hosts and for our own listeners: RFC 5280, and RFC 6125 for names.

Every leaf has a P-256 key of its own, so that a leaked leaf is one host for one day and never the CA.
The subject is empty and the subjectAltName therefore critical (RFC 5280, section 4.2.1.6): public CAs
issue the same, a host name may be longer than a common name can be, and no client reads one any more.

Values in, values out: the clock, the serial number and the decision which names may be signed are
arguments. Nothing here touches a file.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from proxy.errors import Code, Refusal

BACKDATE = timedelta(hours=1)  # clients' clocks lag
LIFETIME = timedelta(hours=24)  # from notBefore to notAfter, both included
_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_SERVER_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_NOT_A_CA = x509.BasicConstraints(ca=False, path_length=None)


class Leaf(NamedTuple):
    """A minted certificate and its key. The chain holds no root: clients have it or reject it."""

    cert_chain_pem: bytes
    key_pem: bytes
    not_before: datetime
    not_after: datetime


class Mint:
    """Signs leaves with the CA, for names that ``may_sign`` accepts and for no others."""

    def __init__(
        self,
        ca_key: ec.EllipticCurvePrivateKey,
        ca_cert: x509.Certificate,
        may_sign: Callable[[str], bool],
    ) -> None:
        self._ca_key = ca_key
        self._ca_cert = ca_cert
        self._may_sign = may_sign
        # RFC 5280, section 4.2.1.1: equal to the issuer's own SKI, whatever method made that one.
        ski = ca_cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        self._authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)

    def leaf(self, name: str, is_ip: bool, *, now: datetime, serial: int) -> Leaf | Refusal:  # noqa: FBT001 - it belongs to the name
        """Mint a leaf for a canonical host name or printed address.

        ``now`` is aware; ``serial`` is positive and below 2**159 (RFC 5280, section 4.1.2.2), fresh
        each time. DEFAULT_DENY if no rule could ever allow the name.
        """
        return self._leaf({name: is_ip}, now, serial)

    def listener_leaf(self, names: Iterable[str], *, now: datetime, serial: int) -> Leaf | Refusal:
        """Mint one leaf for all of a listener's names (hosts, printed addresses); else as ``leaf``."""
        return self._leaf({name: _is_address(name) for name in names}, now, serial)

    def _leaf(self, names: Mapping[str, bool], now: datetime, serial: int) -> Leaf | Refusal:
        if not names or not all(self._may_sign(name) for name in names):
            return Refusal(
                Code.DEFAULT_DENY, "no rule could allow this host, so no certificate is made for it"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        not_before = now.replace(microsecond=0) - BACKDATE
        not_after = min(not_before + LIFETIME - timedelta(seconds=1), self._ca_cert.not_valid_after_utc)
        san = x509.SubjectAlternativeName(
            x509.IPAddress(ip_address(name)) if is_ip else x509.DNSName(name) for name, is_ip in names.items()
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._ca_cert.subject)
            .public_key(public)
            .serial_number(serial)
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(san, critical=True)
            .add_extension(_NOT_A_CA, critical=True)
            .add_extension(_KEY_USAGE, critical=True)
            .add_extension(_SERVER_AUTH, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._authority, critical=False)
            .sign(self._ca_key, hashes.SHA256())
        )
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Leaf(certificate.public_bytes(Encoding.PEM), key_pem, not_before, not_after)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
