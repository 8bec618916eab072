"""A link with a round-trip time, in front of the API: every octet takes half a round trip each way.

The kernel sets up the connection over loopback at once, where a real one takes a round trip: so the
client's first octets wait for one full round trip before they start on their way. A fresh connection
therefore costs what it costs over a real link: one round trip for TCP, one for TLS 1.3, one for the
request. Nothing is throttled: whatever is due is passed on whole.

Run as ``python -m bench.link PORT API_PORT ROUND_TRIP_MS``.
"""

import asyncio
import sys
from collections import deque
from functools import partial
from typing import cast

import uvloop


class Delayed:
    """One direction: octets go in at any time and come out ``delay`` later, in order, then the end."""

    def __init__(self, delay: float, opens_at: float) -> None:
        self._delay = delay
        self._opens_at = opens_at
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes]] = deque()
        self._out: asyncio.Transport | None = None

    def put(self, data: bytes) -> None:
        """Take octets in; ``b""`` is the end."""
        due = max(self._loop.time(), self._opens_at) + self._delay
        self._queue.append((due, data))
        if len(self._queue) == 1:
            self._loop.call_at(due, self._flush)

    def attach(self, out: asyncio.Transport) -> None:
        self._out = out

    def _flush(self) -> None:
        # uvloop's timers count whole milliseconds and may be early by a fraction of one.
        now = self._loop.time() + 0.0005
        while self._queue and self._queue[0][0] <= now:
            _, data = self._queue.popleft()
            if self._out is None or self._out.is_closing():
                self._queue.clear()
                return
            if data:
                self._out.write(data)
            else:
                self._out.close()
        if self._queue:
            self._loop.call_at(self._queue[0][0], self._flush)


class End(asyncio.Protocol):
    """One end of the link: what it receives goes into ``forth``; ``back`` comes out here."""

    def __init__(self, forth: Delayed, back: Delayed) -> None:
        self._forth = forth
        self._back = back

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._back.attach(cast("asyncio.Transport", transport))  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        self._forth.put(data)

    def connection_lost(self, _reason: Exception | None) -> None:
        self._forth.put(b"")


class Near(End):
    """The client's end; it dials the API at once, so that the far end is there when octets arrive."""

    def __init__(self, api_port: int, round_trip: float) -> None:
        loop = asyncio.get_running_loop()
        there = Delayed(round_trip / 2, loop.time() + round_trip)
        back = Delayed(round_trip / 2, 0)
        super().__init__(there, back)
        self._dial = loop.create_task(self._connect(api_port, there, back))

    async def _connect(self, api_port: int, there: Delayed, back: Delayed) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: End(back, there), "127.0.0.1", api_port)


async def serve(port: int, api_port: int, round_trip: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Near, api_port, round_trip), "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    listen, target, milliseconds = map(int, sys.argv[1:4])
    uvloop.run(serve(listen, target, milliseconds / 1000))
