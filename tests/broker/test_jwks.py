import asyncio
import json

import pytest
from aiohttp import web

from proxy.broker.guarded_http import GuardedHttp
from proxy.broker.jwks import (
    FILE_S,
    FORCED_FILE_S,
    FORCED_S,
    LOOK_S,
    MISSING_MAX,
    MISSING_S,
    RETRY_MAX_S,
    RETRY_S,
    STALE_S,
    TOLD_CHARACTERS,
    TOLD_KEYS,
    IssuerKeys,
    Source,
)
from proxy.broker.static import MAX_OCTETS
from proxy.http.address import AllowPrivate
from proxy.identity.keyset import KeySet, parse_bundle, parse_jwks
from tests.support.forbidden import Forbidden
from tests.support.https_issuer import DISCOVERY, JWKS, HttpsIssuer, failing, jwk, jwks

DAY = 86_400.0
DOMAIN = "spiffe://example.org"


class Clock:
    """Goes when it is told to."""

    def __init__(self):
        self.at = 1_000.0
        self._sleepers = []

    def now(self):
        return self.at

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.at + seconds, woken))
        await woken

    def advance(self, seconds):
        self.at += seconds
        due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self.at]
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self.at]
        for _, woken in due:
            if not woken.done():
                woken.set_result(None)

    @property
    def next(self):
        """When the first sleeper wakes up."""
        return min(until for until, woken in self._sleepers if not woken.done())

    @property
    def asleep(self):
        return any(not woken.done() for _, woken in self._sleepers)


class Desk:
    """The keys of some issuers, the clock they live by, and what was said about them."""

    def __init__(self, http, *sources, **options):
        self.clock = Clock()
        self.alarms, self.events = [], []
        self.keys = IssuerKeys(
            sources,
            http,
            now=self.clock.now,
            alarm=self.alarms.append,
            events=lambda kind, body: self.events.append((kind, body)),
            sleep=self.clock.sleep,
            **options,
        )

    async def __aenter__(self):
        await self.keys.start()
        return self

    async def __aexit__(self, *error):
        await self.keys.close()

    def ids(self, issuer):
        found = self.keys.get(issuer)
        return None if found is None else sorted(found.keys)

    async def pass_time(self, seconds):
        """Let the clock go, and wait until everything that was due is done."""
        async with asyncio.timeout(30):
            while not self.clock.asleep:
                await asyncio.sleep(0.001)
            self.clock.advance(seconds)
            while not self.clock.asleep:
                await asyncio.sleep(0.001)


@pytest.fixture
async def issuer():
    async with HttpsIssuer() as running:
        running.publish("k1")
        yield running


@pytest.fixture
async def desk(issuer):
    async with Desk(issuer.http(), Source(issuer.url)) as running:
        yield running


async def refused(issuer, http=None):
    """The alarm of an issuer whose keys cannot be had from the start."""
    async with Desk(http or issuer.http(), Source(issuer.url)) as desk:
        assert desk.keys.get(issuer.url) is None
        assert desk.events == []
        (alarm,) = desk.alarms
        assert alarm.startswith(f"the keys of {issuer.url} cannot be had, nothing it signs is accepted: ")
        return alarm.partition(" is accepted: ")[2]


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


# -- what an issuer may not say --


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://other.test"},
        {"issuer": "HTTPS://issuer.test"},
        {"issuer": None},
        {"issuer": ["https://issuer.test"]},
    ],
    ids=str,
)
async def test_the_discovery_document_is_that_of_the_issuer(issuer, said):
    issuer.said = said
    assert "is that of another issuer" in await refused(issuer)
    assert issuer.looks() == 0


async def test_the_issuer_is_compared_byte_for_byte(issuer):
    issuer.said = {"issuer": issuer.url + "/"}
    assert "is that of another issuer" in await refused(issuer)


@pytest.mark.parametrize("uri", [None, 7, ["https://issuer.test/keys"]], ids=str)
async def test_a_jwks_uri_is_a_string(issuer, uri):
    issuer.said = {"jwks_uri": uri}
    assert "has no jwks_uri" in await refused(issuer)


