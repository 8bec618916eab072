"""The queue as a running sidecar knows it: answers of other processes, heard in time."""

import asyncio
import time

import pytest

from proxy.errors import Code, Refusal
from proxy.policy.approval import Approval, Declined, Denial, Grant, State, Waiting
from proxy.store.approvals import INTERVAL_S, ApprovalStore, ApprovalStoreError
from tests.store.asking import ADA, NOW, ONCE, approving, asked
from tests.store.making import Clock, until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "approvals.sqlite3"


@pytest.fixture
def other(path):
    """Another process's connection."""
    with ApprovalStore.open(path) as store:
        yield store


@pytest.fixture
def alarms():
    return []


async def waiting(book, request=None) -> Waiting:
    filed = await book.file(request or asked())
    assert isinstance(filed, Waiting), filed
    return filed


async def test_a_call_waits_is_approved_elsewhere_and_is_let_through_once(path, other, alarms):
    async with approving(path, Clock(), alarms.append) as book:
        assert await book.redeem(asked()) is None
        filed = await waiting(book)
        heard = asyncio.ensure_future(book.answered(filed, 30))
        other.answer(filed.id, ONCE, ADA, NOW)
        assert await heard is True
        found = await book.redeem(asked())
        assert found == Approval(filed.id, asked().request_sha256, ADA.id, NOW, NOW + 600, 1, 1)
        assert await book.redeem(asked()) is None
        assert "used up" in (await waiting(book)).note
    assert alarms == []


async def test_an_answer_is_heard_within_the_promised_time(path, other, alarms):
    async with approving(path, Clock(), alarms.append, interval=INTERVAL_S, idle=3600) as book:
        filed = await waiting(book)
        heard = asyncio.ensure_future(book.answered(filed, 30))
        other.answer(filed.id, Denial("no"), ADA, NOW)
        began = time.monotonic()
        assert await heard is True
        assert time.monotonic() - began < 2  # 0.05 s, on a machine that may be busy
        assert await book.redeem(asked()) == Declined(filed.id, ADA.id, "no")


async def test_everybody_who_waits_for_one_request_hears(path, other, alarms):
    async with approving(path, Clock(), alarms.append) as book:
        one, two = await waiting(book), await waiting(book, asked("body 2"))
        both = [asyncio.ensure_future(book.answered(one, 30)) for _ in range(2)]
        third = asyncio.ensure_future(book.answered(two, 0.05))
        other.answer(one.id, ONCE, ADA, NOW)
        assert await asyncio.gather(*both, third) == [True, True, False]


@pytest.mark.parametrize("seconds", [0, 30])
async def test_what_was_answered_before_anybody_waits_is_heard_at_once(path, other, alarms, seconds):
    async with approving(path, Clock(), alarms.append, interval=3600, idle=3600) as book:
        filed = await waiting(book)
        other.answer(filed.id, ONCE, ADA, NOW)
        assert await book.answered(filed, seconds) is True
        assert await waiting(book) == Waiting(filed.id, NOW + 600)  # found approved


@pytest.mark.parametrize("seconds", [0, 0.02])
async def test_nobody_answers(path, alarms, seconds):
    async with approving(path, Clock(), alarms.append) as book:
        assert await book.answered(await waiting(book), seconds) is False
        assert book._waiters == {}


async def test_a_request_whose_time_is_up_was_not_answered(path, other, alarms):
    clock = Clock()
    async with approving(path, clock, alarms.append, expires=10) as book:
        filed = await waiting(book)
        heard = asyncio.ensure_future(book.answered(filed, 30))
        clock.time += 10
        assert await heard is False
        await until(lambda: other.get(filed.id).state is State.EXPIRED)


