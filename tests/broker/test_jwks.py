import asyncio

import pytest
from aiohttp import web

from proxy.broker.jwks import FORCED_S, MISSING_MAX, MISSING_S, STALE_S, TOLD_CHARACTERS, TOLD_KEYS, Source
from proxy.http.address import AllowPrivate
from proxy.identity.keyset import KeySet, parse_jwks
from tests.support.https_issuer import DISCOVERY, JWKS, HttpsIssuer, failing, jwks
from tests.support.issuer_desk import Desk

DOMAIN = "spiffe://example.org"


@pytest.fixture
async def issuer():
    async with HttpsIssuer() as running:
        running.publish("k1")
        yield running


@pytest.fixture
async def desk(issuer):
    async with Desk(issuer.http(), Source(issuer.url)) as running:
        yield running


# -- fetching --


async def test_the_keys_are_there_from_the_start(issuer, desk):
    assert desk.ids(issuer.url) == ["k1"]
    assert issuer.asked == [DISCOVERY, JWKS]
    assert desk.alarms == []
    sha256 = desk.keys.get(issuer.url).sha256
    told = {"issuer": issuer.url, "sha256": sha256, "key_ids": ["k1"]}
    assert desk.events == [("keys.changed", told)]


async def test_nobody_else_has_keys(issuer, desk):
    for other in (issuer.url + "/", issuer.url.upper(), "", "https://other.test"):
        assert desk.keys.get(other) is None
        await desk.keys.want(other, "k1")
    assert issuer.asked == [DISCOVERY, JWKS]


async def test_an_issuer_with_a_path_and_a_slash(issuer):
    url = issuer.url + "/tenant/"

    async def answer(request):
        return web.json_response({"issuer": url, "jwks_uri": issuer.url + JWKS})

    issuer.answers["/tenant" + DISCOVERY] = answer
    async with Desk(issuer.http(), Source(url)) as desk:
        assert desk.ids(url) == ["k1"]


async def test_issuers_are_fetched_at_once_and_one_that_is_down_stops_nobody(issuer):
    async with HttpsIssuer() as down:
        down.answers[DISCOVERY] = failing
        allowed = AllowPrivate(down.host, "127.0.0.1/32", down.port)
        down.authority = issuer.authority
        async with Desk(issuer.http(allowed), Source(issuer.url), Source(down.url)) as desk:
            assert desk.ids(issuer.url) == ["k1"]
            assert desk.keys.get(down.url) is None
            assert len(desk.alarms) == 1


async def test_without_sources_there_are_no_keys(issuer):
    async with Desk(issuer.http()) as desk:
        assert desk.keys.get(issuer.url) is None


def test_two_sources_of_one_issuer_contradict_each_other():
    with pytest.raises(ValueError, match="two sources"):
        Desk(None, Source(DOMAIN, bundle=True), Source(DOMAIN, "file", bundle=True))


# -- rotation --


async def test_a_new_key_is_found_when_it_is_wanted(issuer, desk):
    issuer.publish("k1", "k2")

    await desk.keys.want(issuer.url, "k2")

    assert desk.ids(issuer.url) == ["k1", "k2"]
    assert issuer.looks() == 2
    assert [body["key_ids"] for _, body in desk.events] == [["k1"], ["k1", "k2"]]


async def test_a_key_that_is_there_is_not_looked_for(issuer, desk):
    await desk.keys.want(issuer.url, "k1")
    assert issuer.looks() == 1


async def test_a_hundred_who_want_share_one_look(issuer, desk):
    issuer.publish("k2")
    issuer.hold()
    waiting = [asyncio.ensure_future(desk.keys.want(issuer.url, "k2")) for _ in range(100)]
    async with asyncio.timeout(10):
        while len(issuer.asked) == 2:
            await asyncio.sleep(0.001)
    issuer.release()

    await asyncio.gather(*waiting)

    assert issuer.asked == [DISCOVERY, JWKS] * 2
    assert issuer.most == 1
    assert desk.ids(issuer.url) == ["k2"]


async def test_whoever_stops_waiting_does_not_stop_the_others(issuer, desk):
    issuer.publish("k2")
    issuer.hold()
    first, second = (asyncio.ensure_future(desk.keys.want(issuer.url, "k2")) for _ in range(2))
    async with asyncio.timeout(10):
        while len(issuer.asked) == 2:
            await asyncio.sleep(0.001)
    first.cancel()
    issuer.release()

    await second

    assert first.cancelled()
    assert desk.ids(issuer.url) == ["k2"]


async def test_a_storm_of_unknown_keys_is_one_look_in_thirty_seconds(issuer, desk):
    for second in range(90):
        await asyncio.gather(*(desk.keys.want(issuer.url, f"storm-{second}-{i}") for i in range(20)))
        assert issuer.looks() == 1 + 1 + second // 30
        await desk.pass_time(1)
    assert issuer.most == 1
    assert FORCED_S == 30


