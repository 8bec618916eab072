"""A tree head, per c2sp.org/tlog-checkpoint: a signed note whose text is exactly three lines.

    <origin>
    <size, decimal>
    <base64 root hash>

No extension lines, neither written nor read: parsing means printing again and comparing.
"""

import base64
import binascii
from dataclasses import dataclass

from proxy.audit import Malformed
from proxy.audit.merkle import HASH_SIZE
from proxy.audit.note import Note, Signer, Vkey


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: its name, the number of its entries, the root over them."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read the three lines.

        :raises Malformed: unless the text is exactly what ``format`` prints.
        """
        origin, _, rest = text.partition("\n")
        digits, _, encoded = rest.partition("\n")
        # int() takes more digits than any log has entries, and slowly
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):  # noqa: PLR2004 - digits of 2^63
            raise Malformed("not a checkpoint")
        try:
            root = base64.b64decode(encoded.removesuffix("\n"), validate=True)
        except (binascii.Error, ValueError):
            raise Malformed("not a checkpoint") from None
        checkpoint = cls(origin, int(digits), root)
        if not origin or len(root) != HASH_SIZE or checkpoint.format() != text:
            raise Malformed("not a checkpoint")
        return checkpoint

    def format(self) -> str:
        """The three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def sign(self, signer: Signer) -> bytes:
        """The checkpoint as a note. A log never signs one size with two roots: the caller sees to it."""
        return signer.sign(self.format()).format()


def opened(data: bytes, key: Vkey) -> Checkpoint:
    """The checkpoint that ``key`` signed for the log of its own name. Cosignatures are not judged here.

    :raises Malformed: if it is not a checkpoint, is of another log, or is not signed by this key.
    """
    note = Note.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != key.name:
        raise Malformed(f"a checkpoint of another log: {checkpoint.origin}")
    if not note.signers([key]):
        raise Malformed("the signature is not valid for this key")
    return checkpoint
