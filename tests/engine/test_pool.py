"""Kept connections: reused by their owner alone, tried anew once when they died of age, thrown away when unclean."""

import asyncio

import pytest

from proxy.engine.pool import Key
from tests.engine.lines import until
from tests.engine.ports import BEARER, HELD, YES, Says, engine
from tests.support.behaviours import raw
from tests.support.call import Call
from tests.support.rawclient import RawClient
from tests.support.upstream import Upstream
from tests.support.wire import response


def indices(e) -> list[int]:
    """Which upstream connection each request came on."""
    return [request.connection.index for request in e.upstream.requests]


def reused(e) -> list[bool]:
    return [r.raw["what"]["upstream"]["reused"] for r in e.records if r.kind == "outcome"]


async def test_new_clients_of_one_agent_share_a_warm_connection():
    async with engine() as e:
        for _ in range(3):
            assert (await e.call("/")).status == 200
        assert indices(e) == [0, 0, 0]
        assert reused(e) == [False, True, True]


async def test_agents_never_share():
    async with engine() as e:
        for agent in ("one", "two", "one", "two"):
            assert (await e.call("/", agent=agent)).status == 200
        assert indices(e) == [0, 1, 0, 1]


async def test_credentials_never_share():
    """With a credential and without one, by the same agent to the same origin."""
    async with engine(pdp=Says(YES), holdings=[HELD]) as e:
        for headers in ((), (BEARER,), (), (BEARER,)):
            assert (await e.call("/", *headers)).status == 200
        assert indices(e) == [0, 1, 0, 1]


async def test_origins_never_share():
    async with engine(upstream=Upstream("api.test", "other.test", tls=False)) as e:
        for name in ("api.test", "other.test", "api.test"):
            e.upstream.hosts = (name,)
            assert (await e.call("/")).status == 200
        assert indices(e) == [0, 1, 0]


async def test_calls_at_the_same_time_have_their_own_and_the_newest_is_used_next():
    async with engine() as e:
        slow = asyncio.ensure_future(e.call("/slow"))
        await e.upstream.until(lambda: len(e.upstream.requests) == 1)
        assert (await e.call("/")).status == 200
        e.upstream.release.set()
        assert (await slow).status == 200
        assert (await e.call("/")).status == 200
        assert indices(e) == [0, 1, 0]


async def test_so_many_are_kept():
    async with engine(pool_size=1) as e:
        slow = [asyncio.ensure_future(e.call("/slow")) for _ in range(3)]
        await e.upstream.until(lambda: len(e.upstream.requests) == 3)
        e.upstream.release.set()
        await asyncio.gather(*slow)
        await until(lambda: sum(c.closed.is_set() for c in e.upstream.connections) == 2)
        (kept,) = e.pool._kept.values()
        assert len(kept) == 1


async def test_a_pool_of_none_keeps_none():
    async with engine(pool_size=0) as e:
        for _ in range(2):
            assert (await e.call("/")).status == 200
        assert indices(e) == [0, 1]


@pytest.mark.parametrize(
    "script",
    [
        b"HTTP/1.1 200 K\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
        b"HTTP/1.0 200 K\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 K\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 K\r\n\r\n",  # more than was asked for
        b"HTTP/1.1 204 K\r\n\r\nx",
    ],
)
async def test_what_may_be_out_of_step_is_not_kept(script):
    async with engine() as e:
        e.upstream.on("/x", raw(script, close=False))
        for _ in range(2):
            assert (await e.call("/x")).status in (200, 204)
        assert indices(e) == [0, 1]


async def test_octets_on_an_idle_connection_throw_it_away():
    """An answer nobody asked for must not become the next caller's."""
    sent = asyncio.Event()

    async def talkative(call: Call) -> None:
        await call.take()
        await call.send(response(200, b"asked"))
        await call.release.wait()
        await call.send(response(200, b"poison"))
        sent.set()
        await call.received.connection.read()  # until it is thrown away
        call.close = True

    async with engine() as e:
        e.upstream.on("/x", talkative)
        assert (await e.call("/x")).body == b"asked"
        await until(lambda: bool(e.pool._kept))
        e.upstream.release.set()
        await sent.wait()
        await until(lambda: not any(up.wire.idle for kept in e.pool._kept.values() for up in kept))
        assert (await e.call("/y")).json()["target"] == "/y"
        assert indices(e) == [0, 1]


