"""One downstream connection: judged request by request, limited, and never ended without a record."""

import pytest

from tests.engine.lines import (
    WAYS,
    ends,
    line,
    plain_world,
    refusals,
    until,
    untouched,
)
from tests.support.demo_rules import agent, forbid, permit
from tests.support.rawclient import basic
from tests.support.upstream import Upstream
from tests.support.world import world

NO_DELETE = (permit("all", actions=("read", "write", "delete")), forbid("no-delete"))


# -- many requests on one connection --


@pytest.mark.parametrize("way", WAYS)
async def test_pipelined_requests_are_answered_in_order(tmp_path, way):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        await one.client.send(b"".join(one.head(f"/{number}") for number in range(5)))
        for number in range(5):
            assert (await one.client.read_response()).json()["target"] == f"/{number}"
        assert [record.path for record in w.decisions] == [f"/{number}" for number in range(5)]


@pytest.mark.parametrize("way", WAYS)
async def test_a_refused_request_does_not_carry_the_next_one_through(tmp_path, way):
    upstream = Upstream("api.test", tls=way == "tls")
    async with world(tmp_path, upstream=upstream, policies=NO_DELETE) as w, line(w, way) as one:
        heads = [one.head("/1", method="DELETE"), one.head("/2"), one.head("/3", method="DELETE")]
        await one.client.send(b"".join(heads))
        answers = [await one.client.read_response() for _ in heads]
        assert [answer.status for answer in answers] == [403, 200, 403]
        assert [(r.effect, r.rule) for r in w.decisions] == [
            ("deny", "no-delete"),
            ("allow", "all"),
            ("deny", "no-delete"),
        ]
        assert [answers[0].json()["record"], answers[2].json()["record"]] == [
            record.id for record in w.decisions if record.effect == "deny"
        ]
        assert [request.target for request in w.upstream.requests] == ["/2"]


async def test_the_placeholder_of_the_next_request_is_not_in_this_one_s_body(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        bearer = f"Authorization: Bearer {w.placeholder}"
        head = one.head("/1", "Content-Length: 2", bearer, method="PUT")
        chunked = one.head("/2", "Transfer-Encoding: chunked", bearer, method="PUT") + b"1\r\nx\r\n0\r\n\r\n"
        await one.client.send(head + b"ab" + chunked + one.head("/3", bearer) + one.head("/4", bearer))
        assert [(await one.client.read_response()).status for _ in range(4)] == [200] * 4
        assert w.placeholder.encode() not in w.upstream.received


@pytest.mark.parametrize("framing", ["Content-Length: 41", "Transfer-Encoding: chunked"])
async def test_a_placeholder_in_a_body_that_came_with_its_head(tmp_path, framing):
    async with plain_world(tmp_path) as w, line(w) as one:
        text = w.placeholder.encode()
        body = text if "Length" in framing else b"5\r\n%s\r\n24\r\n%s\r\n0\r\n\r\n" % (text[:5], text[5:])
        await one.client.send(one.head("/x", framing, method="POST") + body)
        answer = await one.client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, "placeholder_surface")
        assert refusals(w) == [("placeholder_surface", 403)]
        assert untouched(w)


async def test_after_a_refused_body_the_connection_ends(tmp_path):
    """What follows could be the body or a request; nobody guesses."""
    async with plain_world(tmp_path, policies=[]) as w, line(w) as one:
        smuggled = one.head("/smuggled")
        await one.client.send(one.head("/x", f"Content-Length: {len(smuggled)}", method="POST") + smuggled)
        assert (await one.client.read_response()).status == 403
        assert await one.client.at_end()
        assert len(w.decisions) == 1
        assert untouched(w)


async def test_a_refused_client_that_asks_to_close_is_closed_on(tmp_path):
    async with plain_world(tmp_path, policies=[]) as w, line(w) as one:
        answer = await one.call("/", "Connection: close")
        assert (answer.status, answer.get("connection")) == (403, "close")
        assert await one.client.at_end()
        assert untouched(w)


