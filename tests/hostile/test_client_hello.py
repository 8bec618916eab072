"""B5, B10: first flights that no library sends, and what is answered to them (egress.md, section 5)."""

import ssl

import pytest

from proxy.errors import Code
from tests.hostile.assertions import (
    absolute,
    clean,
    decided,
    denied,
    dropped,
    everything,
    inside,
    say,
    untouched,
)
from tests.hostile.hello import (
    EXPORT,
    TLS10,
    TLS11,
    TLS12,
    TLS13,
    early_data,
    ech,
    extension,
    handshake,
    records,
    sni,
    vector,
)
from tests.support.world import world

NAME = sni(b"api.test")
ALERT, HANDSHAKE = 0x15, 0x16


async def first_flight(w, data, *, code):
    """What TLS answers to ``data``, before the tunnel ends with ``code`` on record."""
    async with await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await client.send(data)
        client.half_close()
        answer = await everything(client)
    await decided(w)
    denied(w, code)
    clean(w, answer)
    await untouched(w)
    return answer


@pytest.mark.parametrize(
    "hello",
    [
        pytest.param(handshake(NAME, version=TLS10), id="B10-tls10"),
        pytest.param(handshake(NAME, version=TLS11), id="B10-tls11"),
        pytest.param(handshake(NAME, versions=(TLS11, TLS10)), id="B10-tls11-in-extension"),
        pytest.param(handshake(NAME, ciphers=EXPORT), id="B10-export"),
        pytest.param(handshake(NAME, ciphers=(0x000A, 0x002F)), id="B10-no-forward-secrecy"),
    ],
)
async def test_b10_old_tls_gets_an_alert(tmp_path, hello):
    async with world(tmp_path) as w:
        answer = await first_flight(w, records(hello), code=Code.TLS_HANDSHAKE)
        assert answer[0] == ALERT


async def test_b10_early_data_is_never_read_as_a_request(tmp_path):
    request = b"GET /early HTTP/1.1\r\nHost: api.test\r\n\r\n"
    hello = handshake(NAME, early_data(), versions=(TLS13,))
    early = b"\x17\x03\x03" + vector(request, 2)
    async with world(tmp_path) as w:
        await first_flight(w, records(hello) + early, code=Code.TLS_CLIENT_REJECT)


async def test_b5_encrypted_client_hello_is_terminated_under_its_outer_name(tmp_path):
    """The outer name is the CONNECT host: our own ServerHello comes back, nobody else's."""
    async with world(tmp_path) as w:
        hello = handshake(NAME, ech(), versions=(TLS13,))
        answer = await first_flight(w, records(hello), code=Code.TLS_CLIENT_REJECT)
        assert answer[0] == HANDSHAKE


async def test_b5_the_outer_name_has_to_be_the_connect_host(tmp_path):
    async with world(tmp_path) as w:
        hello = handshake(sni(b"public.example"), ech(), versions=(TLS13,))
        await first_flight(w, records(hello), code=Code.SNI_MISMATCH)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(sni(b"api.test") + sni(b"other.test"), id="two-extensions"),
        pytest.param(
            extension(0, vector(b"\x00" + vector(b"api.test", 2) + b"\x00" + vector(b"b", 2), 2)),
            id="two-names",
        ),
        pytest.param(sni(b""), id="empty"),
        pytest.param(extension(0, b""), id="no-list"),
    ],
)
async def test_a_server_name_that_can_be_read_in_two_ways(tmp_path, names):
    async with world(tmp_path) as w:
        await first_flight(w, records(handshake(names, versions=(TLS13,))), code=Code.NOT_TLS)


@pytest.mark.parametrize("name", [b"api.test\x00.evil.example", b"api.test.", b"API.TEST.evil", b"\xff\xfe"])
async def test_a_server_name_that_only_looks_like_the_host(tmp_path, name):
    async with world(tmp_path) as w:
        await first_flight(w, records(handshake(sni(name), versions=(TLS13,))), code=Code.SNI_MISMATCH)


@pytest.mark.parametrize("size", [1, 2, 7, 300])
async def test_a_client_hello_in_small_records(tmp_path, size):
    """Fragments of one octet are nobody's but an attacker's; a few fragments are put together."""
    message = handshake(NAME, versions=(TLS13,))
    code = Code.TLS_CLIENT_REJECT if size > 2 else Code.NOT_TLS
    async with world(tmp_path) as w:
        await first_flight(w, records(message, size), code=code)


async def test_a_client_hello_octet_by_octet(tmp_path):
    context = ssl.create_default_context()
    async with world(tmp_path) as w, await w.client() as client:
        context.load_verify_locations(w.keyring.ca_path)
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(coming, going, server_hostname="api.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        for octet in going.read():
            await client.send(bytes([octet]))
        while True:
            coming.write(await client.read_some())
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        tls.write(inside(w, "/whole"))
        await client.send(going.read())
        await w.upstream.until(lambda: [each.target for each in w.upstream.requests] == ["/whole"])


async def test_a_huge_client_hello(tmp_path):
    padding = [extension(21, bytes(60_000))]
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        await client.send(records(handshake(NAME, *padding, versions=(TLS13,))))
        await dropped(w, client, Code.NOT_TLS)


async def test_an_alpn_without_http_1(tmp_path):
    async with world(tmp_path) as w:
        h2 = extension(16, vector(vector(b"h2", 1), 2))
        await first_flight(w, records(handshake(NAME, h2, versions=(TLS13,))), code=Code.TLS_HANDSHAKE)


@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_a_clear_request_in_front_of_the_handshake(tmp_path, version):
    """What comes in one segment with the CONNECT is the tunnel's, and is judged as such."""
    async with world(tmp_path) as w, await w.client() as client:
        authority = w.authority
        request = f"CONNECT {authority} HTTP/1.1\r\nProxy-Authorization: {w.authorization}\r\n\r\n".encode()
        hello = records(handshake(NAME, versions=(TLS13,) if version == TLS13 else ()))
        await client.send(request + hello + absolute(w, "http://169.254.169.254/"))
        client.half_close()
        await everything(client)
        await decided(w)
        denied(w, Code.TLS_HANDSHAKE)
        await untouched(w)


async def test_say_is_not_a_way_around(tmp_path):
    """A ClientHello on the proxy's own port is not HTTP: there is no TLS to the proxy."""
    async with world(tmp_path) as w:
        answer = await say(w, records(handshake(NAME)) + b"\r\n\r\n")
        assert (answer.status, answer.json()["code"]) == (400, Code.MALFORMED)
        denied(w, Code.MALFORMED)
