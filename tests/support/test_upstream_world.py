"""The scripted upstream and the raw client, against each other: they are what other tests stand on."""

import hashlib
import json
import ssl

import pytest

from tests.support.behaviours import pattern, raw
from tests.support.certificates import Certificate
from tests.support.rawclient import RawClient
from tests.support.upstream import Upstream
from tests.support.websocket import CLOSE, PING, PONG, TEXT, Frame, accept_key, read_frame
from tests.support.wire import Malformed


async def calling(up: Upstream) -> RawClient:
    client = await RawClient.connect(up.address)
    await client.start_tls(up.hosts[0], cadata=up.ca_pem)
    return client


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode()


async def test_echo_tells_everything_and_the_record_has_every_octet():
    sent = b"POST /x?y=1 HTTP/1.1\r\nHost: api.test\r\nX-b: 1\r\nx-A: 2\r\nContent-Length: 5\r\n\r\nhello"
    async with Upstream("api.test") as up, await calling(up) as client:
        await client.send(sent)
        told = (await client.read_response()).json()
        assert told["headers"] == [["Host", "api.test"], ["X-b", "1"], ["x-A", "2"], ["Content-Length", "5"]]
        assert (told["method"], told["target"], told["length"]) == ("POST", "/x?y=1", 5)
        assert told["sha256"] == hashlib.sha256(b"hello").hexdigest() == up.requests[0].sha256
        assert up.received == sent
        assert up.bytes_received == len(sent)
        assert (up.connections[0].sni, up.connections[0].alpn) == ("api.test", "http/1.1")


async def test_a_connection_is_kept_and_many_are_told_apart():
    async with Upstream() as up, await calling(up) as first, await calling(up) as second:
        for client in (first, second, first):
            await client.send(get("/"))
            assert (await client.read_response()).status == 200
        assert [request.connection.index for request in up.requests] == [0, 1, 0]


async def test_plain_and_chunked_upload_with_trailers():
    async with Upstream(tls=False) as up, await RawClient.connect(up.address) as client:
        await client.send(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n"
        )
        told = (await client.read_response()).json()
        assert (told["length"], told["trailers"], up.requests[0].chunks) == (5, [["X-T", "1"]], [3, 2])


async def test_expect_is_answered_before_the_body():
    async with Upstream(tls=False) as up, await RawClient.connect(up.address) as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.read_head()).start[1] == b"100"
        await client.send(b"ok")
        assert (await client.read_response()).json()["length"] == 2


@pytest.mark.parametrize("path", ["/bytes?n=200000", "/chunked?n=200000&size=777"])
async def test_bodies_by_length_and_by_chunks(path):
    async with Upstream() as up, await calling(up) as client:
        await client.send(get(path))
        assert (await client.read_response()).body == pattern(200_000)


async def test_trailers_early_hints_and_bodiless_answers():
    async with Upstream() as up, await calling(up) as client:
        await client.send(get("/trailers"))
        answer = await client.read_response()
        assert (answer.body, answer.trailers) == (b"hello", ((b"X-Digest", b"abc"), (b"X-Count", b"5")))
        await client.send(get("/early-hints"))
        answer = await client.read_response()
        assert ([head.start[1] for head in answer.informational], answer.body) == ([b"103"], b"hinted")
        for code in (204, 304):
            await client.send(get(f"/status?code={code}"))
            assert (await client.read_response()).status == code
        await client.send(get("/bytes?n=7", "HEAD"))
        answer = await client.read_response(to_head=True)
        assert (answer.get("content-length"), answer.body) == ("7", b"")
        await client.send(get("/until-close"))
        assert (await client.read_response()).body == b"until close"


async def test_events_leave_when_the_test_says_so():
    async with Upstream() as up, await calling(up) as client:
        await client.send(get("/sse"))
        events = aiter(client.body(await client.read_head()))
        assert await anext(events) == b"data: first\n\n"
        up.release.set()
        assert [event async for event in events] == [b"data: second\n\n"]


async def test_an_early_answer_comes_before_the_upload_ends():
    async with Upstream() as up, await calling(up) as client:
        await client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        assert (await client.read_response()).status == 413
        assert not up.requests[0].complete
        up.release.set()
        await client.send(b"cd")
        await up.until(lambda: up.requests[0].complete and up.connections[0].closed.is_set())


