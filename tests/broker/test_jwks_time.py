"""When the keys of an issuer are fetched again, and for how long they hold when it does not answer."""

import asyncio

import pytest

from proxy.broker.jwks import FORCED_S, RETRY_MAX_S, RETRY_S, STALE_S, Source
from tests.support.https_issuer import DISCOVERY, JWKS, HttpsIssuer, failing
from tests.support.issuer_desk import Desk


@pytest.fixture
async def issuer():
    async with HttpsIssuer() as running:
        running.publish("k1")
        yield running


@pytest.fixture
async def desk(issuer):
    async with Desk(issuer.http(), Source(issuer.url)) as running:
        yield running


@pytest.mark.parametrize(
    ("cache_control", "after"),
    [
        ("max-age=0", 270),
        ("no-store", 270),
        ("max-age=300", 270),
        ("max-age=900", 870),
        ("", 3_570),
        ("max-age=86400", 43_200),
        ("max-age=31536000", 43_200),
    ],
)
async def test_keys_are_fetched_again_before_they_run_out(issuer, cache_control, after):
    issuer.headers = {"Cache-Control": cache_control} if cache_control else {}
    async with Desk(issuer.http(), Source(issuer.url)) as desk:
        await desk.pass_time(after - 1)
        assert issuer.looks() == 1
        await desk.pass_time(1)
        assert issuer.looks() == 2


async def test_a_look_that_was_forced_puts_off_the_next(issuer, desk):
    await desk.pass_time(3_000)
    await desk.keys.want(issuer.url, "k2")
    await desk.pass_time(570)
    assert issuer.looks() == 2
    await desk.pass_time(3_000)
    assert issuer.looks() == 3


async def test_keys_are_used_for_a_day_after_the_issuer_stopped_answering_and_no_longer(issuer, desk):
    issuer.answers[DISCOVERY] = failing
    start = desk.clock.now()
    await desk.pass_time(3_570)
    while (left := start + STALE_S - desk.clock.now()) > 0:
        assert desk.ids(issuer.url) == ["k1"]
        await desk.pass_time(min(RETRY_MAX_S, left))
    assert desk.keys.get(issuer.url) is None

    await desk.pass_time(RETRY_MAX_S)

    first, second = desk.alarms
    assert "the last ones are used until they are a day old" in first
    assert "ran out, nothing it signs is accepted" in second
    assert desk.events[-1] == ("keys.changed", {"issuer": issuer.url, "sha256": "", "key_ids": []})

    del issuer.answers[DISCOVERY]
    await desk.pass_time(RETRY_MAX_S)
    assert desk.ids(issuer.url) == ["k1"]
    assert desk.alarms[2:] == [f"the keys of {issuer.url} are there again"]
    assert desk.events[-1][1]["key_ids"] == ["k1"]


async def test_each_streak_of_failures_is_told_once(issuer, desk):
    for _ in range(2):
        issuer.answers[JWKS] = failing
        await desk.pass_time(3_570)
        for _ in range(5):
            await desk.pass_time(RETRY_MAX_S)
        del issuer.answers[JWKS]
        await desk.pass_time(RETRY_MAX_S)
    assert ["cannot be had" in alarm for alarm in desk.alarms] == [True, False, True, False]
    assert len(desk.events) == 1


async def test_an_issuer_that_is_down_is_asked_less_and_less_often(issuer):
    issuer.answers[DISCOVERY] = failing
    async with Desk(issuer.http(), Source(issuer.url)) as desk:
        pauses = []
        for _ in range(6):
            await desk.pass_time(0)
            pauses.append(desk.clock.next - desk.clock.now())
            await desk.pass_time(pauses[-1])
        assert pauses == [RETRY_S, 60, 120, 240, RETRY_MAX_S, RETRY_MAX_S]
        assert len(issuer.asked) == 7


async def test_an_issuer_that_was_down_is_asked_at_once_when_a_key_is_wanted(issuer):
    issuer.answers[DISCOVERY] = failing
    async with Desk(issuer.http(), Source(issuer.url)) as desk:
        del issuer.answers[DISCOVERY]
        await desk.keys.want(issuer.url, "k1")
        assert desk.ids(issuer.url) == ["k1"]


async def test_a_look_in_vain_says_nothing_about_the_key(issuer, desk):
    issuer.answers[DISCOVERY] = failing
    await desk.keys.want(issuer.url, "k2")
    del issuer.answers[DISCOVERY]
    issuer.publish("k2")
    desk.clock.advance(FORCED_S - 1)
    await desk.keys.want(issuer.url, "k2")
    assert desk.ids(issuer.url) == ["k1"]

    desk.clock.advance(1)
    await desk.keys.want(issuer.url, "k2")
    assert desk.ids(issuer.url) == ["k2"]


async def test_nobody_looks_after_the_end(issuer):
    async with Desk(issuer.http(), Source(issuer.url)) as desk:
        pass
    await desk.keys.want(issuer.url, "k2")
    desk.clock.advance(STALE_S / 2)
    assert issuer.asked == [DISCOVERY, JWKS]
    assert desk.ids(issuer.url) == ["k1"]


async def test_the_end_does_not_wait_for_an_answer_and_frees_whoever_does(issuer):
    async with Desk(issuer.http(), Source(issuer.url)) as desk:
        issuer.hold()
        waiting = asyncio.ensure_future(desk.keys.want(issuer.url, "k2"))
        async with asyncio.timeout(10):
            while len(issuer.asked) == 2:
                await asyncio.sleep(0.001)
    await waiting
