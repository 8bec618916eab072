"""The handshake of an ``https://`` listener: one trust domain's certificates and no others, at any moment."""

import asyncio
import contextlib
import datetime as dt
import os
import socket
import ssl
from dataclasses import dataclass, field

import pytest

from proxy.engine.deadlines import Deadlines
from proxy.engine.listener_tls import ListenerTls
from proxy.engine.own_certificate import Pushed
from proxy.engine.wire import Wire
from proxy.identity.arrival import Certificate
from tests.engine.lines import until
from tests.engine.svids import (
    AGENT,
    BOTH_LOOPS,
    DOMAIN,
    Authority,
    House,
    der,
    listener_tls,
    pem,
    pkcs8,
    revocations,
    shown,
    tls_client,
)

pytestmark = pytest.mark.asyncio(loop_factories=BOTH_LOOPS)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@dataclass
class Porch:
    """A socket that does nothing but welcome. It says ``in`` to whoever is believed."""

    tls: ListenerTls
    address: tuple[str, int]
    alarms: list[str]
    noise: list[dict]
    house: House
    deadlines: Deadlines
    believed: list[Certificate | None] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    async def greets(self, shows=None, version=ssl.TLSVersion.TLSv1_3) -> str:
        """What a client that shows this gets: ``in``, or what TLS says."""
        try:
            async with await tls_client(self.address, self.house.client(shows, version)) as client:
                said = await client.read_some()
                assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
                return said.decode() or "end"
        except ssl.SSLError as error:
            return error.reason


