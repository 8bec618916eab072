"""TLS contexts per host, over real handshakes with verification on."""

import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.engine import leaf_cache
from proxy.engine.leaf import Leaf, Mint
from proxy.engine.leaf_cache import REMINT_BEFORE, LeafCache, anonymous_files, server_context
from proxy.errors import Refusal
from proxy.store import authority


class World:
    """A CA, a clock that is set by hand, and a spill that must not be needed."""

    def __init__(self, capacity: int = 3) -> None:
        self.start = self.time = datetime.now(UTC)
        self.serial = 0
        key = ec.generate_private_key(ec.SECP256R1())
        self.ca_pem = authority.certificate(key, self.start, 1)
        self.mint = Mint(key, x509.load_pem_x509_certificate(self.ca_pem), lambda name: name != "no.example")
        self.cache = LeafCache(
            self.mint, now=lambda: self.time, serial=self.next, spill=self.spill, capacity=capacity
        )

    def next(self) -> int:
        self.serial += 1
        return self.serial

    @contextmanager
    def spill(self, data: bytes):
        raise AssertionError("there are anonymous files here")
        yield ""

    def context(self, name: str, *, is_ip: bool = False) -> ssl.SSLContext | Refusal:
        return self.cache.context(name, is_ip)

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca_pem.decode())
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
        return context


@pytest.fixture
def world():
    return World()


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    )
    waiting = set(ends)
    while waiting:
        before = (up.pending, down.pending, len(waiting))
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                pass
        assert (up.pending, down.pending, len(waiting)) != before or not waiting
    return ends


def serial_of(client: ssl.SSLObject) -> int:
    return x509.load_der_x509_certificate(client.getpeercert(binary_form=True)).serial_number


def test_a_strict_client_accepts_the_host(world):
    client, server = handshake(world.context("api.example.com"), world.client(), "api.example.com")
    assert client.version() == "TLSv1.3"
    assert client.getpeercert()["subjectAltName"] == (("DNS", "api.example.com"),)
    assert client.compression() is server.compression() is None


@pytest.mark.parametrize("address", ["127.0.0.1", "2001:db8::1"])
def test_a_strict_client_accepts_an_address(world, address):
    handshake(world.context(address, is_ip=True), world.client(), address)


def test_a_client_rejects_another_host(world):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(world.context("api.example.com"), world.client(), "www.example.com")


def test_a_client_that_does_not_know_the_ca_rejects_it(world):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(world.context("api.example.com"), World().client(), "api.example.com")


def test_only_http_1_1_is_negotiated(world):
    context, client = world.context("api.example.com"), world.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    assert handshake(context, client, "api.example.com")[0].selected_alpn_protocol() == "http/1.1"
    client.set_alpn_protocols(["h2"])
    assert handshake(context, client, "api.example.com")[0].selected_alpn_protocol() is None


def test_tls_1_2_has_forward_secrecy_and_1_1_is_refused(world):
    context, client = world.context("api.example.com"), world.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    name = handshake(context, client, "api.example.com")[0].cipher()[0]
    assert name.startswith("ECDHE-ECDSA-")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION):
        assert context.options & option
    assert context.num_tickets == 0


def test_a_host_keeps_its_leaf_and_two_hosts_have_two(world):
    first = world.context("a.example")
    assert world.context("a.example") is first
    serials = {
        serial_of(handshake(world.context(name), world.client(), name)[0])
        for name in ("a.example", "b.example")
    }
    assert serials == {1, 2}


def test_a_new_leaf_is_minted_well_before_the_old_one_ends(world):
    first = world.context("a.example")
    world.time = world.start + timedelta(hours=23) - REMINT_BEFORE - timedelta(minutes=1)
    assert world.context("a.example") is first
    world.time += timedelta(minutes=1)
    assert world.context("a.example") is not first
    assert len(world.cache) == 1


def test_a_clock_that_was_set_back_gets_a_new_leaf(world):
    first = world.context("a.example")
    world.time -= timedelta(hours=2)
    assert world.context("a.example") is not first


def test_the_least_recently_used_host_is_forgotten(world):
    first = world.context("a.example")
    for name in ("b.example", "c.example"):
        world.context(name)
    assert world.context("a.example") is first
    world.context("d.example")
    assert len(world.cache) == 3
    assert world.context("a.example") is first
    assert world.serial == 4
    world.context("b.example")
    assert world.serial == 5


def test_a_name_and_an_address_are_two_hosts(world):
    assert world.context("127.0.0.1", is_ip=True) is not world.context("127.0.0.1")


def test_a_refusal_to_sign_is_passed_on_and_not_cached(world):
    assert isinstance(world.context("no.example"), Refusal)
    assert len(world.cache) == 0


def test_no_file_stays_open(world):
    world.context("a.example")
    before = sorted(Path("/proc/self/fd").iterdir())
    world.context("b.example")
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_without_anonymous_files_the_key_is_lent_a_private_one(world, tmp_path):
    assert anonymous_files()  # or the tests above tested the other way
    lent = []

    @contextmanager
    def spill(data: bytes):
        path = tmp_path / "key"
        path.write_bytes(data)
        lent.append(path)
        yield str(path)
        path.unlink()

    leaf = world.mint.leaf("a.example", is_ip=False, now=world.time, serial=1)
    assert isinstance(leaf, Leaf)
    context = server_context(leaf, spill, anonymous=False)
    assert len(lent) == 1
    assert not lent[0].exists()
    handshake(context, world.client(), "a.example")


def test_the_capacity_is_bounded_by_default():
    assert leaf_cache.CAPACITY <= 1024
