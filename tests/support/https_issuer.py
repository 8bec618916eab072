"""A small OpenID Connect issuer over TLS: what it publishes, how it answers, and what it was asked."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import trustme
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from proxy.broker.guarded_http import GuardedHttp
from proxy.http.address import AllowPrivate
from tests.support.resolver import ScriptedResolver

HOST = "issuer.test"
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def jwk(key_id: str) -> dict[str, str]:
    """A new public key under this id, as published (RFC 7517)."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    made = ECAlgorithm.to_jwk(public, as_dict=True)
    return {**made, "kid": key_id, "use": "sig", "alg": "ES256"}


def jwks(*key_ids: str) -> bytes:
    """A JWK set with new keys of these ids."""
    return json.dumps({"keys": [jwk(key_id) for key_id in key_ids]}).encode()


class HttpsIssuer:
    """``async with HttpsIssuer() as issuer``: listens on 127.0.0.1 and calls itself ``issuer.test``.

    ``publish`` sets its keys; ``headers`` go out with them. ``answers`` replaces what a path answers,
    ``said`` members of its discovery document. ``held`` holds every answer back until ``release``.
    ``asked`` lists the paths in order, ``most`` is how many requests were under way at once.
    """

    def __init__(self, scheme: str = "https", host: str = HOST) -> None:
        self.scheme, self.host = scheme, host
        self.port = 0
        self.authority = trustme.CA()
        self.headers: dict[str, str] = {}
        self.answers: dict[str, Answer] = {}
        self.said: dict[str, object] = {}
        self.asked: list[str] = []
        self.seen: list[web.Request] = []
        self.most = 0
        self._now = 0
        self._go = asyncio.Event()
        self._go.set()
        self._keys = jwks()

    @property
    def url(self) -> str:
        """Its issuer URL."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def publish(self, *key_ids: str) -> None:
        """Publish new keys with these ids instead of what there was."""
        self._keys = jwks(*key_ids)

    def hold(self) -> None:
        self._go.clear()

    def release(self) -> None:
        self._go.set()

    def looks(self) -> int:
        """How often its keys were fetched."""
        return self.asked.count(JWKS)

    def client(self) -> ssl.SSLContext:
        """What a client needs in order to trust it."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def allowed(self) -> AllowPrivate:
        """The operator's word that it may be reached."""
        return AllowPrivate(self.host, "127.0.0.0/8", self.port)

    def resolver(self) -> ScriptedResolver:
        return ScriptedResolver({self.host: [("127.0.0.1",)]})

    def http(self, *allowed: AllowPrivate) -> GuardedHttp:
        """A client that may reach it."""
        return GuardedHttp(self.resolver(), self.client(), (self.allowed(), *allowed))

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        context = None
        if self.scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(self.host).configure_cert(context)
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.seen.append(request)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await self._go.wait()
            if (answer := self.answers.get(request.path)) is not None:
                return await answer(request)
            if request.path == DISCOVERY:
                return web.json_response({"issuer": self.url, "jwks_uri": self.url + JWKS} | self.said)
            if request.path == JWKS:
                return web.Response(body=self._keys, headers=self.headers)
            return web.Response(status=404)
        finally:
            self._now -= 1


async def failing(request: web.Request) -> web.StreamResponse:
    """An issuer that is out of order."""
    return web.Response(status=503)
