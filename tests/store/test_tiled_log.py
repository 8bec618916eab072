import asyncio
import os
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from proxy.audit.note import Signer, Vkey
from proxy.audit.verify import Broken, Verified, verify, verify_tree
from proxy.store.log import LogCorrupt, LogInUse, LogUnavailable, TiledLog
from proxy.store.reader import entries
from proxy.store.recovery import Recovery
from proxy.store.tiles import Tiles
from tests.audit.logs import ORIGIN, Writer

SEED = b"\x07" * 32
KEY = Signer(ORIGIN, SEED).vkey
NEVER, ALWAYS = 3600.0, 0.0


def opened(directory, every=NEVER):
    return TiledLog.open(directory, origin=ORIGIN, signer_seed=SEED, checkpoint_every=every)


def started(directory, every=NEVER):
    log = opened(directory, every)
    log.start()
    return log


async def write(directory, what, every=NEVER):
    log = started(directory, every)
    found = await asyncio.gather(*map(log.append, what))
    log.close()
    return found


async def test_entries_come_back_in_order(tmp_path):
    what = Writer().calls(700)
    assert await write(tmp_path, what) == list(range(700))
    assert list(entries(tmp_path)) == what
    result = verify(Tiles(tmp_path), KEY)
    assert isinstance(result, Verified)
    assert (result.size, result.unsigned) == (700, 0)


async def test_a_log_goes_on_after_restarts(tmp_path):
    what = Writer().calls(1030)
    cuts = [0, 1, 255, 256, 257, 512, 1023, 1030]
    for start, stop in pairwise(cuts):
        assert await write(tmp_path, what[start:stop]) == list(range(start, stop))
        result = verify(Tiles(tmp_path), KEY)
        assert isinstance(result, Verified), result
        assert result.size == stop
    assert list(entries(tmp_path)) == what


async def test_the_files_are_those_of_the_specification(tmp_path):
    await write(tmp_path, Writer().calls(300))
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "checkpoint",
        "lock",
        "log.vkey",
        "pending",
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    }
    assert Vkey.parse((tmp_path / "log.vkey").read_text().strip()) == KEY
    assert stat.S_IMODE((tmp_path / "pending").stat().st_mode) == 0o600


async def test_partial_tiles_stay_until_the_full_one_is_there(tmp_path):
    log = started(tmp_path, ALWAYS)
    what = Writer().calls(257)
    for number, entry in enumerate(what[:255], 1):
        await log.append(entry)
        if number == 200:
            assert (tmp_path / "tile/0/000.p").is_dir()
    assert (tmp_path / "tile/entries/000.p").is_dir()
    for entry in what[255:]:
        await log.append(entry)
    log.close()
    assert not (tmp_path / "tile/0/000.p").exists()
    assert not (tmp_path / "tile/entries/000.p").exists()
    assert isinstance(verify(Tiles(tmp_path), KEY), Verified)


async def test_an_entry_is_on_disk_when_its_waiter_hears(tmp_path):
    log = started(tmp_path)
    for number, entry in enumerate(Writer().calls(300)):
        assert await log.append(entry) == number
        assert list(entries(tmp_path))[-1] == entry
    log.close()


async def test_a_checkpoint_falls_due_while_nothing_comes(tmp_path):
    log = started(tmp_path, every=0.05)
    await log.append(Writer().event("boot"))
    async with asyncio.timeout(20):
        while not (
            isinstance(now := verify(Tiles(tmp_path), KEY), Verified) and now.size == 1 > now.unsigned
        ):
            await asyncio.to_thread(os.getpid)  # let others run
    log.close()


async def test_a_new_log_is_signed_at_once(tmp_path):
    """Whoever cuts it off in its first second leaves a log that verifies."""
    log = started(tmp_path, NEVER)
    async with asyncio.timeout(20):
        while not isinstance(verify(Tiles(tmp_path), KEY), Verified):
            await asyncio.to_thread(os.getpid)
    await log.append(Writer().event("boot"))
    now = verify(Tiles(tmp_path), KEY)
    assert isinstance(now, Verified), now
    log.close()


async def test_the_log_is_written_by_one_process(tmp_path):
    log = opened(tmp_path)
    with pytest.raises(LogInUse, match="stop it first"):
        opened(tmp_path)
    log.close()
    log.close()
    opened(tmp_path).close()


async def test_an_empty_log_verifies(tmp_path):
    started(tmp_path).close()
    result = verify(Tiles(tmp_path), KEY)
    assert isinstance(result, Verified)
    assert result.size == 0


