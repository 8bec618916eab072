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