async def test_whoever_gives_up_waiting_harms_no_other(path, other, alarms):
    async with approving(path, Clock(), alarms.append) as book:
        filed = await waiting(book)
        first, second = (asyncio.ensure_future(book.answered(filed, 30)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        other.answer(filed.id, ONCE, ADA, NOW)
        assert await second is True


async def test_a_flood_of_waiters_does_not_put_the_look_off(path, other, alarms):
    told = []
    async with approving(path, Clock(), alarms.append, interval=0.02, idle=3600) as book:
        filed = await waiting(book)
        heard = asyncio.ensure_future(book.answered(filed, 30))
        await until(lambda: book._seen != -1)
        book.on_change(lambda: told.append(None))
        other.answer(filed.id, ONCE, ADA, NOW)
        async with asyncio.timeout(10):
            while not told:
                assert await book.answered(Waiting("ap-none", NOW), 30) is False  # wakes whoever looks
        assert await heard is True


async def test_the_settings_bound_the_queue_and_its_life(path, other, alarms):
    async with approving(path, Clock(), alarms.append, queue=1, expires=20, separate_owner=True) as book:
        filed = await waiting(book)
        assert filed.expires_at == NOW + 20
        full = await book.file(asked("body 2"))
        assert isinstance(full, Refusal)
        assert (full.code, full.retry_after) == (Code.APPROVALS_FULL, 20)
        assert other.get(filed.id).separate_owner is True


async def test_a_task_that_ends_takes_its_requests_and_approvals_along(path, other, alarms):
    async with approving(path, Clock(), alarms.append) as book:
        filed, kept = await waiting(book), await waiting(book, asked(task="t-2"))
        book.task_over("t-1")
        assert await book.answered(filed, 30) is False
        assert other.get(kept.id).state is State.WAITING
        ours = await book.of_task("t-1")
        assert [(entry.id, entry.state) for entry in ours] == [(filed.id, State.EXPIRED)]


async def test_a_task_that_ends_with_the_sidecar_takes_them_along_too(path, other, alarms):
    async with approving(path, Clock(), alarms.append) as book:
        filed = await waiting(book)
        book.task_over("t-1")
    assert other.get(filed.id).state is State.EXPIRED


async def test_whatever_happens_is_told(path, other, alarms):
    told, told_of = [], asyncio.Event()
    async with approving(path, Clock(), alarms.append) as book:
        await until(lambda: book._seen != -1)
        book.on_change(lambda: (told.append(None), told_of.set()))
        filed = await waiting(book)
        assert told  # by us
        other.answer(filed.id, Grant(2, 60, ""), ADA, NOW)
        told_of.clear()
        await until(told_of.is_set)  # by somebody else
        told_of.clear()
        await book.redeem(asked())
        assert told_of.is_set()


async def test_two_sidecars_share_one_approval(path, other, alarms):
    async with (
        approving(path, Clock(), alarms.append) as one,
        approving(path, Clock(), alarms.append) as two,
    ):
        filed = await waiting(one)
        assert await waiting(two) == filed
        other.answer(filed.id, ONCE, ADA, NOW)
        found = await asyncio.gather(one.redeem(asked()), two.redeem(asked()))
        assert sorted(map(type, found), key=str) == sorted([Approval, type(None)], key=str)


async def test_what_cannot_be_looked_up_is_not_approved_and_the_operator_hears_once(path, other, alarms):
    async with approving(path, Clock(), alarms.append, interval=3600, idle=3600) as book:
        strange = asked(agent="\ud800")
        filed = await book.file(strange)
        assert isinstance(filed, Refusal)
        assert filed.code is Code.INTERNAL
        assert isinstance(await book.file(strange), Refusal)
        assert len(alarms) == 1
        assert "cannot be written" in alarms[0]


async def test_a_file_that_is_replaced_is_told_and_waiting_ends(path, alarms):
    async with approving(path, Clock(), alarms.append) as book:
        filed = await waiting(book)
        path.rename(path.with_suffix(".old"))
        with ApprovalStore.open(path):
            await until(lambda: alarms != [])
            assert await book.answered(filed, 0.02) is False
        assert "restart gatepass" in alarms[0]


async def test_a_row_that_was_altered_ends_in_refusal(path, other, alarms):
    async with approving(path, Clock(), alarms.append, interval=3600, idle=3600) as book:
        filed = await waiting(book)
        other.answer(filed.id, ONCE, ADA, NOW)
        other._connection.execute("UPDATE requests SET asked = '{}'")
        assert await book.redeem(asked()) is None
        assert await book.answered(filed, 0) is False
        assert len(alarms) == 1


async def test_after_the_end_nothing_is_approved_and_nobody_waits(path, alarms):
    async with approving(path, Clock(), alarms.append) as book:
        filed = await waiting(book)
        heard = asyncio.ensure_future(book.answered(filed, 30))
        await until(lambda: book._waiters != {})
        await book._settle()
    assert await heard is False
    assert await book.redeem(asked()) is None
    assert isinstance(await book.file(asked()), Refusal)
    with pytest.raises(ApprovalStoreError, match="closed"):
        await book.of_task("t-1")
    book.task_over("t-1")
    await asyncio.sleep(0)
    assert (len(alarms), book._over) == (1, set())


async def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(path, alarms):
    path.mkdir()
    with pytest.raises(ApprovalStoreError):
        async with approving(path, Clock(), alarms.append):
            raise AssertionError("it was opened")
