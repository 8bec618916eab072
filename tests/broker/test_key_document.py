import json

import pytest
from aiohttp import web

from proxy.broker.guarded_http import GuardedHttp
from proxy.broker.jwks import FILE_S, FORCED_FILE_S, LOOK_S, RETRY_MAX_S, RETRY_S, STALE_S, Source
from proxy.broker.static import MAX_OCTETS
from proxy.http.address import AllowPrivate
from proxy.identity.keyset import parse_bundle
from tests.support.forbidden import Forbidden
from tests.support.https_issuer import DISCOVERY, JWKS, HttpsIssuer, jwk, jwks
from tests.support.issuer_desk import Desk, refused

DOMAIN = "spiffe://example.org"


@pytest.fixture
async def issuer():
    async with HttpsIssuer() as running:
        running.publish("k1")
        yield running


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


async def test_an_issuer_whose_url_cannot_be_read_has_no_keys(issuer):
    url = issuer.url + "/#fragment"
    async with Desk(issuer.http(), Source(url)) as desk:
        assert desk.keys.get(url) is None
        (alarm,) = desk.alarms
        assert "fragment" in alarm
    assert issuer.asked == []


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


async def test_a_file_is_looked_at_every_few_seconds_however_long_it_was_broken(issuer, file):
    file.write_bytes(b"half")
    async with Desk(issuer.http(), Source(issuer.url, str(file))) as desk:
        for _ in range(5):
            await desk.pass_time(FILE_S)
        replace(file, jwks("k2"))
        await desk.pass_time(FILE_S)
        assert desk.ids(issuer.url) == ["k2"]
        assert len(desk.alarms) == 2
    assert FILE_S <= 5


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
