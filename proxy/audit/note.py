"""Signed notes, per c2sp.org/signed-note, with Ed25519 keys.

The text, an empty line, then at least one signature line::

    — <key name> <base64(key id[4] || signature)>

What is signed is the text with its final newline, without the empty line. Unknown signatures are
ignored; a known key whose signature fails condemns the whole note.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proxy.audit import Malformed

ED25519: Final = 0x01
MAX_SIGNATURES: Final = 64
MAX_NOTE: Final = 1_000_000
_DASH = "— "
_ID_SIZE = 4


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The four octets that name a key in a signature line."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:_ID_SIZE]


@dataclass(frozen=True, slots=True)
class Vkey:
    """A public key and its name: what a verifier is configured with. Made by ``parse`` or a signer."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> "Vkey":
        """Read ``<name>+<hex id>+<base64(0x01 || key)>``.

        :raises Malformed: if it is anything but what ``str`` prints for an Ed25519 key.
        """
        name, _, rest = text.partition("+")
        key = _unbase64(rest.partition("+")[2])
        if not _is_name(name) or len(key) != 33 or key[0] != ED25519:  # noqa: PLR2004 - the type, then 32 octets
            raise Malformed("not an Ed25519 verifier key")
        vkey = cls(name, key[1:])
        if str(vkey) != text:
            raise Malformed("not an Ed25519 verifier key")
        return vkey

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([ED25519]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    @property
    def id(self) -> bytes:
        """The key's id in signature lines."""
        return key_id(self.name, ED25519, self.public)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made this signature over this message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line; ``body`` is what follows the key id."""

    name: str
    id: bytes
    body: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.id + self.body).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signature lines, none of them checked yet."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> "Note":
        """Read a note.

        :raises Malformed: unless it is exactly what ``format`` prints.
        """
        try:
            content = data[: MAX_NOTE + 1].decode()
        except UnicodeDecodeError:
            raise Malformed("not a signed note") from None
        text, blank, lines = content.rpartition("\n\n")
        signatures = tuple(_signature(line) for line in lines.split("\n")[:-1])
        if len(data) > MAX_NOTE or not blank or not 0 < len(signatures) <= MAX_SIGNATURES:
            raise Malformed("not a signed note")
        note = cls(text + "\n", signatures)
        if not _is_text(note.text) or note.format() != data:
            raise Malformed("not a signed note")
        return note

    def format(self) -> bytes:
        """The octets of the note."""
        return f"{self.text}\n{''.join(map(str, self.signatures))}".encode()

    def signers(self, known: Iterable[Vkey]) -> tuple[Vkey, ...]:
        """The known keys that signed the text; empty means: reject the note.

        It is empty also when any line of a known key fails, whatever the others say.
        """
        keys = {(key.name, key.id): key for key in known}
        found = []
        for line in self.signatures:
            key = keys.get((line.name, line.id))
            if key is None:
                continue
            if not key.verifies(line.body, self.text.encode()):
                return ()
            found.append(key)
        return tuple(dict.fromkeys(found))


class Signer:
    """An Ed25519 signing key with its name. It has no text form."""

    __slots__ = ("_key", "vkey")

    def __init__(self, name: str, seed: bytes) -> None:
        """Take a key name and a 32-octet seed.

        :raises ValueError: if the name cannot stand in a note, or the seed has another length.
        """
        if not _is_name(name):
            raise ValueError(f"not a key name: {name!r}")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.vkey = Vkey(name, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> Note:
        """A note of ``text`` with one signature.

        :raises ValueError: if the text does not end in a newline or holds other control characters.
        """
        if not _is_text(text):
            raise ValueError("not a note's text")
        return Note(text, (Signature(self.vkey.name, self.vkey.id, self._key.sign(text.encode())),))


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    data = _unbase64(encoded)
    if not _is_name(name) or len(data) <= _ID_SIZE:
        raise Malformed("not a signature line")
    return Signature(name, data[:_ID_SIZE], data[_ID_SIZE:])


def _is_name(name: str) -> bool:
    return (
        bool(name) and "+" not in name and name.isprintable() and len(name.split()) == 1 and " " not in name
    )


def _is_text(text: str) -> bool:
    return text.endswith("\n") and not any((char < " " and char != "\n") or char == "\x7f" for char in text)


def _unbase64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Malformed("not base64")
    return data
