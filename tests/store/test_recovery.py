import asyncio
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.audit.note import Signer
from proxy.audit.tile import frame
from proxy.audit.verify import Verified, verify, verify_tree
from proxy.store.log import LogCorrupt, TiledLog
from proxy.store.reader import entries
from proxy.store.recovery import Recovery
from proxy.store.tiles import Tiles
from tests.audit.logs import ORIGIN, Writer

SEED = b"\x07" * 32
KEY = Signer(ORIGIN, SEED).vkey
WRITTEN = Writer().calls(1000)


def opened(directory):
    return TiledLog.open(directory, origin=ORIGIN, signer_seed=SEED, checkpoint_every=3600.0)


def log_of(directory, count, unsigned=0):
    """A log of ``count`` entries, the last ``unsigned`` of which came after its last checkpoint."""

    async def write():
        log = opened(directory)
        log.start()
        await asyncio.gather(*map(log.append, WRITTEN[: count - unsigned]))
        log.close()
        signed = (directory / "checkpoint").read_bytes()
        log = opened(directory)
        log.start()
        await asyncio.gather(*map(log.append, WRITTEN[count - unsigned : count]))
        log.close()
        (directory / "checkpoint").write_bytes(signed)

    asyncio.run(write())


def holds(directory, count):
    result = verify(Tiles(directory), KEY)
    assert isinstance(result, Verified), result
    assert result.size == count
    assert list(entries(directory)) == WRITTEN[:count]


def resumed(directory, count, more=3):
    """Open again, append, close; everything must hold."""

    async def write():
        log = opened(directory)
        log.start()
        await asyncio.gather(*map(log.append, WRITTEN[count : count + more]))
        log.close()
        return log.recovered

    recovered = asyncio.run(write())
    holds(directory, count + more)
    return recovered


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_a_clean_end(tmp_path, count):
    log_of(tmp_path, count)
    assert resumed(tmp_path, count) == Recovery(count, 0, unclean=False)


@pytest.mark.parametrize(("count", "unsigned"), [(5, 3), (256, 1), (300, 50), (600, 250), (600, 400)])
def test_entries_after_the_last_checkpoint_are_kept(tmp_path, count, unsigned):
    log_of(tmp_path, count, unsigned)
    assert resumed(tmp_path, count) == Recovery(count, 0, unclean=True)


def test_a_tail_torn_at_every_octet(tmp_path):
    log_of(tmp_path / "whole", 260, unsigned=3)
    pending = (tmp_path / "whole" / "pending").read_bytes()
    ends = [0]
    for entry in WRITTEN[256:260]:
        ends.append(ends[-1] + len(frame(entry)))
    for cut in range(ends[1], len(pending)):
        directory = tmp_path / "torn"
        shutil.copytree(tmp_path / "whole", directory)
        (directory / "pending").write_bytes(pending[:cut])
        kept = sum(end <= cut for end in ends[1:])
        log = opened(directory)
        log.close()
        assert log.recovered == Recovery(
            256 + kept, cut - ends[kept], unclean=256 + kept != 257 or cut > ends[kept]
        )
        assert (directory / "pending").read_bytes() == pending[: ends[kept]]
        shutil.rmtree(directory)


def test_a_run_that_was_cut_off_after_its_checkpoint(tmp_path):
    """Its last call may have no outcome although every entry is signed."""
    log_of(tmp_path, 10)
    (tmp_path / "lock").write_bytes(b"open\n")
    opened(tmp_path).close()  # never started: it does not count as a run
    assert resumed(tmp_path, 10) == Recovery(10, 0, unclean=True)
    assert resumed(tmp_path, 13) == Recovery(13, 0, unclean=False)


def test_space_that_a_crash_left_behind_is_no_entry(tmp_path):
    log_of(tmp_path, 10)
    with (tmp_path / "pending").open("ab") as pending:
        pending.write(b"\x00" * 100)
    assert resumed(tmp_path, 10) == Recovery(10, 0, unclean=False)


def test_an_entry_that_was_written_in_part_into_its_room_is_torn(tmp_path):
    log_of(tmp_path, 10, unsigned=1)
    whole = (tmp_path / "pending").read_bytes()
    (tmp_path / "pending").write_bytes(whole[:-20] + b"\x00" * 1000)
    recovered = resumed(tmp_path, 9)
    assert recovered.size == 9
    assert recovered.dropped_bytes == len(frame(WRITTEN[9])) - 20
    assert recovered.unclean