async def kept_then_dead(e, how: str) -> None:
    """Leave a kept connection that dies the moment it is used again."""

    async def dies(call: Call) -> None:
        await call.take()
        await call.send(response(200, b"first"))
        await call.received.connection.read(1)  # the next request's first octet
        if how == "reset":
            call.abort()
        call.close = True

    e.upstream.on("/first", dies)
    assert (await e.call("/first")).body == b"first"


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_a_kept_connection_that_died_is_replaced_once(method, how):
    async with engine() as e:
        await kept_then_dead(e, how)
        assert (await e.call("/second", method=method)).status == 200
        assert indices(e) == [0, 1]
        assert reused(e) == [False, False]
        assert e.outcomes == [("complete", "", 200)] * 2


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("POST", (), b""),
        ("PATCH", (), b""),
        ("POST", ("Content-Length: 3",), b"abc"),
        ("PUT", ("Content-Length: 3",), b"abc"),
        ("PUT", ("Transfer-Encoding: chunked",), b"1\r\nx\r\n0\r\n\r\n"),
    ],
)
async def test_what_may_not_be_sent_twice_is_not(method, headers, body, how):
    async with engine() as e:
        await kept_then_dead(e, how)
        async with await e.client() as client:
            await client.send(e.head("/second", *headers, method=method) + body)
            answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (502, "upstream_closed")
        assert [request.target for request in e.upstream.requests] == ["/first"]
        assert len(e.upstream.connections) == 1


async def test_it_is_replaced_once_only():
    """The second connection is new, and its failure is an answer."""
    async with engine() as e:
        await kept_then_dead(e, "end")
        answer = await e.call("/vanish")
        assert (answer.status, answer.json()["code"]) == (502, "upstream_closed")
        assert [request.target for request in e.upstream.requests] == ["/first", "/vanish"]


async def test_an_answer_that_began_is_not_asked_for_again():
    async def begins(call: Call) -> None:
        await call.take()
        await call.send(response(200, b"first"))
        await call.received.connection.read(1)
        await call.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        call.close = True

    async with engine() as e:
        e.upstream.on("/first", begins)
        await e.call("/first")
        answer = await e.call("/second")
        assert (answer.status, len(answer.informational)) == (502, 1)
        assert len(e.upstream.connections) == 1


async def test_one_that_was_closed_while_idle_is_not_used_and_post_goes_through():
    async with engine() as e:
        closes = asyncio.Event()

        async def ends(call: Call) -> None:
            await call.take()
            await call.send(response(200, b"x"))
            await closes.wait()
            call.close = True

        e.upstream.on("/x", ends)
        assert (await e.call("/x")).status == 200
        closes.set()
        await until(lambda: not any(up.wire.idle for kept in e.pool._kept.values() for up in kept))
        assert (await e.call("/", method="POST")).status == 200
        assert indices(e) == [0, 1]


async def test_the_sweep_closes_what_was_idle_for_too_long():
    async with engine(pool_idle=0.3) as e:
        assert (await e.call("/")).status == 200
        await e.upstream.until(e.upstream.connections[0].closed.is_set)
        assert e.pool._kept == {}
        assert (await e.call("/")).status == 200
        assert indices(e) == [0, 1]


async def test_the_sweep_forgets_what_the_api_closed():
    async with engine() as e:
        e.upstream.on("/x", raw(b"HTTP/1.1 200 K\r\nContent-Length: 0\r\n\r\n", close=True))
        assert (await e.call("/x")).status == 200
        await until(lambda: e.pool._kept == {})


async def test_an_agent_s_connections_can_be_dropped():
    async with engine() as e:
        for agent in ("one", "two"):
            await e.call("/", agent=agent)
        e.pool.drop("one")
        assert [key.agent for key in e.pool._kept] == ["two"]
        await e.upstream.until(e.upstream.connections[0].closed.is_set)
        e.pool.close()
        assert e.pool._kept == {}
        await e.upstream.until(e.upstream.connections[1].closed.is_set)


def test_a_key_is_agent_credential_and_origin():
    assert Key._fields == ("agent", "credential", "origin")


async def test_a_client_s_connection_does_not_decide_which_upstream_connection_it_gets():
    async with engine() as e:
        clients: list[RawClient] = [await e.client() for _ in range(3)]
        for client in clients:
            await client.send(e.head("/"))
            assert (await client.read_response()).status == 200
        for client in clients:
            await client.close()
        assert indices(e) == [0, 0, 0]
