"""Inside CONNECT: what is spoken there, TLS under a leaf for the CONNECT host, and a record for whatever is neither."""

import ssl

import pytest

from tests.engine.lines import refusals, until, untouched
from tests.support.rawclient import RawClient
from tests.support.upstream import Upstream
from tests.support.world import World, world

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the first octets of a ClientHello


async def opened(w: World) -> RawClient:
    client = await w.client()
    assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
    return client


def hello(server_name: str) -> bytes:
    """A whole ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_that_verifies_is_content(tmp_path, version):
    async with world(tmp_path) as w, await opened(w) as client:
        context = ssl.create_default_context(cafile=w.keyring.ca_path)
        context.minimum_version = context.maximum_version = version
        tls = await client.start_tls("api.test", context=context)
        assert (tls.selected_alpn_protocol(), tls.version()) == ("http/1.1", version.name.replace("_", "."))
        await client.send(f"GET /x HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
        assert (await client.read_response()).status == 200
        assert w.decisions[0].scheme == "https"


async def test_the_leaf_is_for_the_connect_host_alone(tmp_path):
    async with world(tmp_path) as w, await opened(w) as client:
        context = ssl.create_default_context(cafile=w.keyring.ca_path)
        tls = await client.start_tls("api.test", context=context)
        certificate = tls.getpeercert()
        assert certificate is not None
        assert certificate["subjectAltName"] == (("DNS", "api.test"),)


async def test_http_in_a_tunnel_is_plain(tmp_path):
    async with world(tmp_path, upstream=Upstream("api.test", tls=False)) as w, await opened(w) as client:
        request = f"GET /x HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode()
        for at in range(0, len(request), 7):
            await client.send(request[at : at + 7])
        assert (await client.read_response()).json()["target"] == "/x"
        assert w.decisions[0].scheme == "http"


@pytest.mark.parametrize("how", ["half_close", "abort"])
@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (HELLO, "tls_handshake"),
        (b"\x16", "tls_handshake"),
        (b"\x16\x03\x01\x00\x05hello", "not_tls"),
        (b"SSH-2.0-x\r\n", "not_tls"),
        (b"GET", "not_tls"),
        (b"\x00", "not_tls"),
    ],
)
async def test_what_is_begun_and_not_ended_is_on_record(tmp_path, octets, code, how):
    async with world(tmp_path) as w:
        async with await opened(w) as client:
            await client.send(octets)
            (connection,) = w.sidecar.server._running.values()
            await until(lambda: connection._reading.wire.received > 0 and connection._reading.wire.idle)
            getattr(client, how)()
            await until(lambda: not w.sidecar.server._running)
        assert [refusal for refusal, _ in refusals(w)] == [code]
        assert w.decisions[0].agent == "tester"
        assert untouched(w)


@pytest.mark.parametrize("how", ["half_close", "abort"])
async def test_a_tunnel_in_which_nothing_is_said_leaves_no_record(tmp_path, how):
    async with world(tmp_path) as w:
        async with await opened(w) as client:
            getattr(client, how)()
            await until(lambda: not w.sidecar.server._running)
        assert w.decisions == []


@pytest.mark.parametrize("octets", [b"", HELLO, b"GET /"])
async def test_a_handshake_that_takes_too_long(tmp_path, octets):
    async with world(tmp_path, limits={"handshake_timeout": 0.3}) as w, await opened(w) as client:
        if octets:
            await client.send(octets)
        assert await client.at_end()
        assert [code for code, _ in refusals(w)] == ["not_tls"]
        assert untouched(w)


async def test_a_handshake_that_stops_after_its_hello_takes_too_long(tmp_path):
    async with world(tmp_path, limits={"handshake_timeout": 0.3}) as w, await opened(w) as client:
        await client.send(hello("api.test"))
        answer = b""
        while piece := await client.read_some():
            answer += piece
        assert answer.startswith(b"\x16\x03\x03")  # its own hello went out
        assert [code for code, _ in refusals(w)] == ["not_tls"]
        assert untouched(w)


async def test_a_client_that_does_not_trust_the_ca(tmp_path):
    async with world(tmp_path) as w, await opened(w) as client:
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.start_tls("api.test")
        await until(lambda: not w.sidecar.server._running)
        assert [code for code, _ in refusals(w)] == ["tls_client_reject"]
        assert untouched(w)


async def test_a_client_that_speaks_h2_alone(tmp_path):
    async with world(tmp_path) as w, await opened(w) as client:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.start_tls("api.test", cafile=w.keyring.ca_path, alpn=("h2",))
        await until(lambda: not w.sidecar.server._running)
        assert [code for code, _ in refusals(w)] == ["tls_handshake"]
        assert untouched(w)


async def test_another_server_name_is_told_so_in_tls_and_recorded_once(tmp_path):
    async with world(tmp_path) as w, await opened(w) as client:
        await client.start_tls("api.test", cafile=w.keyring.ca_path, sni="other.test")
        await client.send(f"GET / HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode() * 2)
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (421, "sni_mismatch")
        assert await client.at_end()
        assert refusals(w) == [("sni_mismatch", 421)]
        assert untouched(w)
