"""D1, D2: tokens of foreign issuers that say too much, too little, or what nobody signed (egress.md, section 5)."""

import contextlib
import dataclasses
import time
from pathlib import Path

import pytest

from proxy.errors import Code
from tests.hostile.assertions import inside, say
from tests.hostile.callers import as_connect, as_url, calls, house, silent, tunnel, turned_away
from tests.support import demo_rules
from tests.support.issuer import SmallIssuer, compact
from tests.support.rawclient import basic
from tests.support.resolver import ScriptedResolver

AUDIENCE = "gatepass.test/egress/7"
NOW = int(time.time())


@dataclasses.dataclass(frozen=True)
class PatientIssuer(SmallIssuer):
    """Its tokens hold for half a day: a test may have its turn long after they were made."""

    def claims(self, **changes: object) -> dict[str, object]:
        return super().claims(**{"exp": self.now + 43_200} | changes)


CI = PatientIssuer(audience=AUDIENCE, subject="repo:acme/app", now=NOW)
DOMAIN = PatientIssuer(
    url="https://spire.example",
    audience=AUDIENCE,
    subject="spiffe://example.org/robot",
    now=NOW,
    use="jwt-svid",
    number=1,
)
ROBOT = {
    **demo_rules.agent("robot"),
    "authenticate": [
        {"method": "session"},
        {"method": "oidc", "issuer": "ci", "subject": CI.subject},
        {"method": "jwt-svid", "id": DOMAIN.subject},
    ],
}


def publish(directory: Path) -> None:
    """The keys of both, as files."""
    directory.mkdir(exist_ok=True)
    (directory / "ci.json").write_bytes(CI.document())
    (directory / "spire.json").write_bytes(DOMAIN.document())


@contextlib.asynccontextmanager
async def foreign(directory: Path, *more: object, robot=ROBOT, **given):
    """A house of ``robot``, who may present tokens of an issuer and of a trust domain."""
    publish(directory)
    identity = {
        "audience": AUDIENCE,
        "issuers": [
            {"name": "ci", "issuer": CI.url, "audiences": [AUDIENCE], "keys": str(directory / "ci.json")}
        ],
        "trust_domains": [{"name": "example.org", "bundle": str(directory / "spire.json")}],
    }
    async with house(directory, robot, *more, identity=identity, **given) as w:
        yield w


def presented(w, token: bytes) -> str:
    """The credential as it is sent: the task's id, and the token as the password."""
    return basic(w.started.task.id, token.decode("latin-1"))


@pytest.mark.parametrize("issuer", [CI, DOMAIN], ids=["oidc", "jwt-svid"])
async def test_an_honest_token_is_accepted(tmp_path, issuer):
    """Without this the rest of the file could pass for the wrong reason."""
    async with foreign(tmp_path) as w:
        async with tunnel(w, presented(w, issuer.mint())) as client:
            await client.send(inside(w, "/x"))
            assert (await client.read_response()).status == 200
        await w.settled()
        (record,) = calls(w)
        assert (record.effect, record.agent, record.task) == ("allow", "robot", w.started.task.id)
        (evidence,) = record.raw["who"]["auth"]
        assert (evidence["key_id"], evidence["token_id"]) == (issuer.key_id, "token-1")
        silent(w, (), [issuer.mint().decode()])


BAD, LATE = Code.IDENTITY_INVALID, Code.IDENTITY_EXPIRED
FORGED = {"oidc": CI.forgeries() | CI.wrong(), "jwt-svid": DOMAIN.forgeries() | DOMAIN.wrong()}
ISSUERS = {"oidc": CI, "jwt-svid": DOMAIN}
# What an OIDC issuer has to say of itself and of the time of issue; a trust domain need not.
UNASKED = {
    "oidc": set(),
    "jwt-svid": {name for name in DOMAIN.wrong() if "issuer" in name} | {"no issue time"},
}
A_MINUTE_AHEAD = {"issued in the future", "not yet valid"}  # not so any more when it is their turn
CURATED = [
    pytest.param(lambda _: b"nonsense", BAD, id="D2-no-token"),
    pytest.param(lambda _: b"a.b.c", BAD, id="D2-malformed"),
    pytest.param(lambda _: b"." * 16_000, BAD, id="D2-16-KiB-of-dots"),
    pytest.param(lambda i: i.mint(x="a" * 16_384), BAD, id="D2-larger-than-16-KiB"),
    pytest.param(lambda i: i.mint().rpartition(b".")[0] + b".", BAD, id="D2-unsigned"),
    pytest.param(lambda i: compact(i.header(alg="none"), i.claims(), lambda _: b""), BAD, id="D2-alg-none"),
    pytest.param(lambda i: i.forgeries()["HS256 with pem"], BAD, id="D2-HS256-with-the-public-key"),
    pytest.param(lambda i: i.forgeries()["HS256 with jwks"], BAD, id="D2-HS256-with-the-key-set"),
    pytest.param(lambda i: dataclasses.replace(i, algorithm="EdDSA").mint(i.header()), BAD, id="D2-EdDSA"),
    pytest.param(lambda i: i.mint(i.header(crit=["exp"])), BAD, id="D2-crit"),
    pytest.param(lambda i: i.mint(aud="gatepass.test/egress/8"), BAD, id="D2-audience-of-another-sidecar"),
    pytest.param(lambda i: i.mint(aud="production"), BAD, id="D2-audience-shared"),
    pytest.param(lambda i: i.mint(iat=NOW - 7_200, exp=NOW - 3_600), LATE, id="D2-expired"),
    pytest.param(lambda i: i.mint(iat=NOW + 7_200, exp=NOW + 7_800), BAD, id="D2-issued-in-the-future"),
    pytest.param(lambda i: i.mint(nbf=NOW + 7_200), BAD, id="D2-not-yet-valid"),
    pytest.param(lambda i: i.mint(exp=NOW + 30 * 86_400), BAD, id="D2-lives-too-long"),
    pytest.param(lambda i: i.mint(i.header(kid="nobody-s")), BAD, id="D2-key-id-unknown"),
    pytest.param(lambda i: dataclasses.replace(i, number=77).mint(), BAD, id="D2-key-unknown"),
    pytest.param(lambda i: dataclasses.replace(i, number=77).mint(i.header()), BAD, id="D2-key-another"),
    pytest.param(lambda i: i.mint(sub="repo:acme/app\nX: y"), BAD, id="D2-subject-with-a-line"),
]


