"""What ``test_api`` cannot reach: a handler that fails although it never should."""

import asyncio

from proxy.control.connection import Bounds, Connections
from tests.support.rawclient import RawClient


async def test_a_handler_that_fails_is_a_problem_without_its_inside_and_somebody_is_told():
    async def handler(request):
        raise RuntimeError("the wiring inside is secret")

    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    connections = Connections(handler, Bounds())
    server = await loop.create_server(connections, "127.0.0.1", 0)
    async with await RawClient.connect(server.sockets[0].getsockname()) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = await client.read_response()
        assert (response.status, response.json()["code"]) == (500, "internal")
        assert b"secret" not in response.body
        assert await client.at_end()
    server.close()
    await connections.end()
    assert [str(error) for error in told] == ["the wiring inside is secret"]
