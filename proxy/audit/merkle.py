"""Merkle tree hashing and proofs, RFC 6962 section 2.1 (SHA-256).

``leaf = SHA-256(0x00 || entry)``, ``node = SHA-256(0x01 || left || right)``; a tree of n leaves splits
at the largest power of two smaller than n. Proofs are built from the roots of perfect subtrees: a
``Node`` function gives the root of the 2^height leaves that start at leaf index * 2^height.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

Node = Callable[[int, int], bytes]
"""``node(height, index)``: the root of one perfect subtree."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: roots of its perfect subtrees, the largest first.

    Appending costs one inner hash on average, the root O(log n).
    """

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        """Start empty, or at ``size`` leaves with the roots that ``perfect`` names."""
        if len(roots) != size.bit_count():
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} perfect subtrees, not {len(roots)}"
            )
        self.size = size
        self._roots = list(roots)

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf hash; returns the roots that it completes, by height from 0 (the leaf itself)."""
        done, rest = [leaf], self.size
        while rest & 1:
            leaf = hashlib.sha256(b"\x01" + self._roots.pop() + leaf).digest()
            done.append(leaf)
            rest >>= 1
        self._roots.append(leaf)
        self.size += 1
        return done

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        return _fold(self._roots) if self._roots else EMPTY_ROOT


def perfect(start: int, stop: int) -> list[tuple[int, int]]:
    """The fewest perfect subtrees that cover leaves start..stop, as (height, index), from the left."""
    found = []
    while start < stop:
        room = (stop - start).bit_length() - 1
        height = min(room, (start & -start).bit_length() - 1) if start else room
        found.append((height, start >> height))
        start += 1 << height
    return found


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root of a tree of these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def subtree(node: Node, start: int, stop: int) -> bytes:
    """The hash over leaves start..stop, a range that a tree's own splits produce."""
    if start == stop == 0:
        return EMPTY_ROOT
    return _fold([node(height, index) for height, index in perfect(start, stop)])


def inclusion_proof(node: Node, index: int, size: int) -> list[bytes]:
    """The siblings of leaf ``index`` in a tree of ``size`` leaves, the leaf's own first.

    :raises ValueError: if there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    return _path(node, index, 0, size)


def consistency_proof(node: Node, old: int, new: int) -> list[bytes]:
    """The proof that the tree of ``old`` leaves is a prefix of the tree of ``new`` leaves.

    :raises ValueError: unless 0 < old <= new (nothing needs proof for an empty tree).
    """
    if not 0 < old <= new:
        raise ValueError(f"no consistency proof from {old} to {new}")
    start, stop, whole, proof = 0, new, True, list[bytes]()
    while stop != old:
        middle = start + _split(stop - start)
        if old <= middle:
            proof.append(subtree(node, middle, stop))
            stop = middle
        else:
            proof.append(subtree(node, start, middle))
            start, whole = middle, False
    if not whole:
        proof.append(subtree(node, start, stop))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``leaf`` is number ``index`` of the tree with this size and root."""
    if not 0 <= index < size:
        return False
    inner = (index ^ (size - 1)).bit_length()
    if len(proof) != inner + (index >> inner).bit_count():
        return False
    for height, sibling in enumerate(proof):
        right = height >= inner or index >> height & 1
        leaf = node_hash(sibling, leaf) if right else node_hash(leaf, sibling)
    return leaf == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree (old, old_root) is a prefix of the tree (new, new_root): RFC 9162, 2.1.4.2."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not path:
        return False
    last, end = old - 1, new - 1
    while last & 1:
        last, end = last >> 1, end >> 1
    small = large = path[0]
    for sibling in path[1:]:
        if end == 0:
            return False
        if last & 1 or last == end:
            small, large = node_hash(sibling, small), node_hash(sibling, large)
            while not last & 1 and last:
                last, end = last >> 1, end >> 1
        else:
            large = node_hash(large, sibling)
        last, end = last >> 1, end >> 1
    return end == 0 and small == old_root and large == new_root


def _fold(roots: Sequence[bytes]) -> bytes:
    result = roots[-1]
    for left in reversed(roots[:-1]):
        result = node_hash(left, result)
    return result


def _split(width: int) -> int:
    return 1 << (width - 1).bit_length() - 1


def _path(node: Node, index: int, start: int, stop: int) -> list[bytes]:
    if stop - start == 1:
        return []
    middle = start + _split(stop - start)
    if index < middle:
        return [*_path(node, index, start, middle), subtree(node, middle, stop)]
    return [*_path(node, index, middle, stop), subtree(node, start, middle)]
