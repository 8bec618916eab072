"""Every way in which a connection can stand when an order comes (B18): idle, streaming, half-sent, waiting.

All of them belong to one caller. ``Standing.cut`` asserts that none is left and that nothing more leaves.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from proxy.errors import Code, Refusal
from tests.hostile.assertions import everything, inside
from tests.hostile.callers import calls, desk_outcomes, to_desk
from tests.support.rawclient import RawClient
from tests.support.wire import Malformed
from tests.support.world import World

WEBSOCKET = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
HOSTS = ("api.test", "slow.test")
GONE = (OSError, EOFError, Malformed, ssl.SSLError)


class Gate:
    """A resolver that knows every name, and says where ``slow.test`` is only once the gate is open."""

    def __init__(self) -> None:
        self.open, self.asked = asyncio.Event(), asyncio.Event()

    async def resolve(self, name: str) -> tuple[str, ...] | Refusal:
        if name == "slow.test":
            self.asked.set()
            await self.open.wait()
        return ("127.0.0.1",)


@dataclass
class Standing:
    """The connections of one caller, open until they are cut."""

    w: World
    gate: Gate
    clients: dict[str, RawClient] = field(default_factory=dict)
    calls_cut: int = 0

    async def cut(self, code: Code) -> None:
        """All of them are cut with ``code``, and what they still try reaches nobody."""
        async with asyncio.timeout(20):
            await self.w.settled()
        connections, octets = len(self.w.upstream.connections), self.w.upstream.bytes_received
        for name, client in self.clients.items():
            await self._is_dead(name, client)
        self.gate.open.set()
        self.w.upstream.release.set()
        await self.w.upstream.until(lambda: all(each.closed.is_set() for each in self.w.upstream.connections))
        assert (len(self.w.upstream.connections), self.w.upstream.bytes_received) == (connections, octets)
        ids = {record.id for record in calls(self.w)}
        ends = [(each.result, each.code) for each in self.w.outcomes if each.decision_id in ids]
        assert ends == [("complete", "")] + [("cut", code)] * self.calls_cut, ends
        assert desk_outcomes(self.w)[-1] == ("cut", code)

    async def _is_dead(self, name: str, client: RawClient) -> None:
        with contextlib.suppress(*GONE):
            await client.send(b"x" * 100 if name == "upload" else inside(self.w, f"/after/{name}"))
        with contextlib.suppress(*GONE):
            rest = await everything(client)
            assert b"HTTP/1.1 " not in rest, name
            assert b"second" not in rest, name


@contextlib.asynccontextmanager
async def standing(w: World, gate: Gate, authorization: str, token: str) -> AsyncIterator[Standing]:
    """Open one connection of each kind, as whoever ``authorization`` is."""
    async with contextlib.AsyncExitStack() as stack:
        made = Standing(w, gate)

        async def connected(name: str, host: str = "api.test", *, tls: bool = True) -> RawClient:
            client = made.clients[name] = await stack.enter_async_context(await w.client())
            answer = await client.open_tunnel(f"{host}:{w.upstream.port}", authorization)
            assert answer.status == 200, (name, answer)
            if tls:
                await client.start_tls(host, cafile=w.keyring.ca_path)
            return client

        idle = await connected("idle")
        await idle.send(inside(w, "/idle"))
        assert (await idle.read_response()).status == 200
        await connected("before TLS", tls=False)
        for name, data in (
            ("sse", inside(w, "/sse")),
            ("download", inside(w, "/bytes?n=1000000000")),
            ("websocket", inside(w, "/websocket", *WEBSOCKET)),
        ):
            client = await connected(name)
            await client.send(data)
            assert (await client.read_head()).start[1] in {b"200", b"101"}, name
        upload = await connected("upload")
        await upload.send(inside(w, "/upload", "Content-Length: 1000", method="POST") + b"a few")
        waiting = await connected("waiting")
        await waiting.send(inside(w, "/slow"))
        await w.upstream.until(lambda: {"/upload", "/slow"} <= {got.path for got in w.upstream.requests})
        looking = await connected("look-up", "slow.test")
        await looking.send(inside(w, "/", host=f"slow.test:{w.upstream.port}"))
        await gate.asked.wait()
        made.calls_cut = 6
        desk = made.clients["desk"] = await stack.enter_async_context(await w.client())
        await desk.send(to_desk(token, "/end", "Content-Length: 1000", "Expect: 100-continue", method="POST"))
        assert (await desk.read_head()).start[1] == b"100"
        await desk.send(b"{")
        yield made
