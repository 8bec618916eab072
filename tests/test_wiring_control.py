"""Who is an operator: the admin token, tokens that settings describe, and never an agent."""

import time
from dataclasses import replace

import pytest

from proxy.errors import Code, Refusal
from proxy.identity.assertion import Issuer
from proxy.identity.claims import SessionClaims
from proxy.identity.jws import VerifyingKeys, sign_session
from proxy.identity.keyset import KeySet, parse_jwks
from proxy.identity.principal import Agent
from proxy.identity.proof import Trust
from proxy.identity.registry import Registry
from proxy.identity.revocation import Revocations
from proxy.identity.ways import Way, token
from proxy.settings import ControlSettings
from proxy.store.keyring import Keyring
from proxy.wiring_control import Operators
from tests.support.issuer import SmallIssuer

LOGIN = SmallIssuer("https://login.example", "gatepass", "ada", now=int(time.time()))
SETTINGS = {"operators": [{"issuer": "login", "claims": {"groups": "egress-admins"}}]}
GROUPS = {"groups": ["all", "egress-admins"], "robot": True}


def minted(**claims: object) -> bytes:
    """A token of this moment: the issuer is of the one in which the tests were read."""
    return replace(LOGIN, now=int(time.time())).mint(**claims)


class Published:
    """The issuer's keys are known."""

    def get(self, issuer: str) -> KeySet | None:
        keys = parse_jwks(LOGIN.document())
        assert isinstance(keys, KeySet)
        return keys if issuer == LOGIN.url else None

    async def want(self, issuer: str, key_id: str) -> None:
        raise AssertionError("the key is known")


async def authenticated(given: bytes, *ways: Way) -> str | Refusal:
    """What the operators say, where these are the ways of the agent ``coder``."""
    agents = Registry.of([Agent("coder", "production", "1", "a", "b")], {"coder": ways})
    issuer = Issuer("login", LOGIN.url, ("gatepass",), frozenset({"ES256"}), 3600)
    keys = Published()
    trust = Trust(VerifyingKeys(), "", "", {LOGIN.url: issuer}, frozenset(), "", keys)
    settings = ControlSettings.model_validate(SETTINGS)
    operators = Operators(settings, b"the-admin-token", trust, keys, Revocations, lambda: agents)
    return await operators.authenticate(given)


async def test_an_operator_is_known_by_issuer_and_subject():
    assert await authenticated(b"the-admin-token") == "admin"
    assert await authenticated(minted(**GROUPS)) == "login:ada"


@pytest.mark.parametrize(
    "way",
    [
        token("login", "ada", {}),
        token("login", None, {"robot": True}),
        token("login", "ada", {"groups": "all"}),
    ],
)
async def test_d13_a_token_that_is_an_agents_is_no_operators(way):
    refusal = await authenticated(minted(**GROUPS), way)
    assert refusal == Refusal(
        Code.AUTHENTICATION_UNSUITABLE, "ada of login is the agent coder, and no agent is an operator"
    )


@pytest.mark.parametrize(
    "way",
    [token("other", "ada", {}), token("login", "grace", {}), token("login", "ada", {"robot": False})],
)
async def test_an_agent_that_the_token_does_not_fit_is_somebody_else(way):
    assert await authenticated(minted(**GROUPS), way) == "login:ada"


async def test_others_are_strangers():
    stranger = await authenticated(minted(groups=["all"]))
    assert isinstance(stranger, Refusal)
    assert stranger.code is Code.AUTHENTICATION_UNSUITABLE
    unknown = await authenticated(b"a.b.c")
    assert isinstance(unknown, Refusal)
    assert unknown.code is Code.IDENTITY_INVALID


async def test_d13_a_session_token_is_no_operators(tmp_path):
    keyring, now = Keyring.open(tmp_path), int(time.time())
    claims = SessionClaims(keyring.issuer, "coder", keyring.audience, "jti", "t-1", now, now + 600, ())
    refusal = await authenticated(sign_session(claims, keyring.session_key).encode())
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.IDENTITY_INVALID
