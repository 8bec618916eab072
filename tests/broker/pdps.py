"""Policy decision points of a few lines: real HTTP servers that answer as they are told to, or misbehave."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Pdp:
    """What it was asked, and the heads of the requests."""

    port: int = 0
    asked: list = field(default_factory=list)
    heads: list = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/data/gatepass/decision"


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def said(answer: object) -> bytes:
    return http(json.dumps(answer).encode(), "200 OK", "Content-Type: application/json")


@contextlib.asynccontextmanager
async def pdp(*answers: bytes | None, keep: bool = True) -> AsyncIterator[Pdp]:
    """Answers one after the other, the last one for ever; None says nothing. Not ``keep``: closes after each."""
    seen, queue, open_ones = Pdp(), list(answers), set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        open_ones.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                seen.heads.append(head)
                length = next(
                    int(line.split(":")[1])
                    for line in head.lower().splitlines()
                    if line.startswith("content-length")
                )
                seen.asked.append(json.loads(await reader.readexactly(length)))
                answer = queue.pop(0) if len(queue) > 1 else queue[0]
                if answer is None:
                    await reader.read()  # until the other side has had enough
                    break
                writer.write(answer)
                await writer.drain()
                if not keep:
                    break
        open_ones.discard(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for writer in open_ones:
            writer.close()
        await server.wait_closed()
