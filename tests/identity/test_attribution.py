"""Attribution: all evidence agrees or nobody is calling; asked on every call anew, answered from memory."""

import itertools
from dataclasses import replace

import pytest

from proxy.errors import MEANING, Code, Refusal
from proxy.identity.arrival import Fixed, Process
from proxy.identity.assertion import KeysWanted
from proxy.identity.attribution import Unfit
from proxy.identity.keyset import parse_jwks
from proxy.identity.presented import Presented
from proxy.identity.principal import Evidence, Method, Principal
from proxy.identity.ways import Way
from tests.identity.callers import DOMAIN, ISSUER, WORKLOADS, World, bundle

TOKENS = (Method.SESSION, Method.OIDC, Method.JWT_SVID)
NOBODY = "t-" + "a" * 26


@pytest.fixture
def world():
    return World()


# -- agreement --


def shown():
    """Every combination of what the socket, the kernel, the certificate and a token may say."""
    who = (None, "coder", "tester")
    for listener, process, certificate, token in itertools.product(who, repeat=4):
        for kind in TOKENS if token else TOKENS[:1]:
            yield listener, process, certificate, token, kind


@pytest.mark.parametrize(("listener", "process", "certificate", "token", "kind"), list(shown()))
def test_all_evidence_agrees_or_nobody_is_calling(world, listener, process, certificate, token, kind):
    arrival = world.arrival(listener=listener or "", process=process or "", certificate=certificate or "")
    presented = world.token(kind, token) if token else None
    proofs = (
        (listener, Method.LISTENER),
        (process, Method.UNIX),
        (certificate, Method.X509_SVID),
        (token, kind),
    )
    names = {name for name, _ in proofs if name}
    found = world.ask(presented, arrival)
    if not names:
        assert found == Refusal(Code.IDENTITY_MISSING, "no Proxy-Authorization was sent")
    elif len(names) == 1:
        assert isinstance(found, Principal)
        assert (found.agent.id, found.task.id) == (*names, world.standing[found.agent.id])
        assert [evidence.method for evidence in found.evidence] == [method for name, method in proofs if name]
    else:
        assert found.code is Code.IDENTITY_CONFLICT
        assert MEANING[found.code].status == 407
        assert all(f"{method.value} says {name}" in found.detail for name, method in proofs if name)


def test_each_piece_of_evidence_is_there_for_the_record(world):
    arrival = world.arrival(listener="coder", process="coder", certificate="coder")
    found = world.ask(world.token(Method.SESSION, "coder"), arrival)
    listener, kernel, certificate, session = found.evidence
    assert listener == Evidence(Method.LISTENER, "here")
    assert kernel == Evidence(Method.UNIX, "kernel", token_id="uid=1001 pid=4711 exe=/bin/coder")
    assert (certificate.method, certificate.issuer) == (Method.X509_SVID, DOMAIN)
    assert all((certificate.key_id, certificate.token_id, certificate.token_sha256))
    assert session == Evidence(
        Method.SESSION, "here", world.key.key_id, "j1", token_sha256=session.token_sha256
    )
    assert len(session.token_sha256) == 64


def test_a_process_that_is_not_the_listener_s_agent(world):
    strange = Process(1001, 4711, "/bin/other")
    arrival = replace(world.arrival(listener="coder"), process=strange)
    assert world.code(None, arrival) is Code.IDENTITY_CONFLICT
    world.agents.ways["coder"] = (Way(Method.SESSION), Way(Method.LISTENER))
    found = world.ask(None, arrival)  # the agent is known by no process, so this one says nothing
    assert [evidence.method for evidence in found.evidence] == [Method.LISTENER]


def test_a_process_that_nobody_is_known_by_needs_a_token(world):
    arrival = replace(world.arrival(), process=Process(4, 4711, "/bin/other"))
    assert world.code(None, arrival) is Code.IDENTITY_MISSING
    assert world.code(world.token(Method.OIDC, "coder"), arrival) is None


def test_evidence_that_does_not_hold_is_not_made_up_for_by_other_evidence(world):
    stranger = replace(world.arrival(certificate="coder").certificate, trust_domain="example.com")
    for arrival in (
        world.arrival(listener="coder"),
        world.arrival(process="coder"),
        world.arrival(certificate="coder"),
    ):
        assert world.code(Presented("bearer", b"a.b.c"), arrival) is Code.IDENTITY_INVALID
        bad = replace(arrival, certificate=stranger)
        assert world.code(world.token(Method.SESSION, "coder"), bad) is Code.IDENTITY_INVALID


def test_without_a_token_a_user_name_proves_nothing(world):
    for user in ("", "coder", world.standing["coder"]):
        assert world.code(Presented("basic", b"", user)) is Code.IDENTITY_INVALID


def test_what_fits_two_agents_is_nobody(world):
    world.agents.ways["tester"] = world.agents.ways["coder"]
    for arrival in (world.arrival(process="coder"), world.arrival(certificate="coder")):
        assert world.code(None, arrival) is Code.IDENTITY_CONFLICT
    for kind in (Method.OIDC, Method.JWT_SVID):
        assert world.code(world.token(kind, "coder")) is Code.IDENTITY_CONFLICT


@pytest.mark.parametrize("kind", [Method.OIDC, Method.JWT_SVID, Method.X509_SVID])
def test_what_fits_no_agent_is_nobody(world, kind):
    del world.agents.ways["coder"]
    if kind is Method.X509_SVID:
        assert world.code(None, world.arrival(certificate="coder")) is Code.AGENT_UNKNOWN
    else:
        assert world.code(world.token(kind, "coder")) is Code.AGENT_UNKNOWN


