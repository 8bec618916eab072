"""A client's connection through a ``World``: inside TLS, plain inside CONNECT, or absolute-form, alike to the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from proxy.wiring_tasks import Started
from tests.support.rawclient import RawClient, Response, basic
from tests.support.upstream import Upstream
from tests.support.wire import Malformed
from tests.support.world import World, world

WAYS = ("absolute", "plain tunnel", "tls")


@dataclass
class Line:
    """``head`` writes a request head, ``call`` sends one and reads its answer."""

    world: World
    client: RawClient
    way: str
    authorization: str

    def head(self, path: str = "/", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
        authority = self.world.authority
        target, own = path, ()
        if self.way == "absolute":
            target, own = f"http://{authority}{path}", (f"Proxy-Authorization: {self.authorization}",)
        lines = [f"{method} {target} HTTP/{version}", f"Host: {authority}", *own, *headers, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    async def call(
        self, path: str = "/", *headers: str, method: str = "GET", body: bytes = b"", version: str = "1.1"
    ) -> Response:
        framing = (f"Content-Length: {len(body)}",) if body else ()
        await self.client.send(self.head(path, *headers, *framing, method=method, version=version) + body)
        return await self.client.read_response(to_head=method == "HEAD")


@contextlib.asynccontextmanager
async def line(w: World, way: str = "", started: Started | None = None) -> AsyncIterator[Line]:
    """A new connection; by default the way that fits the upstream."""
    way = way or ("tls" if w.upstream.tls else "absolute")
    authorization = basic("task", (started or w.started).token)
    async with await w.client() as client:
        if way != "absolute":
            answer = await client.open_tunnel(w.authority, authorization)
            assert answer.status == 200, answer
        if way == "tls":
            await client.start_tls(w.upstream.hosts[0], cafile=w.keyring.ca_path)
        yield Line(w, client, way, authorization)


@contextlib.asynccontextmanager
async def plain_world(directory: Path, **settings: object) -> AsyncIterator[World]:
    """A sidecar in front of an API without TLS."""
    async with world(directory, upstream=Upstream("api.test", tls=False), **settings) as w:
        yield w


class Elsewhere:
    """An upstream for ``world`` whose port somebody else has, or nobody."""

    def __init__(self, upstream: Upstream, port: int) -> None:
        self._upstream = upstream
        upstream.port = port

    async def __aenter__(self) -> Upstream:
        return self._upstream

    async def __aexit__(self, *_: object) -> None:
        return None


async def truncated(line: Line) -> bytes:
    """What arrives of a body that does not end; fails if it does end."""
    head = await line.client.read_head()
    got = b""
    try:
        async for piece in line.client.body(head):
            got += piece
    except (ConnectionError, Malformed):
        return got
    raise AssertionError(f"the body was complete: {got!r}")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody announces."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def ends(w: World) -> list[tuple[str, str, int | None]]:
    """Every outcome so far: result, code, status."""
    return [(record.result, record.code, record.status) for record in w.outcomes]


def refusals(w: World) -> list[tuple[str, int | None]]:
    """Every refusing decision so far: code, status."""
    return [(record.code, record.status) for record in w.decisions if record.effect == "deny"]


def untouched(w: World) -> bool:
    """Nothing reached the API: not a connection, not an octet."""
    return not w.upstream.connections and w.upstream.bytes_received == 0
