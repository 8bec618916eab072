"""One GET over aiohttp to addresses that were vetted, and to no other (RFC 9110, 9.3.1)."""

import socket
import ssl
from collections.abc import Sequence

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from proxy import __version__
from proxy.broker.guarded_http import Page
from proxy.errors import Code, Refusal
from proxy.http.canonical import Host, Origin, Target

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"gatepass/{__version__}",
}
_OK = 200
_CHUNK = 65_536
_SHOWN = 200


class _Pinned(AbstractResolver):
    """Knows one host, and the addresses that were vetted for it."""

    def __init__(self, host: Host, addresses: Sequence[str]) -> None:
        self._host = host
        self._addresses = addresses

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - aiohttp's; all were vetted
    ) -> list[ResolveResult]:
        """See aiohttp. Another name has no addresses."""
        if host != self._host.name:
            raise OSError(f"{host} was not vetted")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """There is nothing to close."""


async def pinned_get(
    target: Target, addresses: Sequence[str], context: ssl.SSLContext, max_octets: int
) -> Page | Refusal:
    """What ``target`` answers at one of ``addresses``. When it takes too long is the caller's to say."""
    origin = target.origin
    url = URL.build(
        scheme=origin.scheme,
        authority=origin.authority,
        path=target.path.text,
        query_string=target.query or "",
        encoded=True,
    )
    connector = TCPConnector(resolver=_Pinned(origin.host, addresses), use_dns_cache=False, ssl=context)
    try:
        async with (
            ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                headers=_HEADERS,
                auto_decompress=False,
                timeout=ClientTimeout(total=None, sock_connect=None),
                trust_env=False,
            ) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            return await _read(origin, response, max_octets)
    except ClientConnectorCertificateError as error:
        return Refusal(Code.TLS_CERT, f"{origin}: {_line(error.certificate_error)}")
    except ClientSSLError as error:
        return Refusal(Code.TLS_UPSTREAM, f"{origin}: {_line(error.os_error)}")
    except ClientConnectorError as error:
        return Refusal(Code.CONNECT_FAILED, f"{origin}: {_line(error.os_error)}")
    except (ClientError, ValueError, OSError) as error:
        return Refusal(Code.UPSTREAM_PROTOCOL, f"{origin}: {type(error).__name__}: {_line(error)}")


def _line(error: Exception) -> str:
    """One line: aiohttp quotes what it cannot read."""
    return " ".join(str(error).split())[:_SHOWN]


async def _read(origin: Origin, response: ClientResponse, max_octets: int) -> Page | Refusal:
    if response.status != _OK:
        return Refusal(Code.UPSTREAM_PROTOCOL, f"{origin} answered with status {response.status}, not 200")
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding != "identity":
        return Refusal(Code.UPSTREAM_PROTOCOL, f"{origin} answered in a content coding: {coding[:40]!r}")
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > max_octets:
            return Refusal(Code.UPSTREAM_PROTOCOL, f"{origin} answered more than {max_octets} octets")
    cache_control = ", ".join(response.headers.getall("Cache-Control", ()))
    return Page(bytes(body), cache_control, response.headers.get("Age", ""))