async def test_a_key_that_was_not_there_is_not_looked_for_again_for_a_while(issuer, desk):
    await desk.keys.want(issuer.url, "lost")
    await desk.pass_time(FORCED_S)
    await desk.keys.want(issuer.url, "lost")
    assert issuer.looks() == 2

    await desk.keys.want(issuer.url, "another")
    assert issuer.looks() == 3

    await desk.pass_time(MISSING_S - FORCED_S)
    issuer.publish("lost")
    await desk.keys.want(issuer.url, "lost")
    assert issuer.looks() == 4
    assert desk.ids(issuer.url) == ["lost"]


async def test_a_change_of_the_document_forgets_what_was_not_there(issuer, desk):
    await desk.keys.want(issuer.url, "lost")
    await desk.pass_time(FORCED_S)
    issuer.publish("k2")
    await desk.keys.want(issuer.url, "k2")
    await desk.pass_time(FORCED_S - 1)

    await desk.keys.want(issuer.url, "lost")
    assert issuer.looks() == 3
    await desk.pass_time(1)
    await desk.keys.want(issuer.url, "lost")
    assert issuer.looks() == 4


async def test_what_was_not_there_is_remembered_within_bounds(issuer, desk):
    issuer.hold()
    waiting = [asyncio.ensure_future(desk.keys.want(issuer.url, f"k-{i}")) for i in range(3 * MISSING_MAX)]
    async with asyncio.timeout(10):
        while len(issuer.asked) == 2:
            await asyncio.sleep(0.001)
    issuer.release()
    await asyncio.gather(*waiting)

    (entry,) = desk.keys._entries.values()
    assert len(entry.missing) == MISSING_MAX
    assert f"k-{3 * MISSING_MAX - 1}" in entry.missing


async def test_a_key_that_is_withdrawn_is_gone_with_the_next_look(issuer, desk):
    issuer.publish("k2")
    await desk.pass_time(3_600)
    assert desk.ids(issuer.url) == ["k2"]


async def test_an_issuer_may_have_no_key_at_all(issuer, desk):
    issuer.publish()
    await desk.pass_time(3_600)
    assert desk.ids(issuer.url) == []
    assert desk.events[-1][1]["key_ids"] == []


async def test_the_keys_may_move(issuer, desk):
    async def moved(request):
        return web.Response(body=jwks("k3"))

    issuer.answers["/moved"] = moved
    issuer.said = {"jwks_uri": issuer.url + "/moved"}

    await desk.keys.want(issuer.url, "k3")

    assert desk.ids(issuer.url) == ["k3"]


async def test_the_same_document_is_no_change(issuer, desk):
    await desk.pass_time(3_600)
    assert issuer.looks() == 2
    assert len(desk.events) == 1


async def test_a_record_of_a_change_is_small(issuer):
    issuer.publish(*(f"{i:03}" + "x" * 300 for i in range(200)))
    async with Desk(issuer.http(), Source(issuer.url)) as desk:
        assert len(desk.ids(issuer.url)) == 200
        ((_, body),) = desk.events
        assert len(body["key_ids"]) == TOLD_KEYS
        assert {len(key_id) for key_id in body["key_ids"]} == {TOLD_CHARACTERS}


# -- the Workload API --


def key_set(*key_ids) -> KeySet:
    parsed = parse_jwks(jwks(*key_ids))
    assert isinstance(parsed, KeySet)
    return parsed


async def test_what_is_put_holds_until_the_next_and_none_takes_it_away(issuer):
    async with Desk(issuer.http(), Source(DOMAIN, bundle=True)) as desk:
        assert desk.keys.get(DOMAIN) is None
        assert desk.keys.put(DOMAIN, key_set("k1"))
        assert desk.ids(DOMAIN) == ["k1"]
        desk.clock.advance(10 * STALE_S)
        assert desk.ids(DOMAIN) == ["k1"]
        assert desk.keys.put(DOMAIN, key_set("k2"))
        assert desk.ids(DOMAIN) == ["k2"]
        assert desk.keys.put(DOMAIN, None)
        assert desk.keys.get(DOMAIN) is None
        assert desk.keys.put(DOMAIN, None)

        assert [body["key_ids"] for _, body in desk.events] == [["k1"], ["k2"], []]
        assert desk.events[-1][1]["sha256"] == ""
        await desk.keys.want(DOMAIN, "k2")
        assert desk.alarms == []
    assert issuer.asked == []


async def test_nobody_puts_keys_that_nobody_asked_for(issuer, desk):
    assert not desk.keys.put("spiffe://other.org", key_set("k9"))
    assert desk.keys.get("spiffe://other.org") is None
    assert not desk.keys.put(issuer.url, key_set("k9"))
    assert desk.ids(issuer.url) == ["k1"]