@pytest.mark.parametrize("entry", [b"", b"x" * 65_536])
async def test_entries_that_cannot_be(tmp_path, entry):
    log = started(tmp_path)
    with pytest.raises(ValueError, match="octets"):
        log.append(entry)
    assert await log.append(b"x" * 65_535) == 0
    log.close()


async def test_nothing_is_taken_before_start_or_after_close(tmp_path):
    log = opened(tmp_path)
    with pytest.raises(LogUnavailable, match="not been started"):
        await log.append(b"x")
    log.start()
    assert log.failure is None
    log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await log.append(b"x")


async def test_what_is_queued_at_close_is_durable(tmp_path):
    log = started(tmp_path)
    waiting = [log.append(entry) for entry in Writer().calls(600)]
    log.close()
    assert await asyncio.gather(*waiting) == list(range(600))
    assert isinstance(verify(Tiles(tmp_path), KEY), Verified)


async def test_a_cancelled_waiter_hurts_nobody(tmp_path):
    log = started(tmp_path)
    first, second = log.append(b"1"), log.append(b"2")
    first.cancel()
    assert await second == 1
    log.close()
    assert list(entries(tmp_path)) == [b"1", b"2"]


def test_a_loop_that_is_gone_does_not_keep_the_log_from_closing(tmp_path):
    async def leave():
        log = started(tmp_path)
        log.append(b"1")
        return log

    asyncio.run(leave()).close()
    result = verify_tree(Tiles(tmp_path), KEY, lambda _index, _entry: None)
    assert isinstance(result, Verified)
    assert result.size == 1


async def test_a_failed_write_refuses_everything_until_restart(tmp_path):  # E4
    log = started(tmp_path)
    await log.append(b"1")
    read_only = os.open(tmp_path / "pending", os.O_RDONLY)
    os.dup2(read_only, log._pending)  # the disk says no
    os.close(read_only)
    waiting = [log.append(b"2"), log.append(b"3")]
    for future in waiting:
        with pytest.raises(LogUnavailable, match="cannot be written"):
            await future
    with pytest.raises(LogUnavailable, match="cannot be written"):
        await log.append(b"4")
    assert "cannot be written" in log.failure
    log.close()
    again = opened(tmp_path)
    assert (again.recovered.size, again.recovered.unclean) == (1, True)
    again.close()


async def test_what_comes_after_a_failure_is_refused_also_from_the_queue(tmp_path):
    log = started(tmp_path)
    await log.append(b"1")
    read_only = os.open(tmp_path / "pending", os.O_RDONLY)
    os.dup2(read_only, log._pending)
    os.close(read_only)
    waiting = [log.append(b"%d" % n) for n in range(200)]
    failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(failure) for failure in failures} == {LogUnavailable}
    log.close()


FULL_DISK = """
import asyncio, resource, sys
from itertools import pairwise
from pathlib import Path
from proxy.store.log import LogUnavailable, TiledLog

async def main():
    log = TiledLog.open(Path(sys.argv[1]), origin=sys.argv[2], signer_seed=b"\\x07" * 32, checkpoint_every=3600.0)
    log.start()
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    durable = 0
    try:
        for _ in range(100):
            await log.append(b"x" * 997)
            durable += 1
    except LogUnavailable:
        print(durable)
    log.close()

asyncio.run(main())
"""


async def test_a_full_disk_in_the_middle_of_an_entry(tmp_path):
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FULL_DISK, str(tmp_path), ORIGIN],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert done.stdout == "10\n"
    log = started(tmp_path)
    assert log.recovered == Recovery(size=10, dropped_bytes=10, unclean=True)
    assert await log.append(b"next") == 10
    log.close()
    assert len(list(entries(tmp_path))) == 11


async def test_another_key_is_refused(tmp_path):
    await write(tmp_path, [b"1"])
    with pytest.raises(LogCorrupt, match="another key"):
        TiledLog.open(tmp_path, origin=ORIGIN, signer_seed=b"\x08" * 32)
    with pytest.raises(LogCorrupt, match="another key"):
        TiledLog.open(tmp_path, origin="example.org/other", signer_seed=SEED)
    (tmp_path / "log.vkey").unlink()
    with pytest.raises(LogCorrupt, match="cannot be trusted"):
        TiledLog.open(tmp_path, origin=ORIGIN, signer_seed=b"\x08" * 32)


async def test_a_changed_log_verifies_no_more(tmp_path):
    await write(tmp_path, Writer().calls(400))
    bundle = tmp_path / "tile/entries/000"
    data = bytearray(bundle.read_bytes())
    data[200] ^= 1
    bundle.write_bytes(bytes(data))
    assert isinstance(verify(Tiles(tmp_path), KEY), Broken)