@pytest.mark.parametrize("form", [as_url, as_connect])
@pytest.mark.parametrize("kind", ISSUERS)
@pytest.mark.parametrize(("make", "code"), CURATED)
async def test_d2_a_token_that_does_not_hold(tmp_path, make, code, kind, form):
    resolver = ScriptedResolver({})
    token = make(ISSUERS[kind])
    async with foreign(tmp_path, resolver=resolver) as w:
        answer = await say(w, form(w, presented(w, token)))
        record = await turned_away(w, answer, code, token=token.decode("latin-1") if len(token) > 8 else "")
        assert record.raw["who"] | {"peer": ""} == {"agent": None, "task": None, "auth": None, "peer": ""}
    assert resolver.journal == []


@pytest.mark.parametrize("kind", ISSUERS)
async def test_d2_every_forgery_we_know_is_recorded_once_and_reaches_nothing(tmp_path, kind):
    """Four a sidecar: what comes after five of one source is a burst, and only counted."""
    names = [name for name in FORGED[kind] if name not in UNASKED[kind] | A_MINUTE_AHEAD]
    assert len(names) > 60
    for number, some in enumerate(names[start : start + 4] for start in range(0, len(names), 4)):
        async with foreign(tmp_path / str(number)) as w:
            for name in some:
                token = FORGED[kind][name]
                answer = await say(w, as_url(w, presented(w, token)))
                told = (name, answer.status, answer.json()["code"])
                assert told == (name, 407, Code.IDENTITY_INVALID)
                parts = [part.decode("latin-1") for part in token.split(b".") if len(part) > 16]
                silent(w, (answer.head.raw, answer.body), parts)
            assert [record.code for record in calls(w)] == [Code.IDENTITY_INVALID] * len(some)
            assert w.upstream.connections == []


NOBODY = [
    pytest.param(CI, {"sub": "repo:acme/other"}, id="oidc-subject"),
    pytest.param(CI, {"sub": "repo:acme/app "}, id="oidc-subject-with-a-space"),
    pytest.param(CI, {"sub": "REPO:ACME/APP"}, id="oidc-subject-in-capitals"),
    pytest.param(CI, {"sub": "robot"}, id="oidc-the-agent-s-own-name"),
    pytest.param(DOMAIN, {"sub": "spiffe://example.org/robots"}, id="svid-longer"),
    pytest.param(DOMAIN, {"sub": "spiffe://example.org/Robot"}, id="svid-in-capitals"),
]


@pytest.mark.parametrize(("issuer", "claims"), NOBODY)
async def test_an_honest_token_of_somebody_who_is_not_registered(tmp_path, issuer, claims):
    """403: the proof holds, and nobody here is known by it."""
    token = issuer.mint(**claims)
    async with foreign(tmp_path) as w:
        answer = await say(w, as_url(w, presented(w, token)))
        await turned_away(w, answer, Code.AGENT_UNKNOWN, token=token.decode())


async def test_an_agent_that_may_not_authenticate_like_this(tmp_path):
    """The record says who it was, because that is known."""
    no_sessions = {**ROBOT, "authenticate": ROBOT["authenticate"][1:]}
    async with foreign(tmp_path, robot=no_sessions) as w:
        answer = await say(w, as_url(w, basic("task", w.started.token)))
        await turned_away(w, answer, Code.AUTHENTICATION_UNSUITABLE, agent="robot")


async def test_a_token_for_another_s_task(tmp_path):
    async with foreign(tmp_path, "other") as w:
        theirs = w.another_task(agent="other")
        answer = await say(w, as_url(w, basic(theirs.task.id, CI.mint().decode())))
        await turned_away(w, answer, Code.IDENTITY_INVALID, agent="robot", token=theirs.token)


async def test_a_foreign_token_without_a_task(tmp_path):
    async with foreign(tmp_path) as w:
        answer = await say(w, as_url(w, basic("task", CI.mint().decode())))
        await turned_away(w, answer, Code.TASK_UNKNOWN, agent="robot", token=CI.mint().decode())
