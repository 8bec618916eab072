import base64
import hashlib
import json
from pathlib import Path

import pytest

from proxy.audit.checkpoint import Checkpoint, opened
from proxy.audit.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from proxy.audit.note import Note, Signer, Vkey, key_id
from proxy.audit.proof import Proof
from proxy.audit.tile import Edge, Tile, bundle_path, frame, nodes
from proxy.audit.verify import Verified, verify_tree
from tests.audit.logs import published

V = json.loads((Path(__file__).parents[1] / "vectors" / "tlog.json").read_text())
ENTRIES = [b'{"agent":"spiffe://example.org/agent/a","m":"GET","seq":%d}' % i for i in range(300)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
KEY = Vkey.parse(V["vkey"])
SIGNER = Signer(KEY.name, bytes.fromhex(V["seed"]))


def b64(text):
    return base64.b64decode(text, validate=True)


def whole(level, index):
    width = 256 ** (level + 1)
    start = index * width
    span = 256**level
    return b"".join(root_of(LEAVES[n : n + span]) for n in range(start, min(start + width, 300), span))


NODE = nodes(whole)


def test_note_of_the_specification():
    vkey = V["note"]["vkey"]
    note = Note.parse(f"{V['note']['text']}\n— example.com/foo {V['note']['signature']}\n".encode())
    assert note.signers([Vkey.parse(vkey)]) == (Vkey.parse(vkey),)
    assert note.text == V["note"]["text"]


def test_key_from_its_seed():
    assert hashlib.sha256(V["seed_of"].encode()).hexdigest() == V["seed"]
    assert SIGNER.vkey == KEY
    assert KEY.public.hex() == V["public"]


def test_id_of_a_witness_key():
    name, digits, encoded = V["witness_vkey"].split("+", 2)
    key = b64(encoded)
    assert key_id(name, key[0], key[1:]).hex() == digits


@pytest.mark.parametrize("index", V["leaves"])
def test_leaves(index):
    assert LEAVES[int(index)] == b64(V["leaves"][index])


@pytest.mark.parametrize("size", V["roots"])
def test_roots(size):
    assert root_of(LEAVES[: int(size)]) == b64(V["roots"][size])


def test_empty_root():
    assert b64(V["roots"]["0"]) == EMPTY_ROOT


def test_bundles():
    bundle = b"".join(map(frame, ENTRIES[:256]))
    digest = hashlib.sha256(bundle).hexdigest()
    assert len(bundle) == V["bundle0"]["octets"]
    assert bundle.hex().startswith(V["bundle0"]["starts"])
    assert digest.startswith(V["bundle0"]["sha256_starts"])
    assert digest.endswith(V["bundle0"]["sha256_ends"])
    assert sum(len(frame(entry)) for entry in ENTRIES[256:]) == V["bundle1_octets"]
    assert bundle_path(1, 44) == "tile/entries/001.p/44"


def test_tiles():
    edge = Edge()
    full = [tile for leaf in LEAVES for tile, _ in edge.append(leaf)]
    assert full == [Tile(0, 0)]
    assert dict(edge.partials())[Tile(1, 0, 1)] == b64(V["tile_1_0_1"])


def test_checkpoint_with_a_witness_line():
    data = V["checkpoint300"].encode()
    checkpoint = opened(data, KEY)
    assert checkpoint == Checkpoint(KEY.name, 300, b64(V["roots"]["300"]))
    log_line_only = checkpoint.sign(SIGNER)
    assert data.startswith(log_line_only)
    assert Note.parse(data).format() == data


def test_signature_of_size_200():
    data = Checkpoint(KEY.name, 200, b64(V["roots"]["200"])).sign(SIGNER).decode()
    assert data.endswith(f" {V['signature200']}\n")


def test_inclusion_proof():
    proof = [b64(value) for value in V["inclusion_137_300"]]
    assert inclusion_proof(NODE, 137, 300) == proof
    assert verify_inclusion(LEAVES[137], 137, 300, proof, root_of(LEAVES))


def test_consistency_proof():
    proof = [b64(value) for value in V["consistency_200_300"]]
    assert consistency_proof(NODE, 200, 300) == proof
    assert verify_consistency(200, 300, root_of(LEAVES[:200]), root_of(LEAVES), proof)


def test_proof_file():
    proof = Proof(137, tuple(b64(value) for value in V["inclusion_137_300"]), V["checkpoint300"].encode())
    again = Proof.parse(proof.format())
    assert again == proof
    assert again.verify(ENTRIES[137], KEY).size == 300


def test_the_whole_log_verifies():
    result = verify_tree(published(ENTRIES, SIGNER), KEY, lambda _index, _entry: None)
    assert result == Verified(KEY.name, V["vkey"], 300, b64(V["roots"]["300"]), 0)
