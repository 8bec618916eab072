"""The API that is called: HTTP/1.1 over TLS on uvloop and httptools, 1 KiB answers.

``GET /`` answers 1,024 octets. ``GET /download?bytes=N`` streams N. ``GET /stream`` sends a short piece
every ``BEAT_S``, as a model that thinks aloud does, and never ends. Anything but
``Authorization: Bearer <the real key>`` is answered 401, so a 200 proves that the credential arrived.
Run as ``python -m bench.api PORT CERTIFICATE KEY``; the key of the API is read from ``BENCH_API_KEY``.
"""

import asyncio
import os
import ssl
import sys
from functools import partial
from typing import cast
from urllib.parse import parse_qs

import httptools
import uvloop

BODY = b"x" * 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
ANSWER = OK % len(BODY) + BODY
DENIED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
BLOCK = memoryview(bytes(256 * 1024))
BEAT_S = 0.1
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"e\r\ndata: a word\n\n\r\n"


class Session(asyncio.Protocol):
    """One connection. Requests are answered in order; a download finishes before the next is read."""

    def __init__(self, bearer: bytes) -> None:
        self._bearer = bearer
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._authorized = False
        self._left = 0  # octets of the download still to be sent
        self._writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._url, self._authorized = b"", False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._authorized = value == self._bearer

    def on_message_complete(self) -> None:
        if not self._authorized:
            self._transport.write(DENIED)
        elif self._url == b"/":
            self._transport.write(ANSWER)
        elif self._url == b"/stream":
            self._transport.write(STREAM)
            self._beat()
        else:
            query = parse_qs(self._url.partition(b"?")[2])
            self._left = int(query[b"bytes"][0])
            self._transport.write(OK % self._left)
            self._pump()

    def _pump(self) -> None:
        while self._left and self._writable:
            piece = BLOCK[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)

    def _beat(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(PIECE)
            asyncio.get_running_loop().call_later(BEAT_S, self._beat)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._pump()

    def connection_lost(self, _reason: Exception | None) -> None:
        self._left = 0


async def serve(port: int, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    bearer = b"Bearer " + os.environb[b"BENCH_API_KEY"]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Session, bearer), "127.0.0.1", port, ssl=context, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), *sys.argv[2:4]))
