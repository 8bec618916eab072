"""A small working world of identity: agents that can prove themselves in every way, and who believes them."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.errors import Code, Refusal
from proxy.identity import ways
from proxy.identity.arrival import Arrival, Certificate, Fixed, Process
from proxy.identity.assertion import Issuer, KeysWanted
from proxy.identity.attribution import Attributor, Unfit
from proxy.identity.claims import SessionClaims
from proxy.identity.jws import SigningKey, VerifyingKeys, sign_session
from proxy.identity.keyset import KeySet, parse_bundle, parse_jwks
from proxy.identity.presented import Presented
from proxy.identity.principal import Agent, Method, Principal, Task
from proxy.identity.proof import Trust
from proxy.identity.registry import Registry
from proxy.identity.revocation import Kind, Order, Revocations
from proxy.identity.ways import Way
from tests.identity.families import HOUR, NOW, Family, agent
from tests.support.certificates import SpiffeAuthority
from tests.support.issuer import SmallIssuer

ISSUER = SmallIssuer("https://issuer.example", "gatepass", "nobody")
AUDIENCE = "spiffe://example.org/gatepass"
DOMAIN = "spiffe://example.org"
WORKLOADS = SmallIssuer(DOMAIN, AUDIENCE, f"{DOMAIN}/nobody", use="jwt-svid", headers={"typ": "JWT"})
AUTHORITY = SpiffeAuthority("example.org")
UIDS = {"lead": 1000, "coder": 1001, "tester": 1002}


def known_by(name: str) -> tuple[Way, ...]:
    """Every way there is."""
    return (
        Way(Method.SESSION),
        Way(Method.LISTENER),
        ways.token("github", f"repo:{name}", {}),
        ways.svid(f"{DOMAIN}/{name}", Method.JWT_SVID),
        ways.svid(f"{DOMAIN}/{name}", Method.X509_SVID),
        ways.process(UIDS[name], f"/bin/{name}"),
    )


@cache
def leaf(name: str, life: int = HOUR) -> bytes:
    """The certificate of an agent."""
    begins, ends = (dt.datetime.fromtimestamp(seconds, dt.UTC) for seconds in (NOW, NOW + life))
    made = AUTHORITY.sign(f"{DOMAIN}/{name}", not_before=begins, not_after=ends)
    return made.public_bytes(Encoding.DER)


def bundle(workloads: SmallIssuer = WORKLOADS, *authorities: SpiffeAuthority) -> KeySet:
    """The bundle of the trust domain, with ``AUTHORITY`` unless others are given."""
    keys = parse_bundle(workloads.document())
    assert isinstance(keys, KeySet), keys
    return replace(keys, authorities=tuple(der(one) for one in authorities or (AUTHORITY,)))


def der(authority: SpiffeAuthority) -> bytes:
    return authority.certificate.public_bytes(Encoding.DER)


class Registered:
    """A registry that can change. Implements ``known.KnownAgents``."""

    def __init__(self) -> None:
        self.by_id: dict[str, Agent] = {}
        self.ways: dict[str, Sequence[Way]] = {}

    def __getattr__(self, name: str):
        return getattr(Registry.of(self.by_id.values(), self.ways), name)


class Keys:
    """The keys of foreign issuers, which can change. Implements ``proof.ForeignKeys``."""

    def __init__(self) -> None:
        self.sets: dict[str, KeySet] = {}

    def get(self, issuer: str) -> KeySet | None:
        return self.sets.get(issuer)

    def publish(self, issuer: str, keys: KeySet | str) -> None:
        assert isinstance(keys, KeySet), keys
        self.sets[issuer] = keys


class World(Family):
    """Agents ``lead``, ``coder`` and ``tester``, a standing task each, and an ``Attributor``."""

    def __init__(self, environment: str = "development") -> None:
        super().__init__()
        self.agents = Registered()
        for name in UIDS:
            self.agents.by_id[name] = agent(name, environment)
            self.agents.ways[name] = known_by(name)
        private = Ed25519PrivateKey.generate()
        self.key = SigningKey.of(private)
        self.keys = Keys()
        self.keys.publish(ISSUER.url, parse_jwks(ISSUER.document()))
        self.keys.publish(DOMAIN, bundle())
        self.revocations = Revocations()
        self.standing = {name: self.begin(name, environment=environment, nonce="0" * 32).id for name in UIDS}
        self.attributor = Attributor(
            Trust(
                VerifyingKeys(private.public_key()),
                "here",
                "here",
                {ISSUER.url: Issuer("github", ISSUER.url, ("gatepass",), frozenset({"ES256"}), 3600)},
                frozenset({DOMAIN}),
                AUDIENCE,
                self.keys,
            ),
            self.agents,
            self.tasks,
            standing=self.standing,
            revocations=lambda: self.revocations,
            cache_size=3,
        )

    def task_of(self, name: str) -> Task:
        """The standing task."""
        return self.tasks.by_id[self.standing[name]]

    def session(self, task: Task, user: str = "", **changes: object) -> Presented:
        """A token of this sidecar."""
        claims = SessionClaims("here", task.agent, "here", "j1", task.id, NOW, task.expires_at, task.scopes)
        return Presented("basic", sign_session(replace(claims, **changes), self.key).encode(), user)

    def token(self, method: Method, name: str, user: str = "") -> Presented:
        """A token of an agent, of this kind."""
        if method is Method.SESSION:
            return self.session(self.task_of(name), user)
        if method is Method.OIDC:
            return Presented("bearer", ISSUER.mint(sub=f"repo:{name}"), user)
        return Presented("bearer", WORKLOADS.mint(sub=f"{DOMAIN}/{name}", iss=...), user)

    def arrival(self, *, listener: str = "", process: str = "", certificate: str = "") -> Arrival:
        """A connection with what it proves of these agents."""
        return Arrival(
            "127.0.0.1:40000",
            "127.0.0.1",
            Fixed(listener, self.standing[listener]) if listener else None,
            Process(UIDS[process], 4711, f"/bin/{process}") if process else None,
            Certificate(leaf(certificate), "example.org", crl=False, authorities=(der(AUTHORITY),))
            if certificate
            else None,
        )

    def order(self, kind: Kind, identity: str) -> None:
        """Revoke."""
        order = Order(kind, identity, "a drill", "cli", NOW * 10**9)
        self.revocations = Revocations([*self.revocations, order])

    def ask(
        self, token: Presented | None = None, arrival: Arrival | None = None, now: int = NOW
    ) -> Principal | Unfit | Refusal | KeysWanted:
        return self.attributor.attribute(arrival or self.arrival(), token, now)

    def code(
        self, token: Presented | None = None, arrival: Arrival | None = None, now: int = NOW
    ) -> Code | None:
        """Why not; None if there is a principal."""
        found = self.ask(token, arrival, now)
        if isinstance(found, Principal):
            return None
        assert not isinstance(found, KeysWanted)
        return found.refusal.code if isinstance(found, Unfit) else found.code
