"""One proof each: what the socket, the kernel, the certificate and the token say by themselves."""

from dataclasses import replace

import pytest

from proxy.errors import Code, Refusal
from proxy.identity.arrival import Certificate, Process
from proxy.identity.assertion import SKEW_S, KeysWanted
from proxy.identity.jws import LEEWAY_S
from proxy.identity.principal import Actor, Evidence, Method
from proxy.identity.proof import FOREVER, Proof, of_certificate, of_listener, of_process, of_token
from tests.identity.callers import AUDIENCE, AUTHORITY, DOMAIN, ISSUER, WORKLOADS, World, bundle, der, leaf
from tests.identity.families import HOUR, NOW


@pytest.fixture
def world():
    return World()


@pytest.fixture
def trust(world):
    return world.attributor._trust


def test_a_listener_says_its_agent_for_ever():
    assert of_listener("coder", "here") == Proof("coder", Evidence(Method.LISTENER, "here"), 0, FOREVER)


def test_the_kernel_says_what_it_knows(world):
    process = Process(1001, 7, "/bin/coder")
    proof = of_process(process, world.agents)
    evidence = Evidence(Method.UNIX, "kernel", token_id="uid=1001 pid=7 exe=/bin/coder")
    assert proof == Proof("coder", evidence, 0, FOREVER)
    for other in (Process(1002, 7, "/bin/coder"), Process(1001, 7, ""), Process(0, 7, "/bin/coder")):
        assert of_process(other, world.agents) is None
    world.agents.ways["tester"] = world.agents.ways["coder"]
    refusal = of_process(process, world.agents)
    assert refusal.code is Code.IDENTITY_CONFLICT
    assert "coder, tester" in refusal.detail


def test_a_session_token_says_agent_task_and_scopes(world, trust):
    task = world.task_of("coder")
    proof = of_token(world.session(task).token, trust, world.agents, NOW)
    assert (proof.agent, proof.task, proof.scopes) == ("coder", task.id, task.scopes)
    assert (proof.since, proof.until) == (NOW - LEEWAY_S, NOW + HOUR + LEEWAY_S)
    assert (proof.evidence.method, proof.keys, proof.actors) == (Method.SESSION, None, ())


@pytest.mark.parametrize("issuers", [True, False])
def test_rubbish_is_no_session_token_of_ours_whoever_else_is_believed(world, trust, issuers):
    believed = trust if issuers else replace(trust, issuers={}, trust_domains=frozenset())
    for token in (
        b"",
        b"a.b.c",
        b"rubbish",
        b"\xff" * 20_000,
        world.session(world.task_of("lead")).token[:-1],
    ):
        refusal = of_token(token, believed, world.agents, NOW)
        assert isinstance(refusal, Refusal)
        assert refusal.code is Code.IDENTITY_INVALID


def test_without_foreign_issuers_nobody_looks_into_a_token(world, trust):
    alone = replace(trust, issuers={}, trust_domains=frozenset())
    foreign = of_token(ISSUER.mint(sub="repo:coder"), alone, world.agents, NOW)
    assert foreign == of_token(b"a.b.c", alone, world.agents, NOW)


def test_an_issuers_token_says_who_and_for_whom(world, trust):
    act = {"sub": "ada", "act": {"sub": "robot", "iss": "https://elsewhere.example"}}
    proof = of_token(ISSUER.mint(sub="repo:coder", act=act), trust, world.agents, NOW)
    assert (proof.agent, proof.task, proof.scopes) == ("coder", None, None)
    assert (proof.since, proof.until) == (NOW, NOW + 600)
    assert proof.keys == (ISSUER.url, world.keys.sets[ISSUER.url])
    assert proof.actors == (Actor("ada", None), Actor("robot", "https://elsewhere.example"))
    assert proof.evidence.keys_sha256 == world.keys.sets[ISSUER.url].sha256


def test_a_workloads_token_is_of_its_trust_domain(world, trust):
    token = WORKLOADS.mint(sub=f"{DOMAIN}/coder", iss=...)
    proof = of_token(token, trust, world.agents, NOW)
    assert (proof.agent, proof.evidence.method) == ("coder", Method.JWT_SVID)
    assert proof.keys == (DOMAIN, world.keys.sets[DOMAIN])
    other = replace(trust, audience="spiffe://example.org/other")
    assert of_token(token, other, world.agents, NOW).code is Code.IDENTITY_INVALID
    assert AUDIENCE not in of_token(token, other, world.agents, NOW).detail


