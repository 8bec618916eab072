"""A switched connection (RFC 9110, 7.8; RFC 6455): octets both ways, frames untouched, until one side ends.

The decision was taken on the handshake. When one side ends its direction the other may finish its
own for a moment; then both are closed.
"""

import asyncio

from proxy.engine.head import Reading
from proxy.engine.wire import Wire

_FAREWELL = 10.0


async def splice(down: Reading, up: Reading) -> None:
    """Relay until both directions ended. Raises as ``Wire.read``."""
    loop = asyncio.get_running_loop()
    pumps = [loop.create_task(_pump(down, up.wire)), loop.create_task(_pump(up, down.wire))]
    try:
        done, waiting = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in done:
            pump.result()
        if waiting:
            done, _ = await asyncio.wait(waiting, timeout=_FAREWELL)
            for pump in done:
                pump.result()
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)
        for pump in pumps:
            if not pump.cancelled():
                pump.exception()  # seen above, or a late echo of the first end


async def _pump(source: Reading, sink: Wire) -> None:
    while True:
        data = await source.some()
        if not data:
            sink.end()
            return
        sink.write(data)
        if not sink.writable:
            await sink.drain()
