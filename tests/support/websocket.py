"""WebSocket frames by hand (RFC 6455): enough for a client and an echo server, and every bit visible."""

import asyncio
import base64
import hashlib
from dataclasses import dataclass

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def accept_key(key: bytes) -> bytes:
    """``Sec-WebSocket-Accept`` for a ``Sec-WebSocket-Key`` (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, unmasked; ``rsv1`` is set on compressed messages."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv1: bool = False
    masked: bool = False

    def encode(self, mask: bytes | None = None) -> bytes:
        """The frame as sent; a client passes four octets of ``mask``."""
        first = self.opcode | (0x80 if self.fin else 0) | (0x40 if self.rsv1 else 0)
        flag, size = (0x80 if mask else 0), len(self.payload)
        if size < 126:
            head = bytes([first, flag | size])
        elif size < 1 << 16:
            head = bytes([first, flag | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([first, flag | 127]) + size.to_bytes(8, "big")
        return head + (mask + xor(self.payload, mask) if mask else self.payload)


def xor(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    stream = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame, or None where the peer closed between frames."""
    try:
        first, second = await reader.readexactly(2)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    mask = await reader.readexactly(4) if second & 0x80 else None
    payload = await reader.readexactly(size)
    return Frame(
        first & 0x0F,
        xor(payload, mask) if mask else payload,
        fin=bool(first & 0x80),
        rsv1=bool(first & 0x40),
        masked=mask is not None,
    )
