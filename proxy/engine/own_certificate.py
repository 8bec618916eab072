"""What a TLS listener shows its clients (RFC 5280): from files, from gatepass's own CA, or an X.509-SVID.

Each source gives the same object until there is a newer one, so that a listener knows when to change.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from proxy.engine.leaf import Leaf, Mint
from proxy.engine.leaf_cache import REMINT_BEFORE
from proxy.engine.watched import Watched
from proxy.errors import Refusal


class OwnCertificate(Protocol):
    """A source of the listener's certificate."""

    def current(self) -> Leaf | None:
        """The one to show now; None: there is none, and nobody can connect."""
        ...


def from_files(certificate: Path, key: Path, alarm: Callable[[str], None]) -> Watched[Leaf]:
    """A PEM file with the chain, leaf first, and one with its key; read again when they change.

    :raises OSError: one cannot be read. :raises ValueError: they do not hold a certificate and its key.
    """
    return Watched((certificate, key), lambda pem: from_pem(*pem), alarm)


def from_pem(chain: bytes, key: bytes) -> Leaf:
    """A chain and its key, which is not encrypted.

    :raises ValueError: they are malformed, or do not belong together.
    """
    certificates = x509.load_pem_x509_certificates(chain)
    try:
        private = load_pem_private_key(key, None)
    except TypeError as error:
        raise ValueError("the key is encrypted; gatepass has nobody to ask for its passphrase") from error
    return _leaf(certificates, private)


def _leaf(certificates: Sequence[x509.Certificate], key: PrivateKeyTypes) -> Leaf:
    leaf, form = certificates[0], (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise ValueError("the key does not belong to the first certificate")
    chain = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Leaf(chain, secret, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


class Minted:
    """Signed by gatepass's own CA for the listener's ``names``, and anew before the leaf's day is over.

    ``now`` gives aware times, ``serial`` certificate serial numbers.

    :raises ValueError: the mint does not sign for these names.
    """

    def __init__(
        self, mint: Mint, names: tuple[str, ...], now: Callable[[], datetime], serial: Callable[[], int]
    ) -> None:
        self._mint = mint
        self._names = names
        self._now = now
        self._serial = serial
        self._leaf = self._new()

    def current(self) -> Leaf:
        """The one to show now."""
        if not self._leaf.not_before <= self._now() < self._leaf.not_after - REMINT_BEFORE:
            self._leaf = self._new()
        return self._leaf

    def _new(self) -> Leaf:
        leaf = self._mint.listener_leaf(self._names, now=self._now(), serial=self._serial())
        if isinstance(leaf, Refusal):
            raise ValueError(f"no certificate for {', '.join(self._names)}: {leaf.detail}")  # noqa: TRY004 - it is a value
        return leaf


class Pushed:
    """The one that somebody else keeps up to date: the sidecar's own SVID (SPIFFE Workload API, 5.2)."""

    def __init__(self) -> None:
        self._leaf: Leaf | None = None

    def current(self) -> Leaf | None:
        """The one to show now; None before the first and after a withdrawal."""
        return self._leaf

    def present(self, chain: Sequence[bytes], key: bytes) -> None:
        """From now on show this: certificates in DER, leaf first, and the key in PKCS #8.

        :raises ValueError: they are malformed, or do not belong together; what was shown before stays.
        """
        certificates = [x509.load_der_x509_certificate(certificate) for certificate in chain]
        if not certificates:
            raise ValueError("there is no certificate in the chain")
        self._leaf = _leaf(certificates, load_der_private_key(key, None))

    def withdraw(self) -> None:
        """From now on there is nothing to show, and nobody can connect."""
        self._leaf = None
