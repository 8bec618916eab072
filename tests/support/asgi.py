"""A real ASGI server as the upstream: uvicorn on 127.0.0.1 behind TLS, and it records what reached it.

For servers that other projects wrote: MCP, GraphQL, model APIs.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import trustme
import uvicorn

from tests.support.certificates import Certificate, server_context

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass
class Arrived:
    """One request as the application got it; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False  # it was answered to the end
    gone: bool = False  # the client went away before

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class AsgiUpstream:
    """``async with AsgiUpstream(app, "api.test") as up``: serves while inside, and stops on the way out.

    ``arrived`` is the record, in order.
    """

    tls = True

    def __init__(self, app: App, *hosts: str) -> None:
        self.hosts = hosts
        self.arrived: list[Arrived] = []
        self.authority = trustme.CA()
        self._app = app
        self._changed = asyncio.Condition()

    def write_ca(self, directory: Path) -> Path:
        """Write the CA into a directory of extra roots, named after the first host."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.hosts[0]}.pem"
        path.write_bytes(self.authority.cert_pem.bytes())
        return path

    async def until(self, condition: Callable[[], bool], within: float = 20) -> None:
        """Wait until a condition on the record holds.

        :raises TimeoutError: if it does not hold ``within`` seconds.
        """
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(condition)

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = listener.getsockname()[1]
        config = uvicorn.Config(
            self._recording,
            interface="asgi3",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            http="h11",
            ws="none",
            timeout_keep_alive=120,  # a kept connection never ends while the sidecar picks it up again
            timeout_graceful_shutdown=5,
        )
        config.load()
        config.ssl = server_context(self.authority, self.hosts, Certificate.GOOD, ("http/1.1",))
        self._server = uvicorn.Server(config)
        self._serving = asyncio.ensure_future(self._server.serve(sockets=[listener]))
        async with asyncio.timeout(20):
            while not self._server.started and not self._serving.done():
                await asyncio.sleep(0.005)
        assert self._server.started, "the application did not start"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        await self._serving

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _recording(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        arrived = Arrived(scope["method"], scope["path"], headers)
        self.arrived.append(arrived)
        await self._note()

        async def received() -> Message:
            message = await receive()
            arrived.body += message.get("body", b"")
            if message["type"] == "http.disconnect":
                arrived.gone = not arrived.complete
                await self._note()
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                arrived.complete = True
            await send(message)

        await self._app(scope, received, sent)
