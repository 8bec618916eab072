"""One proof of identity each: what the socket, the certificate and the token say, before they are compared.

A ``Proof`` names an agent, and perhaps a task, on one piece of verified evidence. Whether the agent may
prove itself this way, and whether all proofs agree, is asked in ``attribution``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import Code, Refusal
from proxy.identity import jws
from proxy.identity.arrival import Certificate, Process
from proxy.identity.assertion import Issuer, KeysWanted, Peek, SignedAssertion, peek, verify_oidc
from proxy.identity.jws import LEEWAY_S, SignedClaims, VerifyingKeys, verify_session
from proxy.identity.keyset import KeySet
from proxy.identity.known import KnownAgents
from proxy.identity.principal import Actor, Agent, Evidence, Method
from proxy.identity.spiffe import SCHEME
from proxy.identity.svid import still_believed, trust_domain_of, verify_certificate, verify_jwt_svid


class ForeignKeys(Protocol):
    """The keys of foreign issuers, from memory."""

    def get(self, issuer: str) -> KeySet | None:
        """The keys that may be used now, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe. ``issuers`` by URL; ``trust_domains`` by SPIFFE ID (``spiffe://example.org``).

    ``session_audience`` is what session tokens name, ``audience`` what JWT-SVIDs name.
    """

    session_keys: VerifyingKeys
    session_issuer: str
    session_audience: str
    issuers: Mapping[str, Issuer]
    trust_domains: frozenset[str]
    audience: str
    keys: ForeignKeys


@dataclass(frozen=True, slots=True)
class Proof:
    """What one piece of evidence says, from ``since`` to before ``until`` (POSIX seconds).

    ``scopes`` are those that a session token repeats from its task; ``keys`` are the issuer and the keys
    that it was verified with: it says nothing any more once the issuer has others, or none.
    """

    agent: str
    evidence: Evidence
    since: int
    until: int
    task: str | None = None
    scopes: tuple[str, ...] | None = None
    actors: tuple[Actor, ...] = ()
    keys: tuple[str, KeySet] | None = None


FOREVER = 1 << 62


def of_listener(agent: str, issuer: str) -> Proof:
    """The proof that a listener with a fixed identity gives."""
    return Proof(agent, Evidence(Method.LISTENER, issuer), 0, FOREVER)


def of_process(process: Process, agents: KnownAgents) -> Proof | Refusal | None:
    """The proof that the kernel gives; None if no agent is known by this process."""
    found = agents.by_process(process.uid, process.executable)
    words = f"uid={process.uid} pid={process.pid} exe={process.executable}"
    if not found:
        return None
    agent = _one(found, f"the process ({words})")
    if isinstance(agent, Refusal):
        return agent
    return Proof(agent.id, Evidence(Method.UNIX, "kernel", token_id=words), 0, FOREVER)


def of_certificate(certificate: Certificate, trust: Trust, agents: KnownAgents, now: int) -> Proof | Refusal:
    """The proof that the client certificate of the connection gives."""
    domain = SCHEME + certificate.trust_domain
    bundle = trust.keys.get(domain)
    if bundle is None:
        return Refusal(Code.IDENTITY_INVALID, f"the trust bundle of {domain} was withdrawn")
    if not still_believed(certificate, bundle.authorities):
        words = (
            f"the authority of the client's certificate is no longer in the bundle of {domain}; connect anew"
        )
        return Refusal(Code.IDENTITY_INVALID, words)
    assertion = verify_certificate(certificate, now, certificate.max_life)
    if isinstance(assertion, Refusal):
        return assertion
    agent = _one(agents.by_spiffe_id(assertion.subject, Method.X509_SVID), assertion.subject)
    return agent if isinstance(agent, Refusal) else _asserted(agent, assertion, (domain, bundle))


def of_token(token: bytes, trust: Trust, agents: KnownAgents, now: int) -> Proof | Refusal | KeysWanted:
    """The proof that a token gives: one of ours, of a configured issuer, or a JWT-SVID."""
    if trust.issuers or trust.trust_domains:
        seen = peek(token)
        if isinstance(seen, Peek) and seen.typ != jws.TYPE:
            return _foreign(token, seen, trust, agents, now)
    signed = verify_session(
        token, trust.session_keys, issuer=trust.session_issuer, audience=trust.session_audience, now=now
    )
    return signed if isinstance(signed, Refusal) else _session(signed)


def _session(signed: SignedClaims) -> Proof:
    claims = signed.claims
    evidence = Evidence(
        Method.SESSION,
        claims.issuer,
        key_id=signed.key_id,
        token_id=claims.token_id,
        token_sha256=signed.token_sha256,
    )
    since, until = claims.issued_at - LEEWAY_S, claims.expires_at + LEEWAY_S
    return Proof(claims.subject, evidence, since, until, claims.task, claims.scopes)


def _foreign(
    token: bytes, seen: Peek, trust: Trust, agents: KnownAgents, now: int
) -> Proof | Refusal | KeysWanted:
    issuer = trust.issuers.get(seen.issuer)
    if issuer is not None:
        name, keys = issuer.url, trust.keys.get(issuer.url)
        verified = verify_oidc(token, issuer, keys, now)
        if not isinstance(verified, SignedAssertion):
            return verified
        found = agents.by_token(issuer.name, verified.subject, verified.claims)
        agent = _one(found, f"the token of issuer {issuer.name} with subject {verified.subject}")
    else:
        domain = trust_domain_of(seen.subject) if seen.subject.startswith(SCHEME) else ""
        if domain not in trust.trust_domains:
            return Refusal(Code.IDENTITY_INVALID, "the token is of an issuer that is not configured here")
        name, keys = domain, trust.keys.get(domain)
        verified = verify_jwt_svid(token, domain, keys, trust.audience, now)
        if not isinstance(verified, SignedAssertion):
            return verified
        agent = _one(agents.by_spiffe_id(verified.subject, Method.JWT_SVID), verified.subject)
    assert keys is not None, "nothing verifies without keys"
    return agent if isinstance(agent, Refusal) else _asserted(agent, verified, (name, keys))


def _asserted(agent: Agent, assertion: SignedAssertion, keys: tuple[str, KeySet]) -> Proof:
    since, until = assertion.not_before, assertion.expires_at
    return Proof(agent.id, assertion.evidence, since, until, actors=assertion.actors, keys=keys)


def _one(found: tuple[Agent, ...], what: str) -> Agent | Refusal:
    if len(found) == 1:
        return found[0]
    if not found:
        return Refusal(Code.AGENT_UNKNOWN, f"no agent in rules/agents.yaml is known by {what}")
    names = ", ".join(agent.id for agent in found)
    return Refusal(Code.IDENTITY_CONFLICT, f"{what} fits more than one agent: {names}")
