"""B: TLS on both sides: versions, early data, renegotiation, pinning, certificates (egress.md, section 5)."""

import asyncio
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from proxy.errors import Code
from tests.hostile.assertions import (
    absolute,
    clean,
    decided,
    denied,
    dropped,
    everything,
    failed,
    inside,
    say,
    say_inside,
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
from tests.support.behaviours import raw
from tests.support.certificates import Certificate
from tests.support.upstream import Upstream
from tests.support.wire import response
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


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_b10_no_session_to_resume_with(tmp_path, version):
    context = ssl.create_default_context()
    context.maximum_version = version
    async with world(tmp_path) as w:
        context.load_verify_locations(w.keyring.ca_path)
        async with await w.client() as client:
            assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
            tls = await client.start_tls("api.test", context=context)
            await client.send(inside(w, "/"))
            assert (await client.read_response()).status == 200
            session = tls.session
            assert session is None or not session.has_ticket


async def test_b10_renegotiation(tmp_path):
    """TLS 1.2: a second handshake on the same connection is refused; the first one's rules stay."""
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        context = SSL.Context(SSL.TLSv1_2_METHOD)
        tls = SSL.Connection(context, None)
        tls.set_tlsext_host_name(b"api.test")
        tls.set_alpn_protos([b"http/1.1"])
        tls.set_connect_state()
        while not await step(client, tls.do_handshake, tls):
            pass
        tls.renegotiate()
        with pytest.raises(SSL.Error):
            while not await step(client, tls.do_handshake, tls):
                pass
        await untouched(w)


async def step(client, action, tls):
    """One action of a TLS connection in memory, and what it wants to send and to read; True once it is done."""
    try:
        action()
    except SSL.WantReadError:
        done = False
    else:
        done = True
    try:
        await client.send(tls.bio_read(65536))
    except SSL.WantReadError:
        pass
    if not done:
        came = await client.read_some()
        if not came:
            tls.bio_shutdown()
        else:
            tls.bio_write(came)
    return done


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
        pytest.param(extension(0, vector(b"\x00" + vector(b"api.test", 2) + b"\x00" + vector(b"b", 2), 2)), id="two-names"),
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


async def test_b11_a_client_that_does_not_trust_us(tmp_path):
    async with world(tmp_path) as w:
        async with await w.client() as client:
            assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.start_tls("api.test")
        await decided(w)
        denied(w, Code.TLS_CLIENT_REJECT)
        clean(w)
        await untouched(w)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(Certificate.EXPIRED, id="B9-expired"),
        pytest.param(Certificate.WRONG_NAME, id="B9-wrong-name"),
        pytest.param(Certificate.SELF_SIGNED, id="B9-self-signed"),
        pytest.param(Certificate.UNKNOWN_CA, id="B9-unknown-ca"),
    ],
)
async def test_b9_the_body_and_the_credential_stay_here(tmp_path, kind):
    async with world(tmp_path, upstream=Upstream("api.test", certificate=kind)) as w:
        body = b"precious"
        answer = await w.call(
            "/", method="POST", headers=[f"Authorization: Bearer {w.placeholder}"], body=body
        )
        await failed(w, answer, Code.TLS_CERT, result="upstream_error")
        assert w.upstream.bytes_received == 0


async def test_b9_an_upstream_that_speaks_no_tls(tmp_path):
    """It is asked for as https, and speaks plain HTTP: nothing is sent to it in the clear."""
    came = bytearray()

    async def plain(reader, writer):
        came.extend(await reader.read(65536))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        opened = [{"host": "plain.test", "cidr": "127.0.0.0/8", "port": port}]
        egress = {"allow_private": opened}
        async with world(tmp_path, observe=True, hosts={"plain.test": ["127.0.0.1"]}, egress=egress) as w:
            async with await w.client() as client:
                assert (await client.open_tunnel(f"plain.test:{port}", w.authorization)).status == 200
                await client.start_tls("plain.test", cafile=w.keyring.ca_path)
                await client.send(inside(w, "/secret-path", host=f"plain.test:{port}"))
                await failed(w, await client.read_response(), Code.TLS_UPSTREAM, result="upstream_error")
        assert came[0] == HANDSHAKE
        assert b"secret-path" not in came


async def test_b12_nothing_passes_without_interception(tmp_path):
    """No host can be listed as not to be intercepted: every leaf an agent sees is ours."""
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        tls = await client.start_tls("api.test", cafile=w.keyring.ca_path)
        leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
        assert leaf.issuer == w.keyring.ca_cert.subject
        assert tls.selected_alpn_protocol() == "http/1.1"


async def test_b16_what_a_leaf_is_good_for(tmp_path):
    """A refusal by rule is told inside TLS, so a leaf is made before it; it is for that host, and a day."""
    async with world(tmp_path, policies=[]) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        tls = await client.start_tls("api.test", cafile=w.keyring.ca_path)
        leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["api.test"]
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() < 86_400
        key, authority = leaf.public_key(), w.keyring.ca_cert.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.public_numbers() != authority.public_numbers()
        await client.send(inside(w, "/"))
        assert (await client.read_response()).status == 403
        await untouched(w)


async def test_b17_the_key_of_the_ca_is_for_its_user_alone(tmp_path):
    async with world(tmp_path) as w:
        private = [path for path in w.state.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
        assert private
        for path in private:
            assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


async def test_b13_alt_svc_leads_nobody_around_us(tmp_path):
    up = Upstream("api.test")
    up.on("/", raw(response(200, b"", (b"Alt-Svc", b'h3=":443"; ma=86400')), close=False))
    async with world(tmp_path, upstream=up) as w:
        answer = await say_inside(w, inside(w, "/"))
        assert (answer.status, answer.get("alt-svc")) == (200, None)


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
