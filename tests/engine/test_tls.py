"""The TLS layer without a socket: two of them, and the octets between them torn apart at will."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.tls import Broken, Tls
from tests.engine.wires import client_context, server_context

SERVER, CLIENT = server_context(), client_context()
TLS12 = server_context(version=ssl.TLSVersion.TLSv1_2)


def shaken(context: ssl.SSLContext = SERVER) -> tuple[Tls, Tls]:
    """Server and client after their handshake."""
    server, client = Tls(context, b"", None), Tls(CLIENT, b"", "api.test")
    done = [False, False]
    while not all(done):
        done[1] = done[1] or client.advance()
        server.feed(client.output())
        done[0] = done[0] or server.advance()
        client.feed(server.output())
    client.decrypt()  # session tickets
    assert not server.handshaking
    assert not client.handshaking
    return server, client


@given(
    st.lists(st.binary(min_size=1, max_size=40_000), max_size=4), st.lists(st.integers(0, 60_000), max_size=8)
)
def test_every_octet_comes_out_wherever_the_records_are_torn(messages, cuts):
    server, client = shaken()
    octets = b"".join(client.encrypt(message) for message in messages)
    places = [0, *sorted(cut for cut in cuts if cut < len(octets)), len(octets)]
    got = b""
    for at, start in enumerate(places[:-1]):
        server.feed(octets[start : places[at + 1]])
        got += server.decrypt()
    assert got == b"".join(messages)
    assert not server.ended


@pytest.mark.parametrize("context", [SERVER, TLS12], ids=["1.3", "1.2"])
def test_a_goodbye_ends_one_direction(context):
    server, client = shaken(context)
    server.feed(client.encrypt(b"last") + client.goodbye())
    assert (server.decrypt(), server.ended) == (b"last", True)
    client.feed(server.encrypt(b"answer"))
    assert (client.decrypt(), client.ended) == (b"answer", False)
    client.feed(server.goodbye())
    assert (client.decrypt(), client.ended) == (b"", True)
    server.feed_end()
    assert server.decrypt() == b""


def test_an_end_without_a_goodbye_is_broken_after_what_came():
    server, client = shaken()
    server.feed(client.encrypt(b"last"))
    server.feed_end()
    with pytest.raises(Broken) as broken:
        server.decrypt()
    assert broken.value.data == b"last"


def test_an_end_in_the_middle_of_a_record_is_broken():
    server, client = shaken()
    server.feed(client.encrypt(b"last")[:-1])
    assert server.decrypt() == b""
    server.feed_end()
    with pytest.raises(Broken):
        server.decrypt()


@pytest.mark.parametrize("at", [0, 5, -1])
def test_a_record_that_was_changed_is_broken_and_answered_with_an_alert(at):
    server, client = shaken()
    record = bytearray(client.encrypt(b"secret"))
    record[at] ^= 1
    server.feed(bytes(record))
    with pytest.raises(Broken):
        server.decrypt()
    assert server.output()


def test_before_its_handshake_there_is_nobody_to_say_goodbye_to():
    assert Tls(SERVER, b"", None).goodbye() == b""


def test_a_handshake_waits_for_more_and_refuses_nonsense():
    server = Tls(SERVER, b"\x16\x03\x01", None)
    assert not server.advance()
    server = Tls(SERVER, b"\x16\x03\x01\x00\x05hello", None)
    with pytest.raises(ssl.SSLError):
        server.advance()
    assert server.output().startswith(b"\x15")