def test_a_crash_before_the_bundle_got_its_name(tmp_path):
    log_of(tmp_path, 256)
    for name in ("tile/0", "tile/1"):
        shutil.rmtree(tmp_path / name)
    (tmp_path / "tile/entries/000").replace(tmp_path / "pending")
    (tmp_path / "checkpoint").unlink()
    assert resumed(tmp_path, 256) == Recovery(256, 0, unclean=True)


def test_a_crash_before_the_next_pending_file(tmp_path):
    log_of(tmp_path, 512)
    (tmp_path / "pending").unlink()
    assert resumed(tmp_path, 512) == Recovery(512, 0, unclean=False)


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/001", "tile/0", "tile/1"])
def test_missing_hash_tiles_are_made_again(tmp_path, name):
    log_of(tmp_path, 600)
    lost = tmp_path / name
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    assert resumed(tmp_path, 600) == Recovery(600, 0, unclean=False)


def damaged(directory, damage):
    log_of(directory, 600)
    damage(directory)
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with pytest.raises(LogCorrupt) as failure:
        opened(directory)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    return str(failure.value)


def flip(path):
    data = bytearray(path.read_bytes())
    data[10] ^= 1  # in a pending file: inside the first entry
    path.write_bytes(bytes(data))


def test_what_contradicts_the_checkpoint_is_not_continued(tmp_path):  # E3
    def cut(directory):
        data = (directory / "pending").read_bytes()
        (directory / "pending").write_bytes(data[:-1])

    assert "only 599" in damaged(tmp_path / "a", cut)
    assert "not those" in damaged(tmp_path / "b", lambda d: flip(d / "pending"))
    assert "not those" in damaged(tmp_path / "c", lambda d: flip(d / "tile/0/000"))
    assert "is missing" in damaged(tmp_path / "d", lambda d: (d / "tile/entries/001").unlink())
    assert "only 512" in damaged(tmp_path / "e", lambda d: (d / "pending").unlink())
    assert "cannot be trusted" in damaged(tmp_path / "f", lambda d: flip(d / "checkpoint"))

    def bundle(directory):
        (directory / "tile/0/001").unlink()
        (directory / "tile/entries/001").write_bytes(b"\x00\x01x")

    assert "does not hold 256" in damaged(tmp_path / "g", bundle)
    too_many = b"".join(map(frame, WRITTEN[:300]))
    assert "at most 256" in damaged(tmp_path / "h", lambda d: (d / "pending").write_bytes(too_many))


WRITER = """
import asyncio, sys
from pathlib import Path
from proxy.store.log import TiledLog

async def main():
    log = TiledLog.open(Path(sys.argv[1]), origin=sys.argv[2], signer_seed=b"\\x07" * 32, checkpoint_every=0.01)
    log.start()
    async def work(worker):
        number = 0
        while True:
            entry = b"%d %d %d" % (log.recovered.size, worker, number)
            index = await log.append(entry)
            sys.stdout.write(f"{index} {entry.decode()}\\n")
            sys.stdout.flush()
            number += 1
    await asyncio.gather(*map(work, range(8)))

asyncio.run(main())
"""


def test_kill_at_any_moment(tmp_path):
    """Whatever was promised is there after ``kill -9``, and the log verifies and goes on."""
    chance = random.Random(20)
    promised = {}
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), ORIGIN],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as writer:
            for _ in range(chance.randrange(1, 700)):
                index, entry = writer.stdout.readline().rstrip("\n").split(" ", 1)
                promised[int(index)] = entry.encode()
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout:
                if line.endswith("\n"):
                    index, entry = line.rstrip("\n").split(" ", 1)
                    promised[int(index)] = entry.encode()
        if (tmp_path / "checkpoint").exists():
            result = verify_tree(Tiles(tmp_path), KEY, lambda _index, _entry: None)
            assert isinstance(result, Verified), result
        log = opened(tmp_path)
        log.close()
        found = list(entries(tmp_path))
        assert len(found) == log.recovered.size
        assert log.recovered.unclean
        assert {index: found[index] for index in promised} == promised
