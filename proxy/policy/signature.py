"""Signatures in the format of minisign (Ed25519 over BLAKE2b-512), so that either tool reads the other's.

A public key is one line, a signature four; what is in angle brackets is base64 of that many octets::

    untrusted comment: minisign public key 8A2B30A9AC5F2FBC
    <"Ed", key id: 8, public key: 32>

    untrusted comment: whatever
    <"ED", key id: 8, signature of the BLAKE2b-512 of the file: 64>
    trusted comment: timestamp:1790000000	file:MANIFEST	hashed
    <signature of the signature and the trusted comment: 64>

The untrusted comments say nothing. A secret key without a password (``minisign -G -W``) is one line too,
``<"Ed", kdf: two NUL, "B2", salt and limits: 48, key id: 8, seed: 32, public key: 32, checksum: 32>``; the
checksum is of use under a password only, and minisign leaves it NUL without one. Not read: the old
signatures over the file itself ("Ed"), and secret keys under a password.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_PURE, _HASHED, _BLAKE = b"Ed", b"ED", b"B2"
_NO_KDF = b"\0\0"
_KEY_ID, _RAW, _SIGNATURE, _KDF_PART = 8, 32, 64, 48
_PUBLIC = 2 + _KEY_ID + _RAW
_SECRET = 6 + _KDF_PART + _KEY_ID + 3 * _RAW
_LINES = 4
MAX_OCTETS = 4_096  # of any file in this format
_UNTRUSTED, _TRUSTED = "untrusted comment: ", "trusted comment: "


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who has signed: ``key_id`` is 8 octets, ``raw`` the 32 of the key."""

    key_id: bytes
    raw: bytes

    @property
    def name(self) -> str:
        """The key id as minisign prints it: hex of the octets as one little-endian number."""
        return self.key_id[::-1].hex().upper()

    @property
    def text(self) -> str:
        """The line that goes into ``policy.signer``."""
        return _encode(_PURE + self.key_id + self.raw)


@dataclass(frozen=True, slots=True)
class SecretKey:
    """What signs. It has no text of its own; ``format_secret_key`` writes it for its file."""

    key_id: bytes
    seed: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this one signs."""
        return PublicKey(self.key_id, _private(self.seed).public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as read, of which nothing is believed before ``verify``."""

    key_id: bytes
    signature: bytes
    trusted_comment: str
    global_signature: bytes


def parse_public_key(text: str) -> PublicKey | str:
    """The key in ``text``, either its line alone or the file with the comment; else what is wrong."""
    lines = text.strip().splitlines()
    data = _decode(lines[-1]) if lines else None
    if data is None or len(data) != _PUBLIC or not data.startswith(_PURE):
        return "not a minisign public key: it is one line of 56 characters that begins with RW"
    return PublicKey(data[2 : 2 + _KEY_ID], data[2 + _KEY_ID :])


def format_public_key(key: PublicKey) -> bytes:
    """The file of a public key."""
    return f"{_UNTRUSTED}minisign public key {key.name}\n{key.text}\n".encode()


def parse_secret_key(data: bytes) -> SecretKey | str:
    """The secret key in a file, or what is wrong; the words repeat nothing of it."""
    lines = _lines(data)
    raw = _decode(lines[1]) if lines is not None and len(lines) == 2 else None  # noqa: PLR2004 - comment and key
    if raw is None or len(raw) != _SECRET or not raw.startswith(_PURE) or raw[4:6] != _BLAKE:
        return "not a minisign secret key"
    if raw[2:4] != _NO_KDF:
        return (
            "the key is under a password; sign with `minisign -S`, or make one with `gatepass policy keygen`"
        )
    body = raw[6 + _KDF_PART :]
    key = SecretKey(body[:_KEY_ID], body[_KEY_ID : _KEY_ID + _RAW])
    if body[:-_RAW] != _secret_body(key):
        return "the key is damaged: its two halves do not fit together"
    return key


def format_secret_key(key: SecretKey) -> bytes:
    """The file of a secret key, without a password: it has to be readable by its owner alone."""
    raw = _PURE + _NO_KDF + _BLAKE + bytes(_KDF_PART) + _secret_body(key) + bytes(_RAW)
    return f"{_UNTRUSTED}minisign secret key, not encrypted\n{_encode(raw)}\n".encode()


def parse_signature(data: bytes) -> Signature | str:
    """A signature file, or what is wrong with it."""
    lines = _lines(data)
    if lines is None or len(lines) != _LINES or not lines[0].startswith(_UNTRUSTED):
        return "not a minisign signature: it has four lines, and begins with an untrusted comment"
    body, last = _decode(lines[1]), _decode(lines[3])
    if body is None or len(body) != 2 + _KEY_ID + _SIGNATURE or last is None or len(last) != _SIGNATURE:
        return "not a minisign signature: its second or fourth line is not one"
    if body.startswith(_PURE):
        return "the signature is of the old kind, over the file itself; sign with `minisign -S -H`"
    if not body.startswith(_HASHED) or not lines[2].startswith(_TRUSTED):
        return "not a minisign signature: unknown algorithm, or no trusted comment"
    comment = lines[2].removeprefix(_TRUSTED)
    return Signature(body[2 : 2 + _KEY_ID], body[2 + _KEY_ID :], comment, last)


def format_signature(signature: Signature, untrusted: str = "signature from gatepass") -> bytes:
    """The file of a signature."""
    body = _encode(_HASHED + signature.key_id + signature.signature)
    comment = signature.trusted_comment
    lines = (_UNTRUSTED + untrusted, body, _TRUSTED + comment, _encode(signature.global_signature))
    return "".join(f"{line}\n" for line in lines).encode()


def sign(data: bytes, key: SecretKey, trusted_comment: str) -> Signature:
    """Sign a file.

    :raises ValueError: if the comment is not one printable line (tabs are).
    """
    if not trusted_comment.replace("\t", " ").isprintable():
        raise ValueError("a trusted comment is one printable line")
    private = _private(key.seed)
    signature = private.sign(_digest(data))
    return Signature(
        key.key_id, signature, trusted_comment, private.sign(signature + trusted_comment.encode())
    )


def verify(data: bytes, signature: Signature, key: PublicKey) -> str | None:
    """What is wrong with the signature of a file, or None: then its trusted comment can be trusted."""
    if signature.key_id != key.key_id:
        other = PublicKey(signature.key_id, b"").name
        return f"signed with the key {other}, and policy.signer is {key.name}"
    verifier = Ed25519PublicKey.from_public_bytes(key.raw)
    if not _holds(verifier.verify, signature.signature, _digest(data)):
        return "the signature does not fit: something was changed after signing"
    comment = signature.signature + signature.trusted_comment.encode()
    if not _holds(verifier.verify, signature.global_signature, comment):
        return "the trusted comment was changed after signing"
    return None


def _holds(check: Callable[[bytes, bytes], None], signature: bytes, data: bytes) -> bool:
    try:
        check(signature, data)
    except InvalidSignature:
        return False
    return True


def _digest(data: bytes) -> bytes:
    return blake2b(data).digest()


def _private(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


def _secret_body(key: SecretKey) -> bytes:
    return key.key_id + key.seed + key.public.raw


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(line: str) -> bytes | None:
    """Base64 in its one spelling, or None."""
    try:
        data = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _encode(data) == line else None


def _lines(data: bytes) -> list[str] | None:
    """The lines of a file in this format; None if it cannot be one. Windows may have ended them."""
    if len(data) > MAX_OCTETS:
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
