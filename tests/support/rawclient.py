"""A client that sends exactly the octets it is given, over real sockets, and reads answers strictly framed."""

import asyncio
import base64
import json
import ssl
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import Any, Self

from tests.support.call import reset
from tests.support.wire import Body, Head, Header, Malformed, read_head, response_body

WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, read to its end. ``informational`` are the 1xx heads that came before it."""

    head: Head
    body: bytes
    trailers: tuple[Header, ...]
    informational: tuple[Head, ...]

    @property
    def status(self) -> int:
        return int(self.head.start[1])

    @property
    def reason(self) -> str:
        return self.head.start[2].decode("latin-1")

    @property
    def headers(self) -> tuple[Header, ...]:
        return self.head.headers

    def get(self, name: str) -> str | None:
        """The first value of a header, or None."""
        value = self.head.get(name)
        return None if value is None else value.decode("latin-1")

    def json(self) -> Any:
        return json.loads(self.body)


def basic(user: str, password: str) -> str:
    """The value of ``Proxy-Authorization: Basic``."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class RawClient:
    """``async with await RawClient.connect(address) as client``. Every wait is bounded by ``WAIT_S``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._lost = False  # in a handshake: asyncio never tells the stream

    @classmethod
    async def connect(cls, address: tuple[str, int]) -> Self:
        async with asyncio.timeout(WAIT_S):
            return cls(*await asyncio.open_connection(*address))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, data: bytes) -> None:
        """Write and wait until the kernel has taken it."""
        self.writer.write(data)
        async with asyncio.timeout(WAIT_S):
            await self.writer.drain()

    async def read_head(self) -> Head:
        """The next response head alone (for streams and upgrades).

        :raises Malformed: if the connection closed instead.
        """
        async with asyncio.timeout(WAIT_S):
            head = await read_head(self.reader)
        if head is None:
            raise Malformed("closed without an answer")
        return head

    def body(self, head: Head, *, to_head: bool = False) -> Body:
        """The body after ``head``, to be iterated as it arrives."""
        return response_body(self.reader, head, to_head=to_head)

    async def read_response(self, *, to_head: bool = False) -> Response:
        """The next final answer, whole. ``to_head``: it answers a HEAD request."""
        informational: list[Head] = []
        while 100 <= int((head := await self.read_head()).start[1]) < 200 and head.start[1] != b"101":
            informational.append(head)
        body = self.body(head, to_head=to_head)
        async with asyncio.timeout(WAIT_S):
            content = await body.read()
        return Response(head, content, body.trailers, tuple(informational))

    async def read_some(self, limit: int = 65536) -> bytes:
        """Whatever is there next; empty at the end."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.read(limit)

    async def read_exactly(self, size: int) -> bytes:
        async with asyncio.timeout(WAIT_S):
            return await self.reader.readexactly(size)

    async def at_end(self) -> bool:
        """True if the peer closes (orderly or with a reset) without sending anything more."""
        try:
            return not await self.read_some(1)
        except (ConnectionError, ssl.SSLError):
            return True

    async def open_tunnel(
        self, authority: str, authorization: str | None = None, *headers: Header
    ) -> Response:
        """``CONNECT authority``; a 2xx answer has no body (RFC 9110, 9.3.6)."""
        lines = [b"CONNECT %s HTTP/1.1" % authority.encode(), b"Host: %s" % authority.encode()]
        if authorization is not None:
            lines.append(b"Proxy-Authorization: %s" % authorization.encode())
        lines += [b"%s: %s" % pair for pair in headers]
        await self.send(b"\r\n".join(lines) + b"\r\n\r\n")
        head = await self.read_head()
        if head.start[1].startswith(b"2"):
            return Response(head, b"", (), ())
        body = self.body(head)
        async with asyncio.timeout(WAIT_S):
            return Response(head, await body.read(), body.trailers, ())

    async def start_tls(
        self,
        server_hostname: str,
        *,
        cafile: str | PathLike[str] | None = None,
        cadata: bytes | str | None = None,
        verify: bool = True,
        sni: str | None = "",
        alpn: tuple[str, ...] = ("http/1.1",),
        context: ssl.SSLContext | None = None,
    ) -> ssl.SSLObject:
        """TLS on this connection, certificate checked against the CA and ``server_hostname``.

        ``sni`` sends another server name (None: none at all); then only the chain is checked.

        :raises ssl.SSLError: if the handshake or the check fails.
        """
        pem = cadata.decode() if isinstance(cadata, bytes) else cadata
        context = context or ssl.create_default_context(cafile=cafile, cadata=pem)
        context.check_hostname = verify and sni == ""
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        context.set_alpn_protocols(list(alpn))
        name = server_hostname if sni == "" else sni
        try:
            await self.writer.start_tls(context, server_hostname=name, ssl_handshake_timeout=WAIT_S)
        except BaseException:
            self._lost = True
            raise
        established: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        return established

    def half_close(self) -> None:
        """End our direction (TCP FIN); only on a connection without TLS."""
        self.writer.write_eof()

    def abort(self) -> None:
        """Drop the connection with RST."""
        reset(self.writer)

    async def close(self) -> None:
        if self._lost:
            self.writer.transport.abort()
            return
        self.writer.close()
        try:
            async with asyncio.timeout(WAIT_S):
                await self.writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            return  # the peer was faster
