import asyncio
import subprocess
import sys

import pytest
from aiohttp import web

from proxy.broker.guarded_http import MAX_OCTETS, GuardedHttp, Page, is_loopback, read_url
from proxy.errors import Code, Refusal
from proxy.http.address import AllowPrivate
from proxy.http.canonical import Host, Target, parse_host
from tests.support.forbidden import Forbidden
from tests.support.https_issuer import JWKS, HttpsIssuer
from tests.support.resolver import ScriptedResolver


def url(text: str) -> Target:
    target = read_url(text)
    assert isinstance(target, Target), target
    return target


async def get(http: GuardedHttp, text: str, within: float = 10) -> Page | Refusal:
    return await http.get(url(text), asyncio.get_running_loop().time() + within)


@pytest.fixture
async def issuer():
    async with HttpsIssuer() as running:
        yield running


async def test_an_answer_is_its_body_and_what_it_says_about_being_kept(issuer):
    async def answer(request):
        headers = [("Cache-Control", "public"), ("Cache-Control", "max-age=7"), ("Age", "3")]
        return web.Response(body=b"octets", headers=headers)

    issuer.answers["/a b"] = answer

    page = await get(issuer.http(), issuer.url + "/a%20b?q=%2B+x")

    assert page == Page(b"octets", "public, max-age=7", "3")
    (request,) = issuer.seen
    assert request.raw_path == "/a%20b?q=%2B+x"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["Host"] == f"issuer.test:{issuer.port}"


async def test_every_octet_up_to_the_limit_and_not_one_more(issuer):
    size = MAX_OCTETS

    async def answer(request):
        return web.Response(body=b"x" * size)

    issuer.answers[JWKS] = answer
    page = await get(issuer.http(), issuer.url + JWKS)
    assert isinstance(page, Page)
    assert len(page.body) == MAX_OCTETS

    size += 1
    refused = await get(issuer.http(), issuer.url + JWKS)
    assert refused.code is Code.UPSTREAM_PROTOCOL
    assert f"more than {MAX_OCTETS} octets" in refused.detail


async def test_an_endless_answer_is_cut(issuer):
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            await asyncio.sleep(0)  # a write into a broken TLS connection does not wait, and raises nothing

    issuer.answers[JWKS] = answer

    refused = await get(issuer.http(), issuer.url + JWKS)

    assert f"more than {MAX_OCTETS} octets" in refused.detail


@pytest.mark.parametrize("status", [201, 204, 301, 302, 303, 307, 308, 401, 404, 500])
async def test_only_status_200_is_an_answer_and_nobody_is_followed(issuer, status):
    async def answer(request):
        return web.Response(status=status, headers={"Location": issuer.url + "/elsewhere"})

    issuer.answers[JWKS] = answer

    refused = await get(issuer.http(), issuer.url + JWKS)

    assert (refused.code, f"status {status}" in refused.detail) == (Code.UPSTREAM_PROTOCOL, True)
    assert issuer.asked == [JWKS]


async def test_a_content_coding_is_refused(issuer):
    async def answer(request):
        return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})

    issuer.answers[JWKS] = answer

    refused = await get(issuer.http(), issuer.url + JWKS)

    assert (refused.code, "'gzip'" in refused.detail) == (Code.UPSTREAM_PROTOCOL, True)


async def test_cookies_are_not_kept(issuer):
    async def answer(request):
        response = web.Response()
        response.set_cookie("seen", "before")
        return response

    issuer.answers[JWKS] = answer
    http = issuer.http()

    for _ in range(2):
        assert isinstance(await get(http, issuer.url + JWKS), Page)

    assert [request.headers.get("Cookie") for request in issuer.seen] == [None, None]


async def test_proxy_variables_are_not_obeyed(issuer, monkeypatch):
    with Forbidden() as trap:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")

        assert isinstance(await get(issuer.http(), issuer.url + JWKS), Page)
        trap.assert_untouched()


async def test_whoever_does_not_answer_in_time_is_refused(issuer):
    issuer.hold()

    refused = await get(issuer.http(), issuer.url + JWKS, within=0.2)

    assert refused.code is Code.UPSTREAM_TIMEOUT


async def test_whoever_drips_is_refused(issuer):
    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.Event().wait()

    issuer.answers[JWKS] = answer

    refused = await get(issuer.http(), issuer.url + JWKS, within=0.2)

    assert refused.code is Code.UPSTREAM_TIMEOUT


async def test_the_name_is_looked_up_in_time_too(issuer):
    class Slow:
        async def resolve(self, name):
            await asyncio.Event().wait()

    http = GuardedHttp(Slow(), issuer.client(), (issuer.allowed(),))

    assert (await get(http, issuer.url + JWKS, within=0.05)).code is Code.UPSTREAM_TIMEOUT