@pytest.mark.parametrize(
    "subject", ["spiffe://example.com/coder", "spiffe://example.org", "coder", "spiffe://"]
)
def test_a_token_of_an_issuer_that_nobody_configured(world, trust, subject):
    refusal = of_token(WORKLOADS.mint(sub=subject, iss=...), trust, world.agents, NOW)
    assert refusal.code is Code.IDENTITY_INVALID
    assert refusal.detail == "the token is of an issuer that is not configured here"


def test_a_token_of_ours_by_name_alone_is_judged_as_ours(world, trust):
    """``typ`` decides who verifies, and whoever verifies finds that it is not signed."""
    token = ISSUER.mint(ISSUER.header(typ="gatepass-session+jwt"), sub="repo:coder")
    assert of_token(token, trust, world.agents, NOW) == Refusal(
        Code.IDENTITY_INVALID, "the token is not a session token of this sidecar"
    )


@pytest.mark.parametrize("known", [ISSUER, WORKLOADS], ids=["oidc", "jwt-svid"])
def test_keys_that_are_missing_are_wanted(world, trust, known):
    claims = {"sub": "repo:coder"} if known is ISSUER else {"sub": f"{DOMAIN}/coder", "iss": ...}
    issuer = ISSUER.url if known is ISSUER else DOMAIN
    token = known.mint(**claims)
    del world.keys.sets[issuer]
    assert of_token(token, trust, world.agents, NOW) == KeysWanted(issuer, known.key_id)


# -- certificates --


def shown(name: str = "coder", **changes: object) -> Certificate:
    plain = Certificate(leaf(name), "example.org", crl=False, authorities=(der(AUTHORITY),))
    return replace(plain, **changes)


def test_a_certificate_says_who_and_until_when(world, trust):
    proof = of_certificate(shown(), trust, world.agents, NOW)
    assert (proof.agent, proof.since, proof.until) == ("coder", NOW, NOW + HOUR)
    assert (proof.evidence.method, proof.evidence.issuer) == (Method.X509_SVID, DOMAIN)
    assert proof.keys == (DOMAIN, world.keys.sets[DOMAIN])


def test_a_certificate_lives_as_long_as_its_listener_lets_it(world, trust):
    assert isinstance(of_certificate(shown(max_life=HOUR), trust, world.agents, NOW), Proof)
    refusal = of_certificate(shown(max_life=HOUR - 1), trust, world.agents, NOW)
    assert (refusal.code, f"{HOUR - 1} seconds" in refusal.detail) == (Code.IDENTITY_INVALID, True)
    assert isinstance(of_certificate(shown(max_life=1, crl=True), trust, world.agents, NOW), Proof)


def test_a_certificate_out_of_time_or_of_nobody(world, trust):
    late = of_certificate(shown(), trust, world.agents, NOW + HOUR + SKEW_S)
    assert late.code is Code.IDENTITY_EXPIRED
    assert of_certificate(shown("stranger"), trust, world.agents, NOW).code is Code.AGENT_UNKNOWN
    elsewhere = of_certificate(shown(trust_domain="example.com"), trust, world.agents, NOW)
    assert (elsewhere.code, "withdrawn" in elsewhere.detail) == (Code.IDENTITY_INVALID, True)


def test_a_standing_certificate_is_judged_by_the_bundle_of_today(world, trust):
    other = type(AUTHORITY)("example.org")
    world.keys.publish(DOMAIN, bundle(WORKLOADS, other))
    assert of_certificate(shown(), trust, world.agents, NOW).code is Code.IDENTITY_INVALID
    world.keys.publish(DOMAIN, bundle(WORKLOADS, other, AUTHORITY))
    assert isinstance(of_certificate(shown(), trust, world.agents, NOW), Proof)
    del world.keys.sets[DOMAIN]
    assert of_certificate(shown(), trust, world.agents, NOW).code is Code.IDENTITY_INVALID
