"""The first flight of real clients, however it is cut, and of those who speak something else."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.clienthello import MAX_HELLO, MAX_RECORDS, ClientHello, Incomplete, NotTls, parse_client_hello


def flight(
    name: str | None = "api.example",
    alpn: tuple[str, ...] = ("h2", "http/1.1"),
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version, context.maximum_version = minimum, maximum
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


HELLO = flight()


def record(fragment: bytes) -> bytes:
    return b"\x16\x03\x01" + len(fragment).to_bytes(2, "big") + fragment


def vector(data: bytes, octets: int) -> bytes:
    return len(data).to_bytes(octets, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(data, 2)


def sni(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(b"".join(bytes([kind]) + vector(name, 2) for name in names), 2))


def made(extensions: bytes | None, tail: bytes = b"") -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(b"", 1) + vector(b"\x13\x01", 2) + vector(b"\x00", 1)
    body += (b"" if extensions is None else vector(extensions, 2)) + tail
    return record(b"\x01" + vector(body, 3))


def test_a_hello_of_the_ssl_module():
    hello = parse_client_hello(HELLO)
    assert hello == ClientHello(b"api.example", (b"h2", b"http/1.1"), (0x0304, 0x0303), ech=False)


def test_without_name_and_alpn():
    hello = parse_client_hello(flight(name=None, alpn=()))
    assert isinstance(hello, ClientHello)
    assert (hello.sni, hello.alpn) == (None, ())


def test_versions():
    two = ssl.TLSVersion.TLSv1_2
    hello = parse_client_hello(flight(maximum=two))
    assert isinstance(hello, ClientHello)
    assert hello.versions == (0x0303,)


def test_every_prefix_is_incomplete():
    for cut in range(len(HELLO)):
        assert parse_client_hello(HELLO[:cut]) == Incomplete()


def test_what_follows_is_ignored():
    assert parse_client_hello(HELLO + b"early data") == parse_client_hello(HELLO)


@given(st.lists(st.integers(1, len(HELLO) - 6), max_size=6, unique=True).map(sorted), st.data())
def test_fragments_are_joined(cuts, data):
    message = HELLO[5:]
    ends = [*cuts, len(message)]
    parts = [message[start:end] for start, end in zip([0, *cuts], ends, strict=True)]
    wire = b"".join(record(part) for part in parts)
    assert parse_client_hello(wire) == parse_client_hello(HELLO)
    cut = data.draw(st.integers(0, len(wire) - 1))
    assert parse_client_hello(wire[:cut]) == Incomplete()


def test_too_many_pieces_are_no_client_hello():
    pieces = [record(bytes([octet])) for octet in HELLO[5:]]
    assert isinstance(parse_client_hello(b"".join(pieces[: MAX_RECORDS - 1])), Incomplete)
    assert isinstance(parse_client_hello(b"".join(pieces)), NotTls)


def test_encrypted_client_hello_is_seen():
    hello = parse_client_hello(made(sni(b"outer.example") + extension(0xFE0D, b"x")))
    assert hello == ClientHello(b"outer.example", (), (0x0303,), ech=True)


def test_a_hello_without_extensions():
    assert parse_client_hello(made(None)) == ClientHello(None, (), (0x0303,), ech=False)
    assert parse_client_hello(made(b"")) == ClientHello(None, (), (0x0303,), ech=False)


@pytest.mark.parametrize(
    "wire",
    [
        *(b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n", b"\x00", b"EHLO x", b"\x16\x02", b"\x80\x2e\x01\x03\x01"),
        *(
            b"\x15\x03\x01\x00\x02\x01\x00",
            b"\x17\x03\x03\x00\x01x",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
        ),
        record(b"\x02\x00\x00\x01x"),
        record(b"\x02"),
        record(b"\x01") + b"\x15\x03\x01\x00\x02\x01\x00",
        record(b"\x01" + (MAX_HELLO - 3).to_bytes(3, "big")),
        record(b"\x01\xff\xff\xff"),
        record(b"\x01" + vector(b"", 3)),
        record(b"\x01" + vector(b"\x03\x03" + bytes(32), 3)),
        made(sni(b"a") + sni(b"b")),
        made(sni(b"a", b"b")),
        made(sni(b"")),
        made(sni()),
        made(sni(b"a", kind=1)),
        made(extension(0, vector(b"\x00\x00\x09a", 2))),
        made(extension(0, vector(b"\x00" + vector(b"a", 2), 2) + b"x")),
        made(extension(16, b"\x00\x09\x02h2")),
        made(extension(43, b"\x03\x03\x04\x03")),
        made(b"\x00"),
        made(b"", tail=b"x"),
    ],
)
def test_what_is_no_hello(wire):
    assert isinstance(parse_client_hello(wire), NotTls)


@given(st.binary(max_size=60).map(lambda tail: b"\x16\x03\x01" + tail) | st.binary(max_size=20))
def test_any_octets_get_an_answer(wire):
    assert isinstance(parse_client_hello(wire), ClientHello | Incomplete | NotTls)


@given(st.integers(0, len(HELLO) - 1), st.integers(1, 255))
def test_a_damaged_hello_gets_an_answer(at, flip):
    damaged = HELLO[:at] + bytes([HELLO[at] ^ flip]) + HELLO[at + 1 :]
    assert isinstance(parse_client_hello(damaged), ClientHello | Incomplete | NotTls)
