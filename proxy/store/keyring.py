"""The sidecar's own keys: made at first start, loaded afterwards, never readable by anyone else.

Under the state directory::

    keys/ca.key        P-256, PKCS #8 PEM      signs leaves
    keys/ca.crt        X.509 PEM (RFC 5280)    the CA's certificate, path length 0
    keys/session.key   Ed25519, PKCS #8 PEM    signs session tokens
    keys/log.seed      Ed25519, 32 octets      signs checkpoints
    ca.pem             public copy of the CA's certificate
    ca-bundle.pem      the system's roots and the CA's certificate, for clients that replace their roots

``keys/`` is 0700 and its files 0600; one that others can read is not used. Files appear whole or not
at all, and of two processes that make one at the same time the first wins and both use its key.

Decided: losing ``keys/`` loses the CA and the log's identity, and nothing is re-made silently next to
a surviving half: a certificate that does not fit its key is an error.
"""

import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.identity.jws import SigningKey, VerifyingKeys
from proxy.store import authority, private_file
from proxy.store.private_file import KeyExposed, KeyringError

__all__ = ["KeyExposed", "Keyring", "KeyringError"]

_SEED = 32


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys in memory. ``state`` is the directory they belong to."""

    state: Path
    ca_cert: x509.Certificate
    ca_key: ec.EllipticCurvePrivateKey = field(repr=False)
    session_key: SigningKey
    log_seed: bytes = field(repr=False)

    @classmethod
    def open(cls, state: Path) -> Self:
        """Load the keys under ``state``, making what is not there yet.

        :raises KeyExposed: if others can read a key.
        :raises KeyringError: if a key cannot be made, read or understood.
        """
        keys = private_file.private_directory(state / "keys")
        ca_key = _p256(keys / "ca.key")
        now = datetime.now(UTC)
        ca_pem = private_file.load_or_create(
            keys / "ca.crt", lambda: authority.certificate(ca_key, now, x509.random_serial_number())
        )
        ca_cert = authority.parse(ca_pem, ca_key, keys / "ca.crt")
        private_file.publish(state / "ca.pem", ca_pem)
        return cls(
            state, ca_cert, ca_key, SigningKey.of(_ed25519(keys / "session.key")), _seed(keys / "log.seed")
        )

    @property
    def id(self) -> str:
        """A short name of this sidecar that no other has: from its CA key."""
        return authority.short_id(self.ca_key.public_key())

    @property
    def issuer(self) -> str:
        """Who issues this sidecar's session tokens."""
        return f"urn:gatepass:{self.id}"

    @property
    def audience(self) -> str:
        """For whom this sidecar's session tokens are: this one proxy, never a word that two could share."""
        return f"urn:gatepass:{self.id}:egress"

    @property
    def verifying_keys(self) -> VerifyingKeys:
        """The public keys that session tokens verify with."""
        return VerifyingKeys(self.session_key.private.public_key())

    @property
    def ca_pem(self) -> bytes:
        """The CA's certificate."""
        return self.ca_cert.public_bytes(Encoding.PEM)

    def bundle(self, system_roots: bytes) -> bytes:
        """The system's roots (PEM) and the CA's certificate, also written to ``ca-bundle.pem``."""
        roots = system_roots if not system_roots or system_roots.endswith(b"\n") else system_roots + b"\n"
        # Where an agent's variables are set, the system's roots are an earlier bundle of ours.
        bundle = roots if self.ca_pem in roots else roots + self.ca_pem
        private_file.publish(self.bundle_path, bundle)
        return bundle

    @property
    def bundle_path(self) -> Path:
        """Where ``bundle`` writes."""
        return self.state / "ca-bundle.pem"

    @property
    def ca_path(self) -> Path:
        """Where the public copy of the CA's certificate is."""
        return self.state / "ca.pem"

    @contextmanager
    def spill(self, data: bytes) -> Iterator[str]:
        """A private file with ``data``, gone again when the context is left."""
        path = self.state / "keys" / f".spill-{secrets.token_hex(8)}"
        private_file.write_new(path, data)
        try:
            yield str(path)
        finally:
            path.unlink()


def system_roots() -> bytes:
    """The roots OpenSSL trusts by default on this machine, as PEM; empty if there are none."""
    paths = ssl.get_default_verify_paths()
    return Path(paths.cafile).read_bytes() if paths.cafile else b""


def _p256(path: Path) -> ec.EllipticCurvePrivateKey:
    key = _private(
        private_file.load_or_create(path, lambda: _pem(ec.generate_private_key(ec.SECP256R1()))), path
    )
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyringError(f"{path} is not a P-256 key; restore it from a backup")
    return key


def _ed25519(path: Path) -> Ed25519PrivateKey:
    key = _private(private_file.load_or_create(path, lambda: _pem(Ed25519PrivateKey.generate())), path)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyringError(f"{path} is not an Ed25519 key; restore it from a backup")
    return key


def _seed(path: Path) -> bytes:
    seed = private_file.load_or_create(path, lambda: secrets.token_bytes(_SEED))
    if len(seed) != _SEED:
        raise KeyringError(f"{path} does not hold {_SEED} octets; restore it from a backup")
    return seed


def _private(pem: bytes, path: Path) -> object:
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyringError(f"{path} is not an unencrypted PKCS #8 key; restore it from a backup") from error


def _pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
