"""The control API over real sockets."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from proxy.control.api import ControlApi
from proxy.control.connection import Bounds
from proxy.identity.burst import FREE
from proxy.identity.jws import MAX_TOKEN
from tests.control.worlds import ADMIN, SmallSidecar, authenticate
from tests.support.rawclient import RawClient

ADMIN_FIELD = f"Authorization: Bearer {ADMIN.decode()}"


@dataclass
class World:
    """A control API that listens, the small sidecar behind it, and what its operator was told."""

    port: int
    sidecar: SmallSidecar
    api: ControlApi
    told: list[str] = field(default_factory=list)

    def client(self):
        return RawClient.connect(("127.0.0.1", self.port))

    async def send(self, start, *fields, body=b"", host="127.0.0.1"):
        """One request with exactly these fields, and its answer."""
        async with await self.client() as client:
            await client.send(request(start, *fields, body=body, host=host))
            response = await client.read_response()
        assert response.get("Cache-Control") == "no-store"
        assert response.get("Server") == "gatepass"
        assert response.get("Access-Control-Allow-Origin") is None
        if response.status >= 400:
            assert response.get("Content-Type").startswith("application/problem+json")
            assert response.json()["status"] == response.status
        return response

    async def order(self, start, document=None, *fields):
        """One request of the admin with a JSON body."""
        body = b"" if document is None else json.dumps(document).encode()
        return await self.send(start, ADMIN_FIELD, "Content-Type: application/json", *fields, body=body)


def request(start, *fields, body=b"", host="127.0.0.1"):
    lines = [f"{start} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


@asynccontextmanager
async def listening(bounds=None):
    sidecar, told = SmallSidecar(), []
    api = ControlApi(sidecar, authenticate, told.append, *([] if bounds is None else [bounds]))
    port = await api.start("127.0.0.1", 0)
    try:
        yield World(port, sidecar, api, told)
    finally:
        await api.close()


@pytest.fixture
async def world():
    async with listening() as world:
        yield world


async def test_a_task_through_its_whole_life_with_an_ordinary_client(world):
    headers = {"Authorization": f"Bearer {ADMIN.decode()}"}
    async with aiohttp.ClientSession(f"http://localhost:{world.port}", headers=headers) as client:
        async with client.post("/v1/tasks", json={"agent": "coder", "purpose": "p", "ttl": 60}) as answer:
            assert answer.status == 201
            started = await answer.json()
        async with client.get(f"/v1/tasks/{started['task']}") as answer:
            assert (await answer.json())["state"] == "open"
        revocation = {"kind": "agent", "id": "spiffe://example.org/coder", "reason": "leak"}
        async with client.post("/v1/revocations", json=revocation) as answer:
            assert answer.status == 200
        async with client.delete("/v1/revocations/agent/spiffe://example.org/coder") as answer:
            assert answer.status == 200
        async with client.post(f"/v1/tasks/{started['task']}/end") as answer:
            assert await answer.json() == {"task": started["task"], "ended_tasks": 1}
    assert world.told == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 401),
        (("Authorization: Bearer wrong",), 401),
        (("Authorization: Bearer",), 401),
        ((f"Authorization: Basic {ADMIN.decode()}",), 401),
        ((f"Authorization: {ADMIN.decode()}",), 401),
        ((ADMIN_FIELD, ADMIN_FIELD), 401),
        ((ADMIN_FIELD, "Authorization: Bearer wrong"), 401),
        ((f"Proxy-Authorization: Bearer {ADMIN.decode()}",), 401),
        (("Authorization: Bearer " + "a" * (MAX_TOKEN + 1),), 401),
        (("Authorization: Bearer ada",), 403),
        (("Authorization: Bearer later",), 503),
        (("Authorization: Bearer gremlin",), 500),
        ((ADMIN_FIELD,), 200),
    ],
)
async def test_one_right_bearer_token_is_what_it_takes(world, fields, status):
    response = await world.send("GET /v1/tasks", *fields)
    assert response.status == status
    assert (response.get("WWW-Authenticate") is not None) == (status == 401)


@pytest.mark.parametrize(
    "start",
    ["POST /v1/tasks", "GET /nothing", "PUT /v1/tasks", "DELETE /v1/revocations/all", "GET /v1/health"],
)
async def test_without_a_token_nobody_learns_what_there_is(world, start):
    response = await world.send(start, "Content-Type: application/json", body=b'{"agent": "coder"}')
    assert (response.status, response.json()["code"]) == (401, "unauthenticated")
    assert world.sidecar.journal == []


async def test_health_is_for_anybody_and_says_no_more_than_that(world):
    assert (await world.send("GET /healthz")).json() == {"status": "ok"}
    world.sidecar.ready = False
    async with await world.client() as client:
        await client.send(request("GET /healthz"))
        assert (await client.read_response()).status == 503
    assert (await world.send("POST /healthz")).status == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
async def test_a_web_page_is_refused_even_with_the_token(world, origin):
    for start in ("GET /v1/tasks", "OPTIONS /v1/tasks", "GET /healthz"):
        assert (await world.send(start, ADMIN_FIELD, f"Origin: {origin}")).status == 403


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", ""])
async def test_a_rebound_name_is_refused_even_with_the_token(world, host):
    assert (await world.send("GET /v1/tasks", ADMIN_FIELD, host=host)).status == 421
    assert (await world.send("GET /healthz", host=host)).status == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]"])
async def test_addresses_and_localhost_are_not(world, host):
    assert (await world.send("GET /v1/tasks", ADMIN_FIELD, host=host)).status == 200


async def test_a_request_without_a_host_or_with_two_is_refused(world):
    assert (await world.send("GET /v1/tasks", ADMIN_FIELD, host=None)).status in {400, 421}
    assert (await world.send("GET /v1/tasks", ADMIN_FIELD, "Host: evil.example")).status in {400, 421}


async def test_it_is_no_proxy(world):
    for start in (f"GET http://127.0.0.1:{world.port}/v1/tasks", "CONNECT api.example:443", "OPTIONS *"):
        assert (await world.send(start, ADMIN_FIELD)).status == 400


@pytest.mark.parametrize(
    "content_type",
    [
        (),
        ("text/plain",),
        ("application/x-www-form-urlencoded",),
        ("application/json; charset=latin-1",),
        ("application/jsonp",),
    ],
)
async def test_a_body_has_to_say_that_it_is_json(world, content_type):
    fields = [f"Content-Type: {value}" for value in content_type]
    response = await world.send("POST /v1/tasks", ADMIN_FIELD, *fields, body=b'{"agent": "coder"}')
    assert response.status == 415
    assert world.sidecar.journal == []


async def test_a_body_of_two_kinds_is_refused(world):
    response = await world.order("POST /v1/tasks", {"agent": "coder"}, "Content-Type: text/plain")
    assert response.status in {400, 415}
    assert world.sidecar.journal == []


async def test_a_compressed_body_is_refused(world):
    response = await world.order("POST /v1/tasks", {"agent": "coder"}, "Content-Encoding: gzip")
    assert response.status == 415


@pytest.mark.parametrize("value", ["application/json", "Application/JSON ; charset=UTF-8"])
async def test_json_may_say_its_charset(world, value):
    response = await world.send(
        "POST /v1/tasks", ADMIN_FIELD, f"Content-Type: {value}", body=b'{"agent": "coder"}'
    )
    assert response.status == 201


async def test_a_body_that_is_too_large_is_refused_unread_and_as_it_comes(world):
    async with await world.client() as client:
        await client.send(
            request("POST /v1/tasks", ADMIN_FIELD, "Content-Type: application/json", "Content-Length: 65537")
        )
        assert (await client.read_response()).status == 413
    async with await world.client() as client:
        await client.send(request("POST /v1/tasks", ADMIN_FIELD, "Transfer-Encoding: chunked"))
        await client.send(b"ffff\r\n" + b" " * 0xFFFF + b"\r\nffff\r\n" + b" " * 0xFFFF + b"\r\n")
        assert (await client.read_response()).status == 413
    assert world.sidecar.journal == []


async def test_a_chunked_body_is_read(world):
    async with await world.client() as client:
        await client.send(
            request(
                "POST /v1/tasks", ADMIN_FIELD, "Content-Type: application/json", "Transfer-Encoding: chunked"
            )
            + b'8\r\n{"agent"\r\na\r\n: "coder"}\r\n0\r\n\r\n'
        )
        assert (await client.read_response()).status == 201


async def test_a_client_that_asks_first_is_told_to_go_on(world):
    body = b'{"agent": "coder"}'
    async with await world.client() as client:
        head = request(
            "POST /v1/tasks",
            ADMIN_FIELD,
            "Content-Type: application/json",
            "Expect: 100-continue",
            f"Content-Length: {len(body)}",
        )
        await client.send(head)
        assert (await client.read_head()).start[1] == b"100"
        await client.send(body)
        assert (await client.read_response()).status == 201


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /v1/tasks HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        b"GET /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        + ADMIN_FIELD.encode()
        + b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_gets_a_problem_and_the_connection_ends(world, octets):
    async with await world.client() as client:
        await client.send(octets)
        response = await client.read_response()
        assert response.status == 400
        assert response.get("Content-Type").startswith("application/problem+json")
        assert "gatepass" in response.get("Server")
        assert await client.at_end()


async def test_failures_say_nothing_of_the_inside_and_the_operator_is_told(world):
    response = await world.order("POST /v1/tasks", {"agent": "gremlin"})
    assert (response.status, response.json()["code"]) == (500, "internal")
    assert b"secret" not in response.body
    assert [line for line in world.told if "RuntimeError: the wiring inside is secret" in line]


async def test_an_order_that_cannot_be_recorded_is_not_carried_out(world):
    world.sidecar.log_is_full = True
    response = await world.order("POST /v1/tasks", {"agent": "coder"})
    assert response.status == 503
    assert world.sidecar.known == {}
    assert "audit log" in world.told[0]


async def test_connections_are_kept_for_the_next_call(world):
    async with await world.client() as client:
        for _ in range(3):
            await client.send(request("GET /v1/tasks", ADMIN_FIELD))
            assert (await client.read_response()).status == 200


async def test_a_flood_of_wrong_tokens_waits_and_the_operator_does_not(world):
    async def wrong():
        return await world.send("GET /v1/tasks", "Authorization: Bearer wrong")

    for _ in range(FREE):
        assert (await wrong()).status == 401
    flood = [asyncio.create_task(wrong()) for _ in range(4)]
    while not world.told:
        await asyncio.sleep(0)
    for _ in range(5):
        assert (await world.order("GET /v1/tasks")).status == 200
    assert not all(task.done() for task in flood)
    assert {(await task).status for task in flood} == {401}
    await world.api.close()
    assert len([line for line in world.told if "wrong tokens" in line]) == 2


async def test_one_who_fills_all_places_makes_room_for_the_next():
    async with listening(Bounds(connections=4)) as world:
        squatters = [await world.client() for _ in range(12)]
        assert (await world.order("GET /v1/tasks")).status == 200
        assert await squatters[0].at_end()
        for squatter in squatters:
            await squatter.close()


async def test_an_operators_call_makes_room_for_nobody():
    async with listening(Bounds(connections=2)) as world, await world.client() as operator:
        body = b'{"agent": "coder"}'
        fields = (
            ADMIN_FIELD,
            "Content-Type: application/json",
            "Expect: 100-continue",
            f"Content-Length: {len(body)}",
        )
        await operator.send(request("POST /v1/tasks", *fields))
        assert (await operator.read_head()).start[1] == b"100"  # it is known now, and its body is awaited
        squatters = [await world.client() for _ in range(6)]
        assert await squatters[0].at_end()
        await operator.send(body)
        assert (await operator.read_response()).status == 201
        for squatter in squatters:
            await squatter.close()


async def test_where_operators_fill_all_places_the_next_gets_one_more():
    async with listening(Bounds(connections=1)) as world, await world.client() as operator:
        await operator.send(
            request("POST /v1/tasks", ADMIN_FIELD, "Expect: 100-continue", "Content-Length: 2")
        )
        assert (await operator.read_head()).start[1] == b"100"
        assert (await world.order("GET /v1/tasks")).status == 200
        await operator.send(b"{}")
        assert (await operator.read_response()).status == 415


async def test_heads_and_bodies_that_do_not_end_are_ended():
    async with listening(Bounds(idle=0.1, body=0.1)) as world:
        async with await world.client() as client:
            await client.send(b"GET /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            assert await client.at_end()
        async with await world.client() as client:
            await client.send(request("POST /v1/tasks", ADMIN_FIELD, "Content-Length: 10"))
            assert (await client.read_response()).status == 408


async def test_a_client_that_leaves_within_its_body_does_no_harm(world):
    async with await world.client() as client:
        await client.send(request("POST /v1/tasks", ADMIN_FIELD, "Content-Length: 10") + b"{")
        client.abort()
    assert (await world.order("GET /v1/tasks")).status == 200
    assert world.told == []


async def test_closing_ends_idle_connections_and_can_be_said_twice():
    async with listening() as world, await world.client() as idle:
        await idle.send(request("GET /v1/tasks", ADMIN_FIELD))
        assert (await idle.read_response()).status == 200
        await world.api.close()
        assert await idle.at_end()
        await world.api.close()
        with pytest.raises(ConnectionError):
            await world.client()


async def test_an_address_in_use_is_an_error(world):
    other = ControlApi(world.sidecar, authenticate, world.told.append)
    with pytest.raises(OSError, match="in use"):
        await other.start("127.0.0.1", world.port)
    await other.close()
