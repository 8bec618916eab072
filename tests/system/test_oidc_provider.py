"""Tokens of a real OpenID Connect provider, under keys that gatepass fetches from it, through rotations."""

import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.broker.guarded_http import GuardedHttp
from proxy.broker.jwks import IssuerKeys, Source
from proxy.errors import Code, Refusal
from proxy.http.address import AllowPrivate
from proxy.identity.assertion import Issuer, KeysWanted, SignedAssertion, verify_oidc
from tests.support.oidc_provider import OidcProvider, installed, missing
from tests.support.resolver import ScriptedResolver

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

AUDIENCE = "https://gatepass.test/egress/7"
CLIENTS = {"coder": "RS256", "reviewer": "ES256"}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory)


class Desk:
    """A provider, its keys as gatepass has them, and a clock of their own."""

    def __init__(self, provider: OidcProvider) -> None:
        self.provider = provider
        self.elapsed = 0.0
        self.alarms: list[str] = []
        allowed = AllowPrivate("127.0.0.1", "127.0.0.1/32", provider.port)
        self.keys = IssuerKeys(
            [Source(provider.issuer)],
            GuardedHttp(ScriptedResolver({}), ssl.create_default_context(), [allowed]),
            now=lambda: self.elapsed,
            alarm=self.alarms.append,
        )

    def verify(self, token: str, audience: str = AUDIENCE) -> SignedAssertion | Refusal | KeysWanted:
        issuer = Issuer("real", self.provider.issuer, (audience,), frozenset({"RS256", "ES256"}), 3_600)
        return verify_oidc(token.encode(), issuer, self.keys.get(issuer.url), int(time.time()))

    async def want_key_of(self, token: str) -> None:
        wanted = self.verify(token)
        assert isinstance(wanted, KeysWanted), wanted
        assert wanted.key_id in self.provider.keys
        await self.keys.want(wanted.issuer, wanted.key_id)


@pytest.fixture
async def desk(home: Path) -> AsyncIterator[Desk]:
    async with OidcProvider(home, CLIENTS) as provider:
        running = Desk(provider)
        await running.keys.start()
        yield running
        await running.keys.close()


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_token_verifies_under_the_keys_that_were_fetched(desk: Desk, client: str):
    token = await desk.provider.token(client, AUDIENCE)

    verified = desk.verify(token)

    assert isinstance(verified, SignedAssertion), verified
    assert (verified.issuer, verified.subject) == (desk.provider.issuer, client)
    assert verified.claims["client_id"] == client
    assert verified.evidence.key_id in desk.provider.keys
    assert verified.evidence.key_id.startswith(CLIENTS[client])
    keys = desk.keys.get(desk.provider.issuer)
    assert keys is not None
    assert verified.evidence.keys_sha256 == keys.sha256
    assert verified.evidence.token_id == verified.claims["jti"]
    assert desk.alarms == []


async def test_a_token_for_somebody_else_does_not(desk: Desk):
    token = await desk.provider.token("coder", "https://elsewhere.test/")

    refused = desk.verify(token)

    assert isinstance(refused, Refusal)
    assert refused.code is Code.IDENTITY_INVALID


async def test_rotation_needs_one_look_and_old_tokens_live_on(desk: Desk):
    before = await desk.provider.token("coder", AUDIENCE)
    await desk.provider.rotate(keep=True)
    after = await desk.provider.token("coder", AUDIENCE)

    await desk.want_key_of(after)

    assert isinstance(desk.verify(after), SignedAssertion)
    assert isinstance(desk.verify(before), SignedAssertion)


async def test_tokens_under_a_withdrawn_key_are_refused_once_that_is_known(desk: Desk):
    before = await desk.provider.token("reviewer", AUDIENCE)
    assert isinstance(desk.verify(before), SignedAssertion)
    await desk.provider.rotate(keep=False)
    after = await desk.provider.token("reviewer", AUDIENCE)

    await desk.want_key_of(after)

    assert isinstance(desk.verify(after), SignedAssertion)
    assert isinstance(desk.verify(before), KeysWanted)


async def test_two_rotations_in_a_row_are_two_looks_thirty_seconds_apart(desk: Desk):
    await desk.provider.rotate(keep=True)
    await desk.want_key_of(await desk.provider.token("coder", AUDIENCE))
    await desk.provider.rotate(keep=True)
    latest = await desk.provider.token("coder", AUDIENCE)

    await desk.want_key_of(latest)
    assert isinstance(desk.verify(latest), KeysWanted)
    desk.elapsed += 30
    await desk.want_key_of(latest)

    assert isinstance(desk.verify(latest), SignedAssertion)
