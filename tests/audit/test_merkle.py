import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    perfect,
    root_of,
    subtree,
    verify_consistency,
    verify_inclusion,
)

MOST = 70
LEAVES = [leaf_hash(b"%d" % n) for n in range(MOST)]


def mth(leaves):
    """RFC 6962 2.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def node(height, index):
    return mth(LEAVES[index << height : (index + 1) << height])


ROOTS = [mth(LEAVES[:size]) for size in range(MOST + 1)]


def test_roots_of_every_size():
    frontier = Frontier()
    assert frontier.root() == EMPTY_ROOT == root_of([])
    for size, leaf in enumerate(LEAVES, 1):
        done = frontier.append(leaf)
        assert done == [node(height, (size - 1) >> height) for height in range(len(done))]
        assert frontier.root() == ROOTS[size] == subtree(node, 0, size)
        again = Frontier(size, [node(*place) for place in perfect(0, size)])
        assert again.root() == ROOTS[size]


def test_a_frontier_needs_the_right_number_of_roots():
    with pytest.raises(ValueError, match="perfect subtrees"):
        Frontier(3, [b"x" * 32])


def test_every_inclusion_proof_holds_and_only_for_its_leaf():
    for size in range(1, MOST + 1):
        for index in range(size):
            proof = inclusion_proof(node, index, size)
            assert verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
            assert not verify_inclusion(LEAVES[index - 1], index, size, proof, ROOTS[size]) or size == 1
            assert not verify_inclusion(LEAVES[index], index, size, [*proof, LEAVES[0]], ROOTS[size])
            assert not verify_inclusion(LEAVES[index], index, size, proof[:-1], ROOTS[size]) or not proof
            other = (index + 1) % size
            assert not verify_inclusion(LEAVES[index], other, size, proof, ROOTS[size]) or size == 1


def test_every_consistency_proof_holds_and_no_altered_one():
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            proof = consistency_proof(node, old, new)
            assert verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)
            assert not verify_consistency(old, new, LEAVES[-1], ROOTS[new], proof)
            assert not verify_consistency(old, new, ROOTS[old], LEAVES[-1], proof)
            assert not verify_consistency(old, new, ROOTS[old], ROOTS[new], [*proof, LEAVES[0]])
            if proof:
                assert not verify_consistency(old, new, ROOTS[old], ROOTS[new], proof[:-1])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_no_inclusion_outside_the_tree(index, size):
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(node, index, size)
    assert not verify_inclusion(LEAVES[0], index, size, [], LEAVES[0])


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_no_consistency_outside_the_tree(old, new):
    with pytest.raises(ValueError, match="no consistency"):
        consistency_proof(node, old, new)
    assert not verify_consistency(old, new, EMPTY_ROOT, ROOTS[3], [])


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=40))
def test_another_implementation_agrees(entries):
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        tree.append_entry(entry)
    assert root_of([leaf_hash(entry) for entry in entries]) == tree.get_root()


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_perfect_subtrees_cover_a_range(start, stop):
    covered = start
    for height, index in perfect(start, stop):
        assert index << height == covered
        covered += 1 << height
    assert covered == max(start, stop)
