"""B: CONNECT, what is spoken inside, and names that do not agree (egress.md, section 5)."""

import ssl

import pytest

from proxy.errors import Code
from tests.hostile.assertions import (
    decided,
    denied,
    dropped,
    inside,
    refused,
    say,
    say_inside,
    untouched,
)
from tests.support import demo_rules
from tests.support.forbidden import Forbidden
from tests.support.upstream import Upstream
from tests.support.world import world

BANNERS = [
    pytest.param(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", id="A25-ssh"),
    pytest.param(b"EHLO relay.example\r\nMAIL FROM:<a@b.example>\r\n", id="A25-smtp"),
    pytest.param(b"*1\r\n$4\r\nPING\r\n", id="A25-redis"),
    pytest.param(b"PING\r\n", id="A25-inline-redis"),
    pytest.param(b"\x00\x00\x00\x08\x04\xd2\x16\x2f", id="A25-postgres"),
    pytest.param(b"\x16\x03\x01\x00\x00", id="A25-empty-record"),
    pytest.param(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", id="A25-server-hello"),
    pytest.param(b"\x16\x02\x00\x00\x05\x01\x00\x00\x01\x00", id="A25-not-3.x"),
    pytest.param(b"\x80\x2e\x01\x00\x02", id="A25-sslv2"),
    pytest.param(b"get / http/1.1\r\n\r\n", id="A25-lower-case"),
    pytest.param(b"\r\n\r\n", id="A25-lines"),
    pytest.param(b"HELLO" * 30_000, id="A25-endless-line"),
]


@pytest.mark.parametrize("banner", BANNERS)
async def test_what_is_neither_tls_nor_http_ends_the_tunnel(tmp_path, banner):
    with Forbidden() as trap:
        async with world(tmp_path, hosts={"api.test": [trap.host]}) as w, await w.client() as client:
            assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
            await client.send(banner)
            await dropped(w, client, Code.NOT_TLS)
        trap.assert_untouched()


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="A25-silence"),
        pytest.param(b"\x16\x03", id="A25-half-a-record"),
        pytest.param(b"SSH-2.0", id="A25-half-a-banner"),
    ],
)
async def test_a25_no_client_hello_in_time(tmp_path, start):
    async with world(tmp_path, limits={"handshake_timeout": 0.3}) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await client.send(start)
        await dropped(w, client, Code.NOT_TLS)


@pytest.mark.parametrize("sni", ["other.test", "api.test.evil.example", "127.0.0.1.example"])
async def test_b1_the_server_name_is_the_connect_host(tmp_path, sni):
    """The leaf is the CONNECT host's, whatever the ClientHello asked for."""
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        tls = await client.start_tls("api.test", cafile=w.keyring.ca_path, sni=sni)
        assert tls.getpeercert()["subjectAltName"] == (("DNS", "api.test"),)
        await client.send(inside(w, "/"))
        await refused(w, await client.read_response(), Code.SNI_MISMATCH)
        assert await client.at_end()


async def test_b1_a_client_that_verifies_leaves_the_same_record(tmp_path):
    async with world(tmp_path) as w:
        async with await w.client() as client:
            assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.start_tls("other.test", cafile=w.keyring.ca_path)
        await decided(w)
        denied(w, Code.SNI_MISMATCH)
        await untouched(w)


@pytest.mark.parametrize("broken", [False, True])
async def test_b1_whatever_follows_is_answered_with_the_mismatch(tmp_path, broken):
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await client.start_tls("api.test", cafile=w.keyring.ca_path, sni="other.test")
        await client.send(b"nonsense\n\r\n\r\n" if broken else inside(w, "/") * 2)
        await refused(w, await client.read_response(), Code.SNI_MISMATCH)
        assert await client.at_end()


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("other.test", id="B2-other-host"),
        pytest.param("api.test:1", id="B2-other-port"),
        pytest.param("api.test", id="B2-default-port"),
        pytest.param("169.254.169.254", id="B2-metadata"),
    ],
)
async def test_b2_host_inside_a_tunnel(tmp_path, host):
    async with world(tmp_path) as w:
        await refused(w, await say_inside(w, inside(w, "/", host=host)), Code.AUTHORITY_MISMATCH)


@pytest.mark.parametrize(
    "url", ["https://other.test/", "http://{}/", "https://api.test/", "https://169.254.169.254/"]
)
async def test_b3_absolute_form_inside_a_tunnel(tmp_path, url):
    async with world(tmp_path) as w:
        target = url.format(w.authority)
        host = target.split("/")[2]
        await refused(w, await say_inside(w, inside(w, target, host=host)), Code.AUTHORITY_MISMATCH)


async def test_b3_absolute_form_that_names_the_tunnels_own_origin(tmp_path):
    async with world(tmp_path) as w:
        answer = await say_inside(w, inside(w, f"https://{w.authority}/x"))
        assert (answer.status, answer.json()["target"]) == (200, "/x")