async def test_the_certificate_is_that_of_the_name(issuer):
    other = ScriptedResolver({"other.test": [("127.0.0.1",)]})
    allowed = AllowPrivate("other.test", "127.0.0.1/32", issuer.port)
    http = GuardedHttp(other, issuer.client(), (allowed,))

    refused = await get(http, f"https://other.test:{issuer.port}{JWKS}")

    assert refused.code is Code.TLS_CERT
    assert issuer.asked == []


async def test_a_server_without_tls_is_refused():
    async with HttpsIssuer("http") as plain:
        refused = await get(plain.http(), f"https://issuer.test:{plain.port}{JWKS}")

    assert refused.code is Code.TLS_UPSTREAM


async def test_nobody_listens(issuer):
    with Forbidden() as gone:
        port = gone.port
    http = issuer.http(AllowPrivate("issuer.test", "127.0.0.1/32", port))

    refused = await get(http, f"https://issuer.test:{port}/")

    assert refused.code is Code.CONNECT_FAILED
    assert "\n" not in refused.detail


async def test_what_is_no_http_is_refused_in_one_line():
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\nx")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        allowed = AllowPrivate("127.0.0.1", "127.0.0.1/32", port)
        async with HttpsIssuer() as issuer:
            http = GuardedHttp(ScriptedResolver({}), issuer.client(), (allowed,))
            refused = await get(http, f"http://127.0.0.1:{port}/")

    assert refused.code is Code.UPSTREAM_PROTOCOL
    assert "\n" not in refused.detail


@pytest.mark.parametrize(
    ("host", "addresses", "code"),
    [
        ("trap.test", ("127.0.0.1",), Code.DEST_LOOPBACK),
        ("127.0.0.1", (), Code.DEST_LOOPBACK),
        ("[::ffff:127.0.0.1]", (), Code.EMBEDDED_V4),
        ("localhost", ("127.0.0.1",), Code.DEST_LOOPBACK),
        ("trap.test", ("10.0.0.1",), Code.DEST_PRIVATE),
        ("trap.test", ("169.254.169.254",), Code.DEST_METADATA),
        ("169.254.169.254", (), Code.DEST_METADATA),
        ("metadata.google.internal", ("127.0.0.1",), Code.DEST_METADATA),
        ("keys.default.svc", ("127.0.0.1",), Code.DEST_NAME),
        ("unknown.test", (), Code.DNS_ERROR),
    ],
)
async def test_what_agents_may_not_reach_nobody_reaches(issuer, host, addresses, code):
    with Forbidden() as trap:
        http = GuardedHttp(
            ScriptedResolver({host: [addresses]} if addresses else {}), issuer.client(), (issuer.allowed(),)
        )
        refused = await get(http, f"https://{host}:{trap.port}/keys")

        assert refused.code is code
        trap.assert_untouched()


async def test_an_answer_that_is_partly_allowed_is_refused(issuer):
    resolver = ScriptedResolver({"issuer.test": [("127.0.0.1", "10.0.0.1")]})
    http = GuardedHttp(resolver, issuer.client(), (issuer.allowed(),))

    assert (await get(http, issuer.url + JWKS)).code is Code.MIXED_ANSWER
    assert issuer.asked == []


async def test_the_address_that_was_vetted_is_the_one_that_is_dialled(issuer):
    """127.0.0.2 would answer the second question; nobody asks one."""
    with Forbidden("127.0.0.2", issuer.port) as rebound:
        resolver = ScriptedResolver({"issuer.test": [("127.0.0.1",), ("127.0.0.2",)]})
        http = GuardedHttp(resolver, issuer.client(), (issuer.allowed(),))

        assert isinstance(await get(http, issuer.url + JWKS), Page)

        assert resolver.journal == ["issuer.test"]
        rebound.assert_untouched()


async def test_an_address_as_host_is_dialled_without_a_look_up():
    async with HttpsIssuer("http", "127.0.0.1") as plain:
        resolver = ScriptedResolver({})
        http = GuardedHttp(resolver, plain.client(), (plain.allowed(),))

        assert isinstance(await get(http, plain.url + JWKS), Page)
        assert resolver.journal == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/keys",
        "ftp://a.test/",
        "https://a.test/#f",
        "https://u@a.test/",
        "https://2130706433/",
        "https://ä.test/",
    ],
)
def test_what_is_no_canonical_url(text):
    assert isinstance(read_url(text), Refusal)


@pytest.mark.parametrize(
    ("host", "local"),
    [(b"localhost", True), (b"127.8.8.8", True), (b"[::1]", True), (b"a.test", False), (b"10.0.0.1", False)],
)
def test_loopback_as_it_is_written(host, local):
    parsed = parse_host(host)
    assert isinstance(parsed, Host)
    assert is_loopback(parsed) is local


def test_aiohttp_waits_for_the_first_request():
    code = "import sys; import proxy.broker.jwks; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
