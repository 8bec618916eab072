"""POST to a policy decision point over aiohttp, on connections that are kept (RFC 9110).

This client is the operator's, for one URL that the operator has configured: it does not pass the guard of
agents' calls, follows no redirect, keeps no cookie, uses no proxy and reads no more than MAX_ANSWER octets.
A question has no effect where it is asked, so it is asked a second time if the connection was kept and
turns out to be closed.
"""

import base64
import ssl

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
)
from yarl import URL

from proxy import __version__
from proxy.broker.answer import Failure

MAX_ANSWER = 8_192
_OK = 200
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": f"gatepass/{__version__}",
}
_SHOWN = 200


class PdpClient:
    """One decision point. Made on the event loop that uses it."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        """User and password in ``url`` become Basic authorization.

        :raises ValueError: if it is no URL.
        """
        parsed = URL(url)
        self._url = parsed.with_user(None)
        self._basic: dict[str, str] = {}
        if parsed.user is not None:
            pair = f"{parsed.user}:{parsed.password or ''}".encode()
            self._basic = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        self._session = ClientSession(
            connector=TCPConnector(ssl=context),
            cookie_jar=DummyCookieJar(),
            headers=_HEADERS,
            auto_decompress=False,
            timeout=ClientTimeout(total=None, sock_connect=None),
            trust_env=False,
        )

    async def ask(self, body: bytes, token: str | None) -> bytes | Failure:
        """The content of an answer with status 200. How long that takes is the caller's to bound."""
        try:
            try:
                return await self._once(body, token)
            except (ServerDisconnectedError, ClientOSError) as error:
                if isinstance(error, ClientConnectorError):
                    raise
                return await self._once(body, token)
        except ClientSSLError as error:
            return Failure(f"TLS: {_line(error)}")
        except ClientConnectorError as error:
            return Failure(f"no connection: {_line(error.os_error)}")
        except (ClientError, ValueError, OSError) as error:
            return Failure(f"{type(error).__name__}: {_line(error)}")

    async def close(self) -> None:
        """Close what is kept."""
        await self._session.close()

    async def _once(self, body: bytes, token: str | None) -> bytes | Failure:
        headers = self._basic if token is None else {"Authorization": f"Bearer {token}"}
        async with self._session.post(
            self._url, data=body, headers=headers, allow_redirects=False
        ) as response:
            return await _read(response)


async def _read(response: ClientResponse) -> bytes | Failure:
    body = bytearray()
    async for chunk in response.content.iter_chunked(MAX_ANSWER):
        body += chunk
        if len(body) > MAX_ANSWER:
            response.close()
            return Failure(f"the answer is longer than {MAX_ANSWER} octets", bytes(body))
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if response.status != _OK:
        return Failure(f"the answer has status {response.status}, not 200", bytes(body))
    if coding != "identity":
        return Failure(f"the answer is in a content coding: {coding[:40]!r}")
    return bytes(body)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:_SHOWN]