async def test_without_identity_the_connection_goes_on_to_ask(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        for _ in range(2):
            await one.client.send(
                f"GET http://{w.authority}/ HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode()
            )
            answer = await one.client.read_response()
            assert answer.status == 407
            assert answer.get("proxy-authenticate")
        assert untouched(w)
        assert (await one.call("/")).status == 200
        assert refusals(w) == [("identity_missing", 407)] * 2


async def test_an_answer_to_head_that_refuses_has_no_body(tmp_path):
    async with plain_world(tmp_path, policies=NO_DELETE) as w, line(w) as one:
        await one.client.send(
            f"HEAD http://{w.authority}/ HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode() + one.head("/")
        )
        assert (await one.client.read_response(to_head=True)).status == 407
        assert (await one.client.read_response()).status == 200


# -- heads --


@pytest.mark.parametrize("way", ["absolute", "tls"])
@pytest.mark.parametrize(
    ("octets", "code", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", "head_too_large", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000, "head_too_large", 431),
        (b"GET / HTTP/1.1\nHost: a\n\n", "malformed", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "malformed", 400),
        (b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", "malformed", 400),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", "malformed", 400),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "method_unsupported", 501),
    ],
)
async def test_a_head_that_is_none(tmp_path, way, octets, code, status):
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls")) as w, line(w, way) as one:
        await one.client.send(octets)
        answer = await one.client.read_response()
        assert (answer.status, answer.json()["code"]) == (status, code)
        assert await one.client.at_end()
        assert refusals(w) == [(code, status)]
        assert untouched(w)


async def test_too_many_headers(tmp_path):
    async with plain_world(tmp_path, limits={"header_count": 10}) as w, line(w) as one:
        answer = await one.call("/", *["X: a"] * 10)
        assert (answer.status, answer.json()["code"]) == (431, "head_too_large")
        assert refusals(w) == [("head_too_large", 431)]
        assert untouched(w)


async def test_a_target_that_is_too_long(tmp_path):
    async with plain_world(tmp_path, limits={"target": 256}) as w, line(w) as one:
        answer = await one.call("/" + "a" * 300)
        assert (answer.status, answer.json()["code"]) == (414, "target_too_long")
        assert untouched(w)


@pytest.mark.parametrize("way", ["absolute", "tls"])
async def test_a_head_that_does_not_come_in_time(tmp_path, way):
    settings = {"limits": {"head_timeout": 0.3}}
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls"), **settings) as w:
        async with line(w, way) as one:
            await one.client.send(one.head("/")[:-2])
            answer = await one.client.read_response()
            assert (answer.status, answer.json()["code"]) == (408, "head_timeout")
            assert await one.client.at_end()
        assert refusals(w) == [("head_timeout", 408)]
        assert untouched(w)