async def test_b4_tls_without_a_server_name(tmp_path):
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await client.start_tls("api.test", cafile=w.keyring.ca_path, sni=None)
        await client.send(inside(w, "/"))
        await refused(w, await client.read_response(), Code.SNI_MISSING)
        assert await client.at_end()


async def test_b4_an_address_needs_no_server_name(tmp_path):
    """Addresses are never sent as server names (RFC 6066, 3); the tunnel's own rule decides."""
    up = Upstream("127.0.0.1")
    async with world(tmp_path, upstream=up) as w:
        async with await w.client() as client:
            assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
            await client.start_tls("127.0.0.1", cafile=w.keyring.ca_path)
            await client.send(inside(w, "/"))
            assert (await client.read_response()).status == 200
        await w.settled()
        assert [each.effect for each in w.decisions] == ["allow"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param(["Host: {own}", "Host: {own}"], Code.MALFORMED, id="B7-twice"),
        pytest.param(["Host: {own}", "Host: other.test"], Code.MALFORMED, id="B7-two"),
        pytest.param(["Host: {own}", "host: {own}"], Code.MALFORMED, id="B7-case"),
        pytest.param([], Code.MALFORMED, id="B7-missing"),
        pytest.param(["Host:"], Code.HOST_NONCANONICAL, id="B7-empty"),
        pytest.param(["Host: user@{own}"], Code.TARGET_MALFORMED, id="B7-userinfo"),
        pytest.param(["Host: {own}/x"], Code.TARGET_MALFORMED, id="B7-path"),
        pytest.param(["Host: {own}, other.test"], Code.TARGET_MALFORMED, id="B7-list"),
        pytest.param(["Host: api.test:"], Code.TARGET_MALFORMED, id="B7-colon"),
        pytest.param(["Host: [api.test]"], Code.HOST_NONCANONICAL, id="B7-brackets"),
        pytest.param(["Host: api.test#{own}"], Code.HOST_NONCANONICAL, id="B7-fragment"),
    ],
)
@pytest.mark.parametrize("where", ["tunnel", "url"])
async def test_b7_one_host_and_nothing_but_a_host(tmp_path, headers, code, where):
    async with world(tmp_path) as w:
        lines = [line.format(own=w.authority) for line in headers]
        if where == "tunnel":
            data = "\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode()
            answer = await say_inside(w, data)
        else:
            start = [f"GET http://{w.authority}/ HTTP/1.1", f"Proxy-Authorization: {w.authorization}"]
            answer = await say(w, "\r\n".join([*start, *lines, "", ""]).encode())
        await refused(w, answer, code)


async def test_plain_http_in_a_tunnel_is_another_origin(tmp_path):
    """The catalogue's API is https: the placeholder is not swapped where nobody encrypts."""
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await client.send(inside(w, "/", f"Authorization: Bearer {w.placeholder}"))
        await refused(w, await client.read_response(), Code.PLACEHOLDER_HOST_MISMATCH)


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        pytest.param("OPTIONS * HTTP/1.1", "", id="B14-options"),
        pytest.param("GET * HTTP/1.1", Code.TARGET_MALFORMED, id="B14-get"),
        pytest.param("TRACE / HTTP/1.1", Code.METHOD_UNSUPPORTED, id="B14-trace"),
        pytest.param("PRI * HTTP/2.0", Code.MALFORMED, id="B14-h2-preface"),
    ],
)
async def test_targets_and_methods_that_are_not_relayed(tmp_path, request_line, code):
    async with world(tmp_path) as w:
        answer = await say_inside(w, f"{request_line}\r\nHost: {w.authority}\r\n\r\n".encode())
        if code:
            await refused(w, answer, code)
        else:
            assert answer.json()["target"] == "*"


async def test_b15_websocket_to_a_path_that_is_denied(tmp_path):
    policies = [
        demo_rules.permit("all"),
        '@id("no-sockets") forbid(principal, action, resource) when { context.request.upgrade == "websocket" };',
    ]
    async with world(tmp_path, policies=policies) as w:
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        data = inside(w, "/websocket", *upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        async with w.tunnel() as client:
            await client.send(data + b"\x81\x85\x00\x00\x00\x00hello")
            answer = await client.read_response()
            record = await refused(w, answer, Code.POLICY_DENY)
            assert record.rule == "no-sockets"
            assert await client.at_end()


@pytest.mark.parametrize("protocol", ["tls/1.0", "websocket, tls/1.0", "foo"])
async def test_b15_upgrades_to_anything_else(tmp_path, protocol):
    async with world(tmp_path) as w:
        answer = await say_inside(w, inside(w, "/", "Connection: Upgrade", f"Upgrade: {protocol}"))
        await refused(w, answer, Code.UPGRADE_UNSUPPORTED)


async def test_b15_h2c_is_stripped(tmp_path):
    async with world(tmp_path) as w:
        h2c = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]
        answer = await say_inside(w, inside(w, "/", *h2c))
        assert [name.lower() for name, _ in answer.json()["headers"]] == ["host"]
        assert w.decisions[0].raw["what"]["headers_stripped"] == ["upgrade"]