@pytest.mark.parametrize("method", [Method.SESSION, Method.LISTENER])
def test_a_way_that_the_agent_s_entry_does_not_list(world, method):
    world.agents.ways["coder"] = [way for way in world.agents.ways["coder"] if way.method is not method]
    token = world.token(method, "coder") if method is Method.SESSION else None
    found = world.ask(token, world.arrival(listener="" if token else "coder"))
    assert isinstance(found, Unfit)
    assert found.refusal == Refusal(
        Code.AUTHENTICATION_UNSUITABLE, f"coder may not authenticate by {method.value}"
    )
    assert found.refusal.status == 403
    assert (found.agent.id, found.task) == ("coder", world.task_of("coder"))
    assert [one.method for one in found.evidence] == [method]


def test_one_unsuitable_proof_among_others_is_enough(world):
    world.agents.ways["coder"] = [
        way for way in world.agents.ways["coder"] if way.method is not Method.SESSION
    ]
    token = world.token(Method.SESSION, "coder")
    assert world.code(token, world.arrival(process="coder")) is Code.AUTHENTICATION_UNSUITABLE


# -- which task --


def test_the_standing_task_is_for_whoever_names_none(world):
    for kind in (Method.OIDC, Method.JWT_SVID):
        assert world.ask(world.token(kind, "coder")).task is world.task_of("coder")
        assert world.ask(world.token(kind, "coder", user="coder")).task is world.task_of("coder")
    assert world.ask(None, world.arrival(process="coder")).task is world.task_of("coder")


def test_the_user_name_names_a_task(world):
    other = world.begin("coder", nonce="1" * 32)
    for kind in (Method.OIDC, Method.JWT_SVID):
        assert world.ask(world.token(kind, "coder", user=other.id)).task is other
    for arrival in (world.arrival(process="coder"), world.arrival(listener="coder")):
        assert world.ask(Presented("basic", b"", other.id), arrival).task is other
    assert world.ask(world.session(other)).task is other
    assert world.ask(world.session(other), world.arrival(listener="coder")).task is other


@pytest.mark.parametrize("kind", TOKENS)
def test_the_task_of_another_agent_is_not_to_be_had(world, kind):
    found = world.code(world.token(kind, "coder", user=world.standing["tester"]))
    expected = Code.IDENTITY_CONFLICT if kind is Method.SESSION else Code.IDENTITY_INVALID
    assert found is expected


def test_a_user_name_that_names_another_task_than_the_token(world):
    other = world.begin("coder", nonce="1" * 32)
    assert world.code(world.session(other, world.standing["coder"])) is Code.IDENTITY_CONFLICT
    assert world.code(world.session(other, other.id)) is None


def test_a_task_that_nobody_knows(world):
    found = world.ask(world.token(Method.OIDC, "coder", user=NOBODY))
    assert isinstance(found, Unfit)
    assert (found.refusal.code, found.agent, found.task) == (
        Code.TASK_UNKNOWN,
        world.agents.by_id["coder"],
        None,
    )


def test_whoever_has_no_standing_task_is_told_how_to_name_one(world):
    del world.standing["coder"]
    found = world.ask(world.token(Method.OIDC, "coder"))
    assert found.refusal.code is Code.TASK_UNKNOWN
    assert "user name" in found.refusal.detail
    assert found.agent.id == "coder"
    fixed = replace(world.arrival(), fixed=Fixed("coder", ""))
    assert world.code(None, fixed) is Code.TASK_UNKNOWN


# -- keys --


@pytest.mark.parametrize(("kind", "issuer"), [(Method.OIDC, ISSUER.url), (Method.JWT_SVID, DOMAIN)])
def test_a_key_that_is_not_at_hand_is_asked_for(world, kind, issuer):
    known = ISSUER if kind is Method.OIDC else WORKLOADS
    del world.keys.sets[issuer]
    assert world.ask(world.token(kind, "coder")) == KeysWanted(issuer, known.key_id)
    rotated = known.rotated(keep=False)
    world.keys.publish(issuer, parse_jwks(rotated.document()) if known is ISSUER else bundle(rotated))
    assert world.ask(world.token(kind, "coder")) == KeysWanted(issuer, known.key_id)


def test_an_issuer_that_is_not_configured(world):
    token = replace(ISSUER, url="https://other.example").mint(sub="repo:coder")
    assert world.code(Presented("bearer", token)) is Code.IDENTITY_INVALID


# -- who answers for it --


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"business_owner": ""}, "no business owner"),
        ({"data_owner": ""}, "no data owner"),
        ({"business_owner": "", "data_owner": ""}, "no business owner and no data owner"),
    ],
)
@pytest.mark.parametrize(
    ("environment", "calls"),
    [("production", False), ("prod-eu", False), ("development", True), ("staging", True)],
)
def test_in_production_somebody_answers_for_every_agent(environment, calls, lacking, words):
    world = World(environment)
    world.agents.by_id["coder"] = replace(world.agents.by_id["coder"], **lacking)
    found = world.ask(world.token(Method.SESSION, "coder"))
    assert isinstance(found, Principal) == calls
    if not calls:
        detail = f"coder has {words}, and in {environment} nothing leaves without"
        assert found.refusal == Refusal(Code.AGENT_UNOWNED, detail)
    child = world.child(world.task_of("coder"), "tester")
    found = world.ask(world.session(child))
    assert isinstance(found, Principal) == calls
    assert calls or found.refusal.code is Code.AGENT_UNOWNED
