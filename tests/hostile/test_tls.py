"""B: TLS on both sides: sessions, renegotiation, pinning, certificates (egress.md, section 5)."""

import asyncio
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from proxy.errors import Code
from tests.hostile.assertions import (
    clean,
    decided,
    denied,
    failed,
    inside,
    say_inside,
    untouched,
)
from tests.hostile.hello import (
    sni,
)
from tests.support.behaviours import raw
from tests.support.certificates import Certificate
from tests.support.upstream import Upstream
from tests.support.wire import response
from tests.support.world import world

NAME = sni(b"api.test")
ALERT, HANDSHAKE = 0x15, 0x16


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
        await shake(client, tls)
        tls.renegotiate()
        with pytest.raises(SSL.Error):
            await shake(client, tls)
        await untouched(w)


async def shake(client, tls):
    """The handshake of a TLS connection in memory, to its end."""
    while True:
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            await flush(client, tls)
            tls.bio_write(await client.read_some() or b"\x15\x03\x03\x00\x02\x02\x50")
        else:
            return await flush(client, tls)


async def flush(client, tls):
    try:
        await client.send(tls.bio_read(65536))
    except SSL.WantReadError:
        return  # nothing to send


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
        hosts = {"plain.test": ["127.0.0.1"]}
        async with (
            world(tmp_path, observe=True, hosts=hosts, egress=egress) as w,
            await w.client() as client,
        ):
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
        private = [
            path for path in w.state.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
        ]
        assert private
        for path in private:
            assert not path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO), path


async def test_b13_alt_svc_leads_nobody_around_us(tmp_path):
    up = Upstream("api.test")
    up.on("/", raw(response(200, b"", (b"Alt-Svc", b'h3=":443"; ma=86400')), close=False))
    async with world(tmp_path, upstream=up) as w:
        answer = await say_inside(w, inside(w, "/"))
        assert (answer.status, answer.get("alt-svc")) == (200, None)
