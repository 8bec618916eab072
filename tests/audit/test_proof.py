import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit import Malformed
from proxy.audit.checkpoint import Checkpoint
from proxy.audit.merkle import inclusion_proof, leaf_hash, root_of
from proxy.audit.note import Signer
from proxy.audit.proof import Proof

SIGNER = Signer("log.example/a", b"\x01" * 32)
ENTRIES = [b"%d" % n for n in range(11)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
CHECKPOINT = Checkpoint("log.example/a", 11, root_of(LEAVES))
SIGNED = CHECKPOINT.sign(SIGNER)


def node(height, index):
    return root_of(LEAVES[index << height : (index + 1) << height])


def proof(index):
    return Proof(index, tuple(inclusion_proof(node, index, 11)), SIGNED)


@pytest.mark.parametrize("index", range(11))
def test_a_proof_holds_for_its_entry_alone(index):
    again = Proof.parse(proof(index).format())
    assert again.verify(ENTRIES[index], SIGNER.vkey) == CHECKPOINT
    with pytest.raises(Malformed, match="not at this index"):
        again.verify(ENTRIES[index - 1], SIGNER.vkey)


def test_a_proof_needs_the_right_key():
    with pytest.raises(Malformed, match="not valid"):
        proof(3).verify(ENTRIES[3], Signer("log.example/a", b"\x02" * 32).vkey)


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.none() | st.binary(max_size=40),
)
def test_a_proof_file_reads_back(index, hashes, extra):
    value = Proof(index, tuple(hashes), SIGNED, extra)
    assert Proof.parse(value.format()) == value


TEXT = proof(3).format()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT.replace(b"@v1", b"@v2"),
        TEXT.replace(b"index 3", b"index 03"),
        TEXT.replace(b"index 3", b"index x"),
        TEXT.replace(b"index 3", b"index " + b"9" * 5000),
        TEXT.replace(b"index 3", b"3"),
        TEXT.replace(b"index 3\n", b"index 3\nAAAA\n"),
        TEXT.replace(b"index 3\n", b"index 3\n!\n"),
        TEXT.replace(b"index 3\n", b"index 3\n\xff\n"),
        TEXT.replace(b"index 3\n", b"extra AB=\nindex 3\n"),
        TEXT.replace(b"index 3\n", b"extra AA==\n"),
        TEXT.replace(b"index 3\n", b"index 3\n" + (b"A" * 43 + b"=\n") * 64),
        b"c2sp.org/tlog-proof@v1\n\n",
        TEXT.partition(b"\n\n")[0],
    ],
)
def test_what_is_no_proof(data):
    with pytest.raises(Malformed):
        Proof.parse(data)
