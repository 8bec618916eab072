"""E1: whatever is done to a signed log, verification says so and names the first entry in question."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.checkpoint import Checkpoint
from proxy.audit.merkle import leaf_hash, root_of
from proxy.audit.note import Signer
from proxy.audit.tile import bundle_path, frame, frames
from proxy.audit.verify import Broken, Verified, verify, verify_tree
from tests.audit.logs import ORIGIN, SIGNER, Files, Writer, published

ENTRIES = Writer().calls(600)
KEY = SIGNER.vkey
INTACT = published(ENTRIES)


def root(entries):
    return root_of([leaf_hash(entry) for entry in entries])


def edited(place, change, *, also_partial=True):
    """The log with the entries of the bundle at ``place`` changed, and nothing else."""
    files = Files(INTACT)
    number = place // 256
    names = [bundle_path(number)] if number < 2 else ["pending", bundle_path(2, 88)][: 1 + also_partial]
    for name in names:
        entries = [entry for _, entry in frames(files[name])]
        change(entries, place % 256)
        files[name] = b"".join(map(frame, entries))
    return files


def flip(entries, place):
    entries[place] = entries[place].replace(b"1", b"2", 1)


def delete(entries, place):
    del entries[place]


def insert(entries, place):
    entries.insert(place, b"{}")


def swap(entries, place):
    other = place - 1 if place else 1
    entries[place], entries[other] = entries[other], entries[place]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, 513, 600])
def test_an_intact_log(size):
    files = published(ENTRIES[:size], pending=ENTRIES[size:])
    if size % 256 + len(ENTRIES) - size > 256:
        files = published(ENTRIES[:size])
    unsigned = len(list(frames(files["pending"]))) - size % 256
    assert verify(files, KEY) == Verified(ORIGIN, str(KEY), size, root(ENTRIES[:size]), unsigned)


def test_entries_after_the_checkpoint_are_not_signed_yet():
    files = published(ENTRIES[:500], pending=ENTRIES[500:510])
    files["pending"] += b"\x00\x09torn"
    result = verify(files, KEY)
    assert isinstance(result, Verified)
    assert (result.size, result.unsigned) == (500, 10)


def test_a_log_that_grew_past_its_checkpoint():
    files = Files(INTACT)
    files["checkpoint"] = Checkpoint(ORIGIN, 300, root(ENTRIES[:300])).sign(SIGNER)
    files["tile/1/000.p/1"] = files["tile/1/000.p/2"][:32]
    result = verify(files, KEY)
    assert isinstance(result, Verified)
    assert (result.size, result.unsigned) == (300, 300)


@pytest.mark.parametrize("place", [0, 1, 100, 255, 256, 300, 511, 512, 599])
@pytest.mark.parametrize("change", [flip, delete, insert, swap])
def test_one_changed_entry_is_named(place, change):
    result = verify(edited(place, change), KEY)
    first = min(place, place - 1 if place % 256 else place + 1) if change is swap else place
    assert isinstance(result, Broken)
    assert result.index == first
    assert str(first) in result.what or bundle_path(place // 256) in result.what


@given(st.integers(0, len(INTACT[bundle_path(0)]) - 1), st.integers(1, 255))
def test_any_octet_of_a_bundle(place, bits):
    files = Files(INTACT)
    data = bytearray(files[bundle_path(0)])
    data[place] ^= bits
    files[bundle_path(0)] = bytes(data)
    end = next(number for number, (end, _) in enumerate(frames(INTACT[bundle_path(0)])) if place < end)
    result = verify(files, KEY)
    assert isinstance(result, Broken)
    assert result.index == end


@pytest.mark.parametrize("name", sorted(INTACT))
def test_any_file(name):
    for damage in ("flip", "cut", "gone"):
        files = Files(INTACT)
        if damage == "flip":
            files[name] = files[name][:40] + bytes([files[name][40] ^ 1]) + files[name][41:]
        elif damage == "cut":
            files[name] = files[name][:-1]
        else:
            del files[name]
        result = verify(files, KEY)
        spare = {"pending": bundle_path(2, 88), bundle_path(2, 88): "pending"}.get(name)
        if damage == "gone" and spare in files:
            assert isinstance(result, Verified), "one of two copies is enough"
        else:
            assert isinstance(result, Broken), damage


def test_an_entry_appended_to_a_full_bundle():
    files = Files(INTACT)
    files[bundle_path(0)] += frame(b"{}")
    assert verify(files, KEY) == Broken(
        256, "tile/entries/000 holds more than its 256 entries; the entries do lead to the signed root"
    )


def test_a_change_in_what_is_pending_alone():
    result = verify(edited(520, flip, also_partial=False), KEY)
    assert isinstance(result, Broken)
    assert result.index == 520


def test_a_damaged_hash_tile_does_not_accuse_the_entry():
    files = Files(INTACT)
    files["tile/0/001"] = b"\x00" * 32 + files["tile/0/001"][32:]
    result = verify(files, KEY)
    assert isinstance(result, Broken)
    assert result.index == 256
    assert "do lead to the signed root" in result.what


def test_an_entry_rewritten_with_its_hash_tile():
    changed = [*ENTRIES]
    flip(changed, 300)
    files = published(changed)
    files["checkpoint"] = INTACT["checkpoint"]
    files["tile/1/000.p/2"] = INTACT["tile/1/000.p/2"]
    result = verify(files, KEY)
    assert isinstance(result, Broken)
    assert result.index == 256
    assert "one of the entries 256 to 511" in result.what


def test_everything_rewritten_but_the_signature():
    changed = [*ENTRIES]
    flip(changed, 300)
    files = published(changed)
    files["checkpoint"] = INTACT["checkpoint"]
    assert verify(files, KEY) == Broken(None, "the entries do not lead to the signed root")


@pytest.mark.parametrize("size", [0, 255, 256, 599])
def test_a_log_shorter_than_its_checkpoint(size):
    files = published(ENTRIES[:size])
    files["checkpoint"] = INTACT["checkpoint"]
    result = verify(files, KEY)
    assert isinstance(result, Broken)
    assert result.index == size


def test_another_key():
    result = verify(INTACT, Signer(ORIGIN, b"\x01" * 32).vkey)
    assert isinstance(result, Broken)
    assert result.index is None
    assert "not valid" in result.what


def test_no_checkpoint():
    assert verify(Files(), KEY) == Broken(None, "there is no checkpoint")


def test_records_must_agree_although_every_hash_is_right():
    entries = ENTRIES[:20] + ENTRIES[19:20]
    files = published(entries)
    assert isinstance(verify_tree(files, KEY, lambda _index, _entry: None), Verified)
    result = verify(files, KEY)
    assert isinstance(result, Broken)
    assert result.index == 20
