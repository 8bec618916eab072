"""An offline proof that an entry is in a log, per c2sp.org/tlog-proof.

c2sp.org/tlog-proof@v1
extra <base64>                  (optional, not authenticated)
index <N>
<base64 sibling hash> ...       (the leaf's sibling first)

<checkpoint, verbatim>
"""

import base64
import binascii
from dataclasses import dataclass

from proxy.audit import Malformed
from proxy.audit.checkpoint import Checkpoint, opened
from proxy.audit.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from proxy.audit.note import Vkey

_MAGIC = "c2sp.org/tlog-proof@v1\n"
_MAX_PROOF = 63


@dataclass(frozen=True, slots=True)
class Proof:
    """An inclusion proof with the checkpoint it leads to; ``extra`` is nobody's word."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    @classmethod
    def parse(cls, data: bytes) -> "Proof":
        """Read a proof file.

        :raises Malformed: unless it is exactly what ``format`` prints.
        """
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")[1:]
            extra = _unbase64(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else None
            number = lines.pop(0).removeprefix("index ")
            hashes = tuple(map(_unbase64, lines))
        except (UnicodeDecodeError, binascii.Error, ValueError, IndexError):
            raise Malformed("not a tlog proof") from None
        if not (blank and number.isascii() and number.isdigit() and len(number) <= 19):  # noqa: PLR2004 - 2^63
            raise Malformed("not a tlog proof")
        proof = cls(int(number), hashes, checkpoint, extra)
        sound = len(hashes) <= _MAX_PROOF and all(len(value) == HASH_SIZE for value in hashes)
        if not sound or proof.format() != data:
            raise Malformed("not a tlog proof")
        return proof

    def format(self) -> bytes:
        """The octets of the proof file."""
        extra = "" if self.extra is None else f"extra {_base64(self.extra)}\n"
        hashes = "".join(f"{_base64(value)}\n" for value in self.hashes)
        return f"{_MAGIC}{extra}index {self.index}\n{hashes}\n".encode() + self.checkpoint

    def verify(self, entry: bytes, key: Vkey) -> Checkpoint:
        """The checkpoint that proves the entry; cosignatures of witnesses are not asked for.

        (1) the leaf hash is taken from the entry, (2) the checkpoint is signed by the log's key under
        its name, (3) the siblings lead from the leaf to the signed root.

        :raises Malformed: if (2) or (3) does not hold.
        """
        checkpoint = opened(self.checkpoint, key)
        if not verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.hashes, checkpoint.root):
            raise Malformed("the entry is not at this index of the log")
        return checkpoint


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