async def test_raw_scripts_go_out_as_they_are():
    script = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nEXTRA"
    )
    async with Upstream() as up, await calling(up) as client:
        up.on("/raw", raw(script))
        await client.send(get("/raw"))
        assert await client.read_exactly(len(script)) == script
        assert await client.at_end()


@pytest.mark.parametrize("path", ["/vanish", "/abort"])
async def test_an_api_that_goes_away(path):
    async with Upstream(tls=False) as up, await RawClient.connect(up.address) as client:
        await client.send(get(path))
        with pytest.raises((Malformed, ConnectionResetError)):
            await client.read_response()
        await up.until(up.connections[0].closed.is_set)


async def test_websocket_echo_keeps_every_flag():
    key = b"dGhlIHNhbXBsZSBub25jZQ=="
    ask = b"GET /websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n\r\n"
    async with Upstream() as up, await calling(up) as client:
        await client.send(ask % key)
        answer = await client.read_response()
        assert (answer.status, answer.get("sec-websocket-accept")) == (101, accept_key(key).decode())
        for frame, back in (
            (Frame(TEXT, b"hi", fin=False), TEXT),
            (Frame(TEXT, b"x" * 70_000, rsv1=True), TEXT),
            (Frame(PING, b"p"), PONG),
            (Frame(CLOSE, b"\x03\xe8"), CLOSE),
        ):
            await client.send(frame.encode(mask=b"\x01\x02\x03\x04"))
            assert await read_frame(client.reader) == Frame(
                back, frame.payload, fin=frame.fin, rsv1=frame.rsv1
            )
        assert await read_frame(client.reader) is None


@pytest.mark.parametrize("kind", [kind for kind in Certificate if kind is not Certificate.GOOD])
async def test_bad_certificates_are_refused_by_a_verifying_client(kind):
    async with Upstream(certificate=kind) as up:
        with pytest.raises(ssl.SSLCertVerificationError):
            await calling(up)
        await up.until(up.connections[0].closed.is_set)
        assert not up.requests
        assert up.bytes_received == 0
        async with await RawClient.connect(up.address) as client:
            await client.start_tls("api.test", verify=False)
            await client.send(get("/"))
            assert (await client.read_response()).status == 200


@pytest.mark.parametrize("sni", ["other.test", None])
async def test_the_client_can_send_any_server_name_or_none(sni):
    async with Upstream() as up, await RawClient.connect(up.address) as client:
        await client.start_tls("api.test", cadata=up.ca_pem, sni=sni)
        await up.until(lambda: up.connections[0].established)
        assert up.connections[0].sni == sni


async def test_half_close_and_reset_reach_the_upstream():
    async with Upstream(tls=False) as up, await RawClient.connect(up.address) as client:
        await client.send(get("/"))
        client.half_close()
        assert (await client.read_response()).status == 200
        assert await client.at_end()
        other = await RawClient.connect(up.address)
        await other.send(b"GET / HT")
        await up.until(lambda: up.bytes_received > len(get("/")))
        other.abort()
        await up.until(up.connections[1].closed.is_set)
        assert isinstance(up.connections[1].failure, ConnectionResetError)
        await other.close()


async def test_a_tunnel_request_carries_the_identity_and_its_refusal_has_a_body():
    refusal = b"HTTP/1.1 407 Who\r\nContent-Length: 2\r\n\r\nno"
    async with Upstream(tls=False) as up, await RawClient.connect(up.address) as client:
        up.on("api.test:443", raw(refusal))
        answer = await client.open_tunnel("api.test:443", "Bearer token", (b"X-Extra", b"1"))
        assert (answer.status, answer.reason, answer.body) == (407, "Who", b"no")
        assert up.requests[0].headers == (
            (b"Host", b"api.test:443"),
            (b"Proxy-Authorization", b"Bearer token"),
            (b"X-Extra", b"1"),
        )


async def test_a_failing_handler_fails_the_test():
    async def broken(call):
        raise LookupError(json.dumps(call.received.target))

    with pytest.raises(ExceptionGroup, match="handlers failed"):  # noqa: PT012 - it is raised on the way out
        async with Upstream(default=broken, tls=False) as up, await RawClient.connect(up.address) as client:
            await client.send(get("/"))
            assert await client.at_end()