@contextlib.asynccontextmanager
async def porch(*authorities: Authority, crl=None, own=None, house=None):
    loop, alarms, noise, house = asyncio.get_running_loop(), [], [], house or House()
    loop.set_exception_handler(lambda _, context: noise.append(context))
    tls = listener_tls(own or house.own, crl=crl, alarm=alarms.append)
    tls.update(tuple(der(authority) for authority in authorities))
    deadlines, tasks = Deadlines(loop.time), set()

    async def welcome(wire: Wire) -> None:
        p.wires.append(wire)
        p.believed.append(await tls.welcome(wire))
        if p.believed[-1] is not None:
            wire.write(b"in")
            wire.close()

    def accepted(wire: Wire) -> None:
        task = loop.create_task(welcome(wire))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await loop.create_server(lambda: Wire(deadlines, accepted), "127.0.0.1", 0)
    p = Porch(tls, server.sockets[0].getsockname(), alarms, noise, house, deadlines)
    try:
        async with asyncio.timeout(30):
            yield p
            if tasks:
                await asyncio.wait(tasks)
            await until(lambda: not deadlines.wires)
    finally:
        server.close()
    assert not noise


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_of_the_trust_domain_is_believed(tmp_path, version):
    authority = Authority()
    agent = shown(tmp_path, authority)
    async with porch(authority) as p:
        assert await p.greets(agent, version) == "in"
        assert p.believed == [Certificate(agent.der, DOMAIN, crl=False)]
        assert p.wires[0].tls.version() == version.name.replace("_", ".")
    assert p.alarms == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_certificate(version):
    async with porch(Authority()) as p:
        alert = await p.greets(None, version)
        assert alert in {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
    assert p.believed == [None]
    assert "peer did not return a certificate" in p.alarms[0]


async def test_a_certificate_of_another_trust_domain(tmp_path):
    ours, theirs = Authority(), Authority("other.example")
    for stranger in (shown(tmp_path, theirs), shown(tmp_path, theirs, AGENT, theirs.certificate)):
        async with porch(ours) as p:
            assert await p.greets(stranger) == "TLSV1_ALERT_UNKNOWN_CA"
        assert p.believed == [None]
        assert len(p.alarms) == 1


async def test_an_expired_certificate(tmp_path):
    authority = Authority()
    async with porch(authority) as p:
        old = shown(tmp_path, authority, ends=-dt.timedelta(hours=1))
        assert await p.greets(old) == "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    assert "certificate has expired" in p.alarms[0]


async def test_the_systems_own_authorities_count_for_nothing(tmp_path):
    authority = Authority()
    async with porch() as p:
        assert await p.greets(shown(tmp_path, authority)) == "TLSV1_ALERT_UNKNOWN_CA"
        assert p.tls._latest.context.cert_store_stats()["x509"] == 0


async def test_an_intermediate_may_be_the_authority(tmp_path):
    root = Authority()
    below = Authority(name="below", above=root)
    async with porch(below) as p:
        assert await p.greets(shown(tmp_path, below)) == "in"
        assert await p.greets(shown(tmp_path, root)) == "TLSV1_ALERT_UNKNOWN_CA"
    async with porch(root) as p:
        assert await p.greets(shown(tmp_path, below)) == "TLSV1_ALERT_UNKNOWN_CA"
        assert await p.greets(shown(tmp_path, below, AGENT, below.certificate)) == "in"


# -- revocation lists --


async def test_a_revoked_certificate_and_its_list_replaced(tmp_path):
    authority, crl = Authority(), tmp_path / "crl.pem"
    good, bad = shown(tmp_path, authority), shown(tmp_path, authority)
    crl.write_bytes(bad.revoked_by(authority))
    async with porch(authority, crl=crl) as p:
        assert await p.greets(bad) == "SSLV3_ALERT_CERTIFICATE_REVOKED"
        assert await p.greets(good) == "in"
        assert p.believed[-1] == Certificate(good.der, DOMAIN, crl=True)
        crl.write_bytes(revocations(authority, good.chain[0].serial_number, 12345))
        assert await p.greets(good) == "SSLV3_ALERT_CERTIFICATE_REVOKED"
        assert await p.greets(bad) == "in"
        crl.write_bytes(b"nothing of the kind")
        assert await p.greets(good) == "SSLV3_ALERT_CERTIFICATE_REVOKED"
        assert await p.greets(bad) == "in"
    assert [alarm for alarm in p.alarms if "no X509 CRL" in alarm][1:] == []


async def test_a_list_that_is_missing_or_out_of_date_lets_nobody_in(tmp_path):
    authority, crl = Authority(), tmp_path / "crl.pem"
    agent = shown(tmp_path, authority)
    other = Authority(name="other")
    for text, word in (
        (revocations(authority, until=dt.datetime.now(dt.UTC) - dt.timedelta(days=1)), "CRL has expired"),
        (revocations(other), "unable to get certificate CRL"),
    ):
        crl.write_bytes(text)
        async with porch(authority, crl=crl) as p:
            assert await p.greets(agent) != "in"
        assert word in p.alarms[0]


async def test_a_certificate_in_the_file_of_lists_is_no_authority(tmp_path):
    ours, theirs, crl = Authority(), Authority("other.example"), tmp_path / "crl.pem"
    crl.write_bytes(pem(theirs.certificate) + revocations(ours) + pem(theirs.certificate))
    async with porch(ours, crl=crl) as p:
        assert await p.greets(shown(tmp_path, theirs)) != "in"
        assert await p.greets(shown(tmp_path, ours)) == "in"


async def test_a_listener_does_not_start_without_its_list(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        listener_tls(Pushed(), crl=tmp_path / "none.pem", alarm=print)
    (tmp_path / "crl.pem").write_bytes(b"")
    with pytest.raises(ValueError, match="no X509 CRL"):
        listener_tls(Pushed(), crl=tmp_path / "crl.pem", alarm=print)


# -- rotation --


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_authorities_rotate_under_a_running_listener(tmp_path, version):
    old, new = Authority(), Authority()
    before, after = shown(tmp_path, old), shown(tmp_path, new)
    async with porch(old) as p:
        assert await p.greets(before, version) == "in"
        assert await p.greets(after, version) != "in"
        p.tls.update((der(old), der(new)))
        assert await p.greets(before, version) == "in"
        assert await p.greets(after, version) == "in"
        p.tls.update((der(new),))
        assert await p.greets(before, version) != "in"
        assert await p.greets(after, version) == "in"
        p.tls.update(None)
        assert await p.greets(after, version) != "in"
        p.tls.update((der(new),))
        assert await p.greets(after, version) == "in"


async def test_a_handshake_that_began_before_the_rotation_does_not_end_after_it(tmp_path):
    authority = Authority()
    async with porch(authority) as p:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        hands = p.house.client(shown(tmp_path, authority)).wrap_bio(
            incoming, outgoing, server_hostname="localhost"
        )
        reader, writer = await asyncio.open_connection(*p.address)
        with pytest.raises(ssl.SSLWantReadError):
            hands.do_handshake()
        writer.write(outgoing.read())
        while outgoing.pending == 0:  # the certificate and Finished
            incoming.write(await reader.read(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                hands.do_handshake()
        p.tls.update(None)
        writer.write(outgoing.read())
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        await until(lambda: bool(p.believed))
    assert p.believed == [None]
    assert "the trust bundle has changed" in p.alarms[0]


async def test_a_session_does_not_outlive_the_trust_it_began_under(tmp_path):
    """Were a session resumed, the certificate would not be looked at again."""
    old, new = Authority(), Authority()
    async with porch(old) as p:
        context = p.house.client(shown(tmp_path, old), ssl.TLSVersion.TLSv1_2)

        def handshake(session: ssl.SSLSession | None) -> ssl.SSLSession:
            with (
                socket.create_connection(p.address, 10) as raw,
                context.wrap_socket(raw, server_hostname="localhost", session=session) as secured,
            ):
                assert secured.recv(10) == b"in"
                return secured.session

        session = await asyncio.to_thread(handshake, None)
        p.tls.update((der(new),))
        with pytest.raises(ssl.SSLError):
            await asyncio.to_thread(handshake, session)


async def test_our_own_certificate_is_signed_anew_before_its_day_is_over(tmp_path):
    authority = Authority()
    agent = shown(tmp_path, authority)
    async with porch(authority, house=House(dt.timedelta(hours=18))) as p:
        leaves = []
        for hours in (0, 10, 8):
            p.house.time += dt.timedelta(hours=hours)
            assert await p.greets(agent) == "in"
            leaves.append(p.tls._latest.own)
        assert leaves[0] is leaves[1]
        assert leaves[1] is not leaves[2]


async def test_without_a_certificate_of_ours_nobody_can_connect(tmp_path):
    authority, own = Authority(), Pushed()
    agent, ours = shown(tmp_path, authority), shown(tmp_path, authority, f"spiffe://{DOMAIN}/egress")
    async with porch(authority, own=own) as p:
        p.house.pem = pem(authority.certificate)
        with pytest.raises(OSError, match=r"(?i)reset|EOF|lost"):
            await tls_client(p.address, p.house.client(agent))
        own.present([ours.der], pkcs8(ours.key))
        assert await p.greets(agent) == "in"
        own.withdraw()
        with pytest.raises(OSError, match=r"(?i)reset|EOF|lost"):
            await tls_client(p.address, p.house.client(agent))
    assert "no certificate to show" in p.alarms[0]


async def test_an_authority_that_is_none_is_told_and_the_others_hold(tmp_path):
    authority = Authority()
    async with porch(authority) as p:
        p.tls.update((b"junk", der(authority)))
        assert await p.greets(shown(tmp_path, authority)) == "in"
        assert await p.greets(shown(tmp_path, Authority())) != "in"
    assert "cannot be used" in p.alarms[0]


# -- what is no client --


async def raw(p: Porch, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*p.address)
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_plain_http_is_answered_with_an_end_and_told():
    async with porch() as p:
        answer = await raw(p, b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
        assert not answer.startswith(b"HTTP")
    assert "https proxy request" in p.alarms[0]


async def test_a_flood_is_told_once():
    async with porch() as p:
        for _ in range(20):
            await raw(p, b"\x16\x03\x01\x00\x05hello" + os.urandom(50_000))
    assert len(p.alarms) == 1


async def test_whoever_only_looks_is_not_told_of():
    async with porch() as p:
        with socket.create_connection(p.address):
            await until(lambda: bool(p.wires))
        await until(lambda: bool(p.believed))
    assert p.alarms == []


async def test_a_client_that_leaves_in_the_middle():
    async with porch() as p:
        with socket.create_connection(p.address) as client:
            client.sendall(b"\x16\x03\x01\x02")
            await until(lambda: bool(p.wires) and p.wires[0].received > 0)
        await until(lambda: bool(p.believed))
    assert "left in the middle" in p.alarms[0]


async def test_a_client_that_is_slow():
    async with porch() as p:
        with socket.create_connection(p.address):
            await until(lambda: bool(p.wires))
            p.wires[0].deadline = 0
            p.deadlines.sweep()
            await until(lambda: bool(p.believed))
    assert "too long" in p.alarms[0]


async def test_a_wire_that_is_cut_in_its_handshake():
    async with porch() as p:
        with socket.create_connection(p.address):
            await until(lambda: bool(p.wires))
            p.wires[0].cut()
            await until(lambda: bool(p.believed))
    assert p.alarms == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_an_old_protocol(tmp_path, version):
    authority = Authority()
    async with porch(authority) as p:
        context = p.house.client(shown(tmp_path, authority), version)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
            await tls_client(p.address, context)
