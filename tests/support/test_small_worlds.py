"""The forbidden listener and the scripted resolver do what other tests rely on."""

import socket

import pytest

from proxy.errors import Code, Refusal
from tests.support.forbidden import Forbidden
from tests.support.resolver import ScriptedResolver


def test_nobody_came():
    with Forbidden() as trap:
        trap.assert_untouched()
        trap.assert_untouched()  # its own calls do not count


def test_somebody_came_and_sent_nothing():
    with Forbidden() as trap:
        with socket.create_connection(trap.address) as intruder:
            assert intruder.recv(1) == b""
        with pytest.raises(AssertionError, match="was touched"):
            trap.assert_untouched()


async def test_answers_follow_the_script_and_the_last_one_stays():
    failed = Refusal(Code.DNS_ERROR, "no such host")
    resolver = ScriptedResolver({"a.test": [("192.0.2.1",), failed, ("127.0.0.1", "::1")]})
    answers = [await resolver.resolve("a.test") for _ in range(4)]
    assert answers == [("192.0.2.1",), failed, ("127.0.0.1", "::1"), ("127.0.0.1", "::1")]
    assert isinstance(await resolver.resolve("b.test"), Refusal)
    assert resolver.journal == ["a.test"] * 4 + ["b.test"]
