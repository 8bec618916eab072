"""A trust domain's certificates, a TLS listener that believes them, and clients that show one."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.engine.leaf import Mint
from proxy.engine.listener_tls import ListenerTls
from proxy.engine.own_certificate import Minted, OwnCertificate
from proxy.store import authority
from tests.support.certificates import LATER, SpiffeAuthority, key_usage
from tests.support.rawclient import WAIT_S, RawClient

DOMAIN = "example.org"
AGENT = f"spiffe://{DOMAIN}/agent"
MONTH = dt.timedelta(days=30)
BOTH_LOOPS = ("uvloop", "asyncio")


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


class Authority(SpiffeAuthority):
    """As its base, with a key id: authorities of one name are told apart by it (RFC 5280, 4.2.1.2)."""

    def __init__(
        self, trust_domain: str = DOMAIN, name: str = "SPIFFE", above: SpiffeAuthority | None = None
    ) -> None:
        super().__init__(trust_domain)
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)])
        signer, public = above or self, self.key.public_key()
        usage = key_usage(digital_signature=False, key_cert_sign=True, crl_sign=True)
        key_id = x509.SubjectKeyIdentifier.from_public_key(public)
        uri = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
        self.certificate = (
            x509.CertificateBuilder(
                signer.name, self.name, public, x509.random_serial_number(), now() - MONTH, LATER
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(key_id, critical=False)
            .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
            .sign(signer.key, hashes.SHA256())
        )


@dataclass
class Shown:
    """What a client shows: a chain and its key, as files and as values."""

    chain: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey
    path: Path

    @property
    def der(self) -> bytes:
        return self.chain[0].public_bytes(Encoding.DER)

    def revoked_by(self, issuer: SpiffeAuthority, *, until: dt.datetime = LATER) -> bytes:
        return revocations(issuer, self.chain[0].serial_number, until=until)


def revocations(issuer: SpiffeAuthority, *serials: int, until: dt.datetime = LATER) -> bytes:
    """A revocation list of ``issuer``, in PEM."""
    begins = now() - dt.timedelta(days=2)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(begins)
        .next_update(until)
    )
    for serial in serials:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begins).build()
        )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def shown(
    directory: Path,
    issuer: SpiffeAuthority,
    uri: str = AGENT,
    *above: x509.Certificate,
    ends: dt.timedelta = dt.timedelta(hours=1),
) -> Shown:
    """A leaf for ``uri``, the certificates above it behind it, in a file that OpenSSL loads."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = issuer.sign(
        uri, key=key, not_before=now() - dt.timedelta(hours=2), not_after=now() + ends, dns=("localhost",)
    )
    path = directory / f"{leaf.serial_number:x}.pem"
    path.write_bytes(pem_key(key) + b"".join(pem(certificate) for certificate in (leaf, *above)))
    return Shown((leaf, *above), key, path)


def pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def der(issuer: SpiffeAuthority) -> bytes:
    return issuer.certificate.public_bytes(Encoding.DER)


class House:
    """gatepass's own CA, which signs the listener's certificate."""

    def __init__(self, age: dt.timedelta = dt.timedelta(0)) -> None:
        self.time = now() - age
        key = ec.generate_private_key(ec.SECP256R1())
        self.pem = authority.certificate(key, self.time, 1)
        mint = Mint(key, x509.load_pem_x509_certificate(self.pem), {"localhost", "127.0.0.1"}.__contains__)
        self.mint = mint
        self.own = Minted(mint, ("localhost", "127.0.0.1"), lambda: self.time, x509.random_serial_number)

    def client(self, shows: Shown | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.pem.decode())
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        if shows is not None:
            context.load_cert_chain(shows.path)
        return context


def listener_tls(
    own: OwnCertificate, *, crl: Path | None = None, alarm: Callable[[str], None]
) -> ListenerTls:
    return ListenerTls(
        DOMAIN,
        own,
        crl=crl,
        spill=lambda _: contextlib.nullcontext(""),
        alarm=alarm,
        now=asyncio.get_running_loop().time,
    )


async def tls_client(address: tuple[str, int], context: ssl.SSLContext, name: str = "localhost") -> RawClient:
    async with asyncio.timeout(WAIT_S):
        return RawClient(*await asyncio.open_connection(*address, ssl=context, server_hostname=name))