async def test_keys_are_not_fetched_in_the_clear(issuer):
    with Forbidden() as trap:
        issuer.said = {"jwks_uri": f"http://127.0.0.1:{trap.port}/keys"}
        http = issuer.http(AllowPrivate("127.0.0.1", "127.0.0.1/32", trap.port))
        assert "is not an https URL" in await refused(issuer, http)
        trap.assert_untouched()


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("https://127.0.0.1:{port}/keys", "127.0.0.1 is a loopback address"),
        ("https://[::ffff:127.0.0.1]:{port}/keys", "embedded-v4"),
        ("https://localhost:{port}/keys", "localhost is this machine"),
        ("https://issuer.test:{port}/keys", "127.0.0.1 is a loopback address"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("https://metadata.google.internal/", "metadata"),
        ("https://10.0.0.1/keys", "private"),
        ("https://0x7f.1/keys", "jwks_uri"),
        ("https://2130706433/keys", "jwks_uri"),
        ("file:///etc/passwd", "jwks_uri"),
        ("keys", "jwks_uri"),
        ("https://nowhere.test/keys", "nowhere.test does not exist"),
    ],
)
async def test_an_issuer_leads_nobody_to_private_places(issuer, uri, why):
    with Forbidden() as trap:
        issuer.said = {"jwks_uri": uri.format(port=trap.port)}
        assert why in await refused(issuer)
        trap.assert_untouched()


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
async def test_a_redirect_is_refused(issuer, path):
    async def elsewhere(request):
        raise web.HTTPFound(issuer.url + "/elsewhere")

    issuer.answers[path] = elsewhere
    assert "status 302" in await refused(issuer)
    assert "/elsewhere" not in issuer.asked


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"keys"',
        b"{",
        b"[" * 100_000,
        b'{"issuer":"a","issuer":"b","keys":[],"keys":[]}',
    ],
    ids=lambda body: body[:12].decode(),
)
async def test_garbage_is_refused(issuer, path, body):
    async def answer(request):
        return web.Response(body=body)

    issuer.answers[path] = answer
    await refused(issuer)


async def test_a_document_that_is_too_large_is_refused(issuer):
    async def answer(request):
        return web.Response(body=jwks("k1") + b" " * 1_048_576)

    issuer.answers[JWKS] = answer
    assert "more than 1048576 octets" in await refused(issuer)


async def test_whoever_does_not_answer_in_time_is_left(issuer):
    issuer.hold()
    async with Desk(issuer.http(), Source(issuer.url), look_s=0.2) as desk:
        assert desk.keys.get(issuer.url) is None
        (alarm,) = desk.alarms
        assert "did not answer in time" in alarm
    assert LOOK_S == 10


async def test_a_failure_of_our_own_is_told_and_tried_again(issuer):
    class Broken:
        working = False

        async def resolve(self, name):
            if not self.working:
                raise RuntimeError("out of order")
            return ("127.0.0.1",)

    broken = Broken()
    async with Desk(GuardedHttp(broken, issuer.client(), (issuer.allowed(),)), Source(issuer.url)) as desk:
        (alarm,) = desk.alarms
        assert alarm.endswith("internal error: RuntimeError: out of order")

        broken.working = True
        await desk.pass_time(RETRY_S)
        assert desk.ids(issuer.url) == ["k1"]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_issuer_on_this_machine_may_do_without_tls(scheme):
    async with HttpsIssuer(scheme, "127.0.0.1") as local:
        local.publish("k1")
        async with Desk(local.http(), Source(local.url)) as desk:
            assert desk.ids(local.url) == ["k1"]


async def test_any_other_issuer_may_not():
    async with HttpsIssuer("http") as plain:
        assert "is neither https nor on this machine" in await refused(plain)
        assert plain.asked == []


async def test_an_issuer_on_this_machine_does_not_send_anybody_away_in_the_clear():
    async with HttpsIssuer("http", "127.0.0.1") as local:
        local.said = {"jwks_uri": "http://keys.test/keys"}
        assert "is not an https URL" in await refused(local)


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


