import asyncio

import pytest

from proxy.store.log import TiledLog
from proxy.store.reader import entries, read_entries, since_boot
from tests.audit.logs import ORIGIN, Writer

WRITTEN = Writer().calls(600)


def log_of(directory, written):
    async def write():
        log = TiledLog.open(directory, origin=ORIGIN, signer_seed=b"\x07" * 32)
        log.start()
        await asyncio.gather(*map(log.append, written))
        log.close()

    asyncio.run(write())


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 0), (0, 1), (250, 260), (255, 256), (256, 512), (590, 700), (600, 601), (900, None), (10, None)],
)
def test_a_range(tmp_path, start, stop):
    log_of(tmp_path, WRITTEN)
    assert list(read_entries(tmp_path, start, stop)) == WRITTEN[start:stop]


def test_a_torn_tail_is_no_entry(tmp_path):
    log_of(tmp_path, WRITTEN[:3])
    with (tmp_path / "pending").open("ab") as pending:
        pending.write(b"\x00\x05abc")
    assert list(entries(tmp_path)) == WRITTEN[:3]


def test_nothing_there(tmp_path):
    assert list(entries(tmp_path)) == []
    assert list(since_boot(tmp_path)) == []


async def test_reading_while_it_is_written(tmp_path):
    log = TiledLog.open(tmp_path, origin=ORIGIN, signer_seed=b"\x07" * 32, checkpoint_every=0.0)
    log.start()
    for number, entry in enumerate(WRITTEN, 1):
        waiter = log.append(entry)
        if number % 16 == 0:
            found = list(entries(tmp_path))
            assert found == WRITTEN[: len(found)]
            assert len(found) >= number - 1
        await waiter
    log.close()


@pytest.mark.parametrize("first", [1, 200, 256, 300, 513])
def test_since_the_last_boot(tmp_path, first):
    second = Writer("b2", first_id=5000).calls(40)
    log_of(tmp_path, [*WRITTEN[:first], *second])
    assert list(since_boot(tmp_path)) == second


def test_since_boot_without_a_boot(tmp_path):
    log_of(tmp_path, WRITTEN[1:300])
    assert list(since_boot(tmp_path)) == WRITTEN[1:300]
