"""A real OpenID Connect provider: npm's ``oidc-provider``, pinned in ``tests/support/oidc``, as a process.

It listens on 127.0.0.1, issues JWT access tokens for client credentials, and rotates its keys when told to.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import aiohttp
import pytest

from tests.support import from_npm
from tests.support.from_npm import missing

__all__ = ["OidcProvider", "installed", "missing"]

SOURCE = Path(__file__).parent / "oidc"
WAIT_S = 60.0
_SECRET = "the-secret-of-a-client-in-a-test"


def installed(factory: pytest.TempPathFactory) -> Path:
    """Where the provider is installed: once for the whole run, however many workers it has."""
    return from_npm.installed(factory, SOURCE)


class OidcProvider:
    """``async with OidcProvider(installed(factory), {"coder": "RS256"}) as provider``.

    ``clients`` maps a client's id to the algorithm (RS256 or ES256) that its tokens are signed with; the id
    is the ``sub`` and the ``client_id`` of its tokens. ``issuer`` is the provider's URL, ``keys`` are the
    ids of the keys that sign now.
    """

    def __init__(self, home: Path, clients: Mapping[str, str]) -> None:
        self._home = home
        self._clients = [
            {"id": client, "secret": _SECRET, "algorithm": algorithm} for client, algorithm in clients.items()
        ]
        self.issuer = ""
        self.keys: tuple[str, ...] = ()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self.issuer.rpartition(":")[2])

    async def rotate(self, *, keep: bool) -> None:
        """Sign with new keys from now on. ``keep``: go on publishing the old ones, else withdraw them."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"keep": keep}).encode() + b"\n")
        await self._process.stdin.drain()
        await self._told()

    async def token(self, client: str, audience: str) -> str:
        """A new access token of this client for this audience, which is an absolute URI."""
        form = {"grant_type": "client_credentials", "resource": audience}
        pair = f"{quote(client, safe='')}:{_SECRET}".encode()  # RFC 6749, section 2.3.1
        headers = {"Authorization": "Basic " + base64.b64encode(pair).decode()}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(self.issuer + "/token", data=form) as response,
        ):
            answer = await response.json()
            assert response.status == 200, answer
        token = answer["access_token"]
        assert isinstance(token, str)
        return token

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *("node", "server.mjs", json.dumps(self._clients)),
            cwd=self._home,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await self._told()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _told(self) -> None:
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            line = await self._process.stdout.readline()
            if not line:
                _, said = await self._process.communicate()
                raise AssertionError(f"the provider ended: {said.decode()}")
        told = json.loads(line)
        self.issuer, self.keys = told["issuer"], tuple(told["keys"])

    async def _end(self) -> None:
        """It ends with its standard input; if not, it is killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.communicate()