# -- time --


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
    desk.clock.advance(DAY / 2)
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


# -- files --


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.json"
    path.write_bytes(jwks("k1"))
    return path


def replace(path, content):
    """As secret stores do it."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


async def test_a_file_is_read_again_when_it_changes(issuer, file):
    async with Desk(issuer.http(), Source(issuer.url, str(file))) as desk:
        assert desk.ids(issuer.url) == ["k1"]
        replace(file, jwks("k2"))
        await desk.pass_time(FILE_S - 1)
        assert desk.ids(issuer.url) == ["k1"]
        await desk.pass_time(1)
        assert desk.ids(issuer.url) == ["k2"]
        await desk.pass_time(10 * FILE_S)
        assert desk.ids(issuer.url) == ["k2"]
        assert len(desk.events) == 2
    assert issuer.asked == []


async def test_a_file_is_read_when_a_key_is_wanted(issuer, file):
    async with Desk(issuer.http(), Source(issuer.url, str(file))) as desk:
        replace(file, jwks("k2"))
        await desk.keys.want(issuer.url, "k2")
        assert desk.ids(issuer.url) == ["k2"]

        replace(file, jwks("k3"))
        await desk.keys.want(issuer.url, "k3")
        assert desk.ids(issuer.url) == ["k2"]
        await desk.pass_time(FORCED_FILE_S)
        await desk.keys.want(issuer.url, "k3")
        assert desk.ids(issuer.url) == ["k3"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a JSON object"),
        (b"{}", "keys"),
        (jwks("k1") + b" " * MAX_OCTETS, f"larger than {MAX_OCTETS} octets"),
        (json.dumps({"keys": [jwk("k1") | {"d": "AA"}]}).encode(), "private"),
        (None, "No such file"),
    ],
    ids=["empty", "no keys", "large", "private", "missing"],
)
async def test_a_file_that_is_no_key_set(issuer, file, content, why):
    file.unlink() if content is None else file.write_bytes(content)
    async with Desk(issuer.http(), Source(issuer.url, str(file))) as desk:
        assert desk.keys.get(issuer.url) is None
        (alarm,) = desk.alarms
        assert why in alarm
        assert str(file) in alarm

        replace(file, jwks("k2"))
        await desk.pass_time(FILE_S)
        assert desk.ids(issuer.url) == ["k2"]


async def test_a_file_that_is_gone_is_missed_for_a_day(issuer, file):
    async with Desk(issuer.http(), Source(issuer.url, str(file))) as desk:
        hidden = file.with_suffix(".hidden")
        file.rename(hidden)
        await desk.pass_time(FILE_S)
        assert desk.ids(issuer.url) == ["k1"]
        await desk.pass_time(STALE_S - FILE_S)
        assert desk.ids(issuer.url) is None

        hidden.rename(file)  # the very same file, and it counts as new
        await desk.pass_time(RETRY_MAX_S)
        assert desk.ids(issuer.url) == ["k1"]


async def test_a_file_that_does_not_change_does_not_grow_old(issuer, file):
    async with Desk(issuer.http(), Source(issuer.url, str(file))) as desk:
        for _ in range(5):
            await desk.pass_time(STALE_S)
        assert desk.ids(issuer.url) == ["k1"]


async def test_the_file_of_a_trust_domain_is_its_bundle(issuer, tmp_path):
    path = tmp_path / "bundle.json"
    path.write_bytes(json.dumps({"keys": [jwk("k1") | {"use": "jwt-svid"}, jwk("k2")]}).encode())
    async with Desk(issuer.http(), Source(DOMAIN, str(path), bundle=True)) as desk:
        assert desk.ids(DOMAIN) == ["k1"]
        assert desk.keys.get(DOMAIN) == parse_bundle(path.read_bytes())
        assert not desk.keys.put(DOMAIN, None)
        assert desk.ids(DOMAIN) == ["k1"]


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
