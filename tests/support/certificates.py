"""Certificates for the scripted upstream, good and bad, minted in memory (RFC 5280)."""

import datetime as dt
import ssl
from enum import Enum, auto

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
LATER = dt.datetime(2038, 1, 1, tzinfo=dt.UTC)


class Certificate(Enum):
    """What the upstream shows."""

    GOOD = auto()
    EXPIRED = auto()
    WRONG_NAME = auto()  # issued by the world's CA, for wrong.invalid
    SELF_SIGNED = auto()  # right name, signed by its own key
    UNKNOWN_CA = auto()  # right name, issued by a CA that nobody trusts


def server_context(
    authority: trustme.CA, hosts: tuple[str, ...], kind: Certificate, alpn: tuple[str, ...]
) -> ssl.SSLContext:
    """A server's context that shows a certificate of this kind for ``hosts``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _leaf(authority, hosts, kind).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _leaf(authority: trustme.CA, hosts: tuple[str, ...], kind: Certificate) -> trustme.LeafCert:
    match kind:
        case Certificate.GOOD:
            return authority.issue_cert(*hosts)
        case Certificate.EXPIRED:
            return authority.issue_cert(*hosts, not_before=PAST, not_after=PAST + dt.timedelta(days=1))
        case Certificate.WRONG_NAME:
            return authority.issue_cert("wrong.invalid")
        case Certificate.UNKNOWN_CA:
            return trustme.CA().issue_cert(*hosts)
        case Certificate.SELF_SIGNED:
            return _self_signed(hosts)


def _self_signed(hosts: tuple[str, ...]) -> trustme.LeafCert:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "self-signed")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), PAST, LATER)
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(
        encoding, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return trustme.LeafCert(secret, certificate.public_bytes(encoding), [])


NO_AUTHORITY = x509.BasicConstraints(ca=False, path_length=None)


class SpiffeAuthority:
    """A small signing authority of a trust domain, which mints good leaves of X.509-SVIDs and bad ones."""

    def __init__(self, trust_domain: str = "example.org") -> None:
        self.trust_domain = trust_domain
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "SPIFFE")])
        self.certificate = self.sign(
            f"spiffe://{trust_domain}",
            key=self.key,
            subject=self.name,
            constraints=x509.BasicConstraints(ca=True, path_length=None),
            usage=key_usage(digital_signature=False, key_cert_sign=True, crl_sign=True),
            not_before=PAST,
            not_after=LATER,
        )

    def sign(
        self,
        *uris: str,
        not_before: dt.datetime,
        not_after: dt.datetime,
        key: ec.EllipticCurvePrivateKey | None = None,
        subject: x509.Name | None = None,
        dns: tuple[str, ...] = (),
        names_critical: bool = True,
        constraints: x509.BasicConstraints | None = NO_AUTHORITY,
        usage: x509.KeyUsage | None = None,
        usage_critical: bool = True,
        purposes: tuple[x509.ObjectIdentifier, ...] = (
            x509.ExtendedKeyUsageOID.SERVER_AUTH,
            x509.ExtendedKeyUsageOID.CLIENT_AUTH,
        ),
        has_authority: bool = True,
        has_usage: bool = True,
    ) -> x509.Certificate:
        """A certificate with these URIs, good unless told otherwise. ``purposes`` empty: no such extension."""
        public = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
        serial = x509.random_serial_number()
        subject = x509.Name([]) if subject is None else subject
        builder = x509.CertificateBuilder(self.name, subject, public, serial, not_before, not_after)
        names = [x509.UniformResourceIdentifier(uri) for uri in uris] + [x509.DNSName(name) for name in dns]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=names_critical)
        if constraints:
            builder = builder.add_extension(constraints, critical=True)
        if has_usage:
            builder = builder.add_extension(usage or key_usage(), critical=usage_critical)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if has_authority:
            authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(authority, critical=False)
        return builder.sign(self.key, hashes.SHA256())


def key_usage(
    *, digital_signature: bool = True, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    """A key usage with these bits."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
