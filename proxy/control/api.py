"""The control API: what operators order over HTTP. It listens only if ``control.address`` is configured.

For each request: (1) neither a web page's nor for another host; (2) ``/healthz`` is answered to anybody;
(3) a bearer token that ``authenticate`` accepts; (4) the body, read within its bounds; (5) the route. Only
after (3) does anything tell what there is.

Importing this imports aiohttp's server.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.control import guard, routes
from proxy.control.connection import Bounds, Connections, body_of
from proxy.control.operations import Operations
from proxy.control.patience import Patience
from proxy.control.problem import Reply, Why, problem
from proxy.errors import Refusal
from proxy.ports import LogUnavailable

_BACKLOG = 128


class ControlApi:
    """``authenticate`` gives the operator's name for a token, or a refusal; ``alarm`` takes one line each."""

    def __init__(
        self,
        operations: Operations,
        authenticate: Callable[[bytes], Awaitable[str | Refusal]],
        alarm: Callable[[str], None],
        bounds: Bounds = Bounds(),  # noqa: B008 - a frozen value
    ) -> None:
        self._operations = operations
        self._routes = routes.Routes(operations)
        self._authenticate = authenticate
        self._alarm = alarm
        self._bounds = bounds
        self._patience = Patience(alarm)
        self._listening: tuple[str, asyncio.Server, Connections] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which the system chooses if ``port`` is 0.

        :raises OSError: if it cannot listen there.
        """
        assert self._listening is None, "a control API is started once"
        connections = Connections(self._serve, self._bounds)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connections, host, port, backlog=_BACKLOG)
        self._listening = host, server, connections
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop listening; calls under way have a moment to end."""
        if self._listening is None:
            return
        _, server, connections = self._listening
        server.close()
        await connections.end()
        await server.wait_closed()
        self._patience.close()

    async def _serve(self, request: web.BaseRequest) -> Reply:
        try:
            return await self._answer(request)
        except LogUnavailable:
            self._alarm("the audit log cannot be written: an order to the control API was not recorded")
            return problem(Why.UNAVAILABLE, "the audit log cannot be written")
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller learns nothing of our insides
            self._alarm(f"the control API failed: {type(error).__name__}: {error}")
            return problem(Why.INTERNAL, "the operator of gatepass is told")

    async def _answer(self, request: web.BaseRequest) -> Reply:
        assert self._listening is not None
        host, _, connections = self._listening
        headers = request.headers
        foreign = guard.foreign(headers.getall("Host", []), headers.getall("Origin", []), host)
        if foreign is not None:
            return foreign
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/"):
            return problem(Why.BAD_REQUEST, "send a path, not a whole URL: this is no proxy")
        if path == "/healthz" and request.method == "GET":
            return routes.alive(self._operations)
        operator = await self._operator(request)
        if isinstance(operator, Reply):
            return operator
        with connections.trusted(request):
            body = await body_of(request, self._bounds.body)
            if isinstance(body, Reply):
                return body
            return await self._routes.serve(routes.Call(request.method, path, query, body, operator))

    async def _operator(self, request: web.BaseRequest) -> str | Reply:
        """The name of whoever calls, or why it is nobody we know; that is said without haste."""
        token = guard.bearer(request.headers.getall("Authorization", []))
        if isinstance(token, Reply):
            return token
        operator = await self._authenticate(token)
        if not isinstance(operator, Refusal):
            return operator
        said = guard.rejected(operator)
        if said.status != Why.UNAVAILABLE.value.status:
            await self._patience.wrong(request.remote or "unknown")
        return said
