import socket

import pytest

from proxy.broker.pinned_get import _Pinned
from proxy.http.canonical import Host, parse_host


async def test_the_resolver_knows_the_vetted_addresses_of_one_host_and_nothing_else():
    host = parse_host(b"issuer.test")
    assert isinstance(host, Host)
    pinned = _Pinned(host, ("192.0.2.1", "2001:db8::1"))

    found = await pinned.resolve("issuer.test", 443)

    assert [(answer["host"], answer["port"], answer["family"]) for answer in found] == [
        ("192.0.2.1", 443, socket.AF_INET),
        ("2001:db8::1", 443, socket.AF_INET6),
    ]
    assert {answer["flags"] for answer in found} == {socket.AI_NUMERICHOST}
    with pytest.raises(OSError, match="was not vetted"):
        await pinned.resolve("other.test", 443)
    await pinned.close()
