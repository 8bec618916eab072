"""B7, C for CONNECT: heads of tunnels, and what stands right behind them (egress.md, section 5)."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import (
    absolute,
    connect,
    inside,
    refused,
    refused_connect,
    say,
)
from tests.support.world import world


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_b7_connect_without_host_works(tmp_path, version):
    """Python before 3.12 sends ``CONNECT host:443 HTTP/1.0`` and no Host."""
    async with world(tmp_path) as w, await w.client() as client:
        await client.send(
            f"CONNECT {w.authority} HTTP/{version}\r\nProxy-Authorization: {w.authorization}\r\n\r\n".encode()
        )
        assert (await client.read_head()).start[1] == b"200"
        await client.start_tls("api.test", cafile=w.keyring.ca_path)
        await client.send(inside(w, "/"))
        assert (await client.read_response()).status == 200


@pytest.mark.parametrize(
    ("target", "code"),
    [
        pytest.param("/x", Code.TARGET_MALFORMED, id="path"),
        pytest.param("api.test", Code.TARGET_MALFORMED, id="no-port"),
        pytest.param("https://api.test:443", Code.TARGET_MALFORMED, id="url"),
        pytest.param("user@api.test:443", Code.TARGET_MALFORMED, id="userinfo"),
        pytest.param("api.test:443#x", Code.TARGET_MALFORMED, id="fragment"),
        pytest.param("api.test:443,other.test:443", Code.TARGET_MALFORMED, id="list"),
        pytest.param("::1:443", Code.HOST_NONCANONICAL, id="bare-v6"),
        pytest.param("*", Code.HOST_NONCANONICAL, id="asterisk"),
    ],
)
async def test_connect_takes_an_authority(tmp_path, target, code):
    """Where llhttp itself cannot read the target, the code is ``malformed``: 400 either way."""
    async with world(tmp_path) as w:
        answer = await say(w, connect(w, target, host="api.test:443"))
        expected = Code.MALFORMED if answer.json()["code"] == Code.MALFORMED else code
        await refused(w, answer, expected)


@pytest.mark.parametrize("host", ["other.test:443", "api.test:444"])
async def test_connect_whose_host_header_names_another_place(tmp_path, host):
    async with world(tmp_path) as w:
        answer = await say(w, connect(w, "api.test:443", host=host))
        await refused_connect(w, answer, Code.AUTHORITY_MISMATCH)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param(["Content-Length: 5"], Code.MALFORMED, id="length"),
        pytest.param(["Transfer-Encoding: chunked"], Code.MALFORMED, id="chunked"),
        pytest.param(["Content-Length: 0", "Transfer-Encoding: chunked"], Code.MALFORMED, id="both"),
        pytest.param(["Content-Length: 0", "Content-Length: 5"], Code.MALFORMED, id="two-lengths"),
        pytest.param(["Connection: proxy-authorization"], Code.HEADER_FORBIDDEN, id="connection"),
        pytest.param(["X-Large: " + "x" * 40_000], Code.HEAD_TOO_LARGE, id="large"),
        pytest.param([f"X-{number}: x" for number in range(300)], Code.HEAD_TOO_LARGE, id="many"),
    ],
)
async def test_a_connect_head_is_held_to_the_same_rules(tmp_path, headers, code):
    """C1, C2, C9 and C16 for CONNECT: a body before the tunnel would be the tunnel to somebody else."""
    async with world(tmp_path) as w:
        answer = await say(w, connect(w, "api.test:443", *headers) + b"GET /")
        await refused(w, answer, code)


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_tunnel_in_a_tunnel(tmp_path, scheme):
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        if scheme == "https":
            await client.start_tls("api.test", cafile=w.keyring.ca_path)
        await client.send(connect(w, "169.254.169.254:80"))
        await refused_connect(w, await client.read_response(), Code.METHOD_UNSUPPORTED)


async def test_a_placeholder_on_the_connect_itself_goes_nowhere(tmp_path):
    async with world(tmp_path) as w, await w.client() as client:
        answer = await client.open_tunnel(
            w.authority, w.authorization, (b"Authorization", b"Bearer " + w.placeholder.encode())
        )
        assert answer.status == 200
        await client.start_tls("api.test", cafile=w.keyring.ca_path)
        await client.send(inside(w, "/"))
        assert w.placeholder not in (await client.read_response()).body.decode()
        assert w.placeholder.encode() not in w.upstream.received


async def test_bytes_before_the_connect_answer_are_the_tunnels(tmp_path):
    """A request in plain text behind CONNECT is read as the tunnel's first, not as the proxy's second."""
    async with world(tmp_path) as w, await w.client() as client:
        await client.send(connect(w, w.authority) + absolute(w, "http://169.254.169.254/"))
        assert (await client.read_head()).start[1] == b"200"
        answer = await client.read_response()
        await refused(w, answer, Code.AUTHORITY_MISMATCH)