async def test_a_head_that_ends_in_the_middle(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        await one.client.send(one.head("/")[:-2])
        one.client.half_close()
        assert (await one.client.read_response()).status == 400
        assert refusals(w) == [("malformed", 400)]
        assert untouched(w)


@pytest.mark.parametrize("calls", [0, 1])
@pytest.mark.parametrize("way", ["absolute", "tls"])
async def test_an_idle_connection_just_closes(tmp_path, way, calls):
    settings = {"limits": {"idle_timeout": 0.3}}
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls"), **settings) as w:
        async with line(w, way) as one:
            for _ in range(calls):
                assert (await one.call("/")).status == 200
            assert await one.client.at_end()
        assert len(w.decisions) == calls


async def test_a_connection_that_ends_between_requests_leaves_no_record(tmp_path):
    async with plain_world(tmp_path) as w:
        for way in ("half_close", "abort"):
            async with line(w) as one:
                getattr(one.client, way)()
                assert way == "abort" or await one.client.at_end()
        assert w.decisions == []


# -- tunnels --


async def test_a_client_may_send_its_request_along_with_connect(tmp_path):
    async with plain_world(tmp_path) as w, await w.client() as client:
        connect = f"CONNECT {w.authority} HTTP/1.1\r\nHost: {w.authority}\r\nProxy-Authorization: {w.authorization}\r\n\r\n"
        await client.send(f"{connect}GET /x HTTP/1.1\r\nHost: {w.authority}\r\n\r\n".encode())
        assert (await client.read_head()).start[1] == b"200"
        assert (await client.read_response()).json()["target"] == "/x"


async def test_a_tunnel_in_a_tunnel_is_refused(tmp_path):
    async with world(tmp_path) as w, line(w) as one:
        answer = await one.client.open_tunnel(w.authority, one.authorization)
        assert answer.status == 501
        assert await one.client.at_end()
        assert refusals(w) == [("method_unsupported", 501)]
        assert untouched(w)


async def test_connect_is_refused_with_its_reason_in_the_reason_phrase(tmp_path):
    async with world(tmp_path) as w, await w.client() as client:
        refused = await client.open_tunnel("169.254.169.254:80", w.authorization)
        assert refused.status == 403
        assert refusals(w)[0][0] in refused.reason
        assert w.decisions[0].id in refused.reason
        assert untouched(w)


async def test_after_407_connect_may_be_tried_again(tmp_path):
    async with world(tmp_path) as w, await w.client() as client:
        assert (await client.open_tunnel(w.authority)).status == 407
        assert (await client.open_tunnel(w.authority, basic("task", "rubbish"))).status == 407
        assert (await client.open_tunnel(w.authority, w.authorization)).status == 200
        assert [code for code, _ in refusals(w)] == ["identity_missing", "identity_invalid"]
        assert untouched(w)


async def test_inside_a_tunnel_every_request_is_judged_by_the_task_s_state(tmp_path):
    async with world(tmp_path) as w, line(w) as one:
        assert (await one.call("/")).status == 200
        other = w.another_task()
        async with line(w, started=other) as two:
            await w.sidecar.book.end(other.task.id, "over")
            assert await two.client.at_end()
        assert (await one.call("/")).status == 200
        assert len(w.decisions) == 2


# -- limits --


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_has_so_many_connections_and_no_more(tmp_path, way):
    settings = {"limits": {"connections_per_agent": 2}, "agents": [agent(), agent("other")]}
    settings["policies"] = [permit("t"), permit("o", who="other")]
    async with world(tmp_path, upstream=Upstream("api.test", tls=way == "tls"), **settings) as w:
        async with line(w, way) as one, line(w, way) as two:
            assert [(await each.call("/")).status for each in (one, two)] == [200, 200]
            async with await w.client() as client:
                if way == "absolute":
                    await client.send(one.head("/third"))
                    answer = await client.read_response()
                else:
                    answer = await client.open_tunnel(w.authority, w.authorization)
                assert answer.status == 429
                assert answer.get("retry-after") == "1"
                assert await client.at_end()
            async with line(w, way, w.another_task(agent="other")) as other:
                assert (await other.call("/")).status == 200
            assert [request.target for request in w.upstream.requests] == ["/"] * 3
        await until(lambda: not w.sidecar.server._census.by_agent)
        assert not w.sidecar.server._census.by_task
        async with line(w, way) as again:
            assert (await again.call("/")).status == 200
        await w.settled()
        codes = [record.code for record in w.records if record.code]
        assert codes == ["tunnels_exceeded"]


async def test_one_connection_may_serve_two_tasks(tmp_path):
    async with plain_world(tmp_path) as w, line(w) as one:
        other = w.another_task()
        assert (await one.call("/")).status == 200
        one.authorization = basic("task", other.token)
        assert (await one.call("/")).status == 200
        await w.sidecar.book.end(w.started.task.id, "over")  # not this connection's task any more
        assert (await one.call("/")).status == 200
        await w.sidecar.book.end(other.task.id, "over")
        assert await one.client.at_end()
        await w.settled()
        assert ends(w) == [("complete", "", 200)] * 3
