"""Agents that prove who they are with tokens of an issuer: a real OpenID Connect provider, a cluster, a forge.

The token is the password of the proxy, as any client can send it; the user name says which task.
"""

import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.issuer import SmallIssuer
from tests.support.oidc_provider import OidcProvider, installed, missing
from tests.support.rawclient import basic
from tests.system.deployed import SECRET, any_file_holds, seen
from tests.system.served import Served, agent, issuer, served, session, small_issuer, told

pytestmark = pytest.mark.asyncio(loop_scope="module")
real = pytest.mark.skipif(missing() is not None, reason=missing() or "")

AUDIENCE = "https://gatepass.test/egress/7"
CLIENTS = {"coder-7": "RS256", "reviewer-7": "ES256", "stranger-7": "RS256"}
AGENTS = [
    agent(name, {"method": "oidc", "issuer": "real", "subject": f"{name}-7"}, session())
    for name in ("coder", "reviewer")
]

HTTP_CLIENT = """
import json, os, sys, {library}
got = {library}.get(sys.argv[1], headers={{"Authorization": "Bearer " + os.environ["API_TOKEN"]}})
print(json.dumps([got.status_code, got.json()["target"]]))
"""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(tmp_path_factory)


def configured(provider: OidcProvider) -> Mapping[str, object]:
    """What ``gatepass.yaml`` says of the provider, which is a service of this machine."""
    return {
        "private": [("127.0.0.1", provider.port)],
        "identity": {"issuers": [issuer("real", provider.issuer, AUDIENCE)]},
    }


class Real:
    """A provider and a sidecar that believes it; ``task`` is an open task of ``coder``."""

    def __init__(self, provider: OidcProvider, w: Served, task: Mapping[str, object]) -> None:
        self.provider, self.w = provider, w
        self.task = str(task["task"])
        self.placeholder = str(task["variables"]["API_TOKEN"])

    async def token(self, client: str = "coder-7", audience: str = AUDIENCE) -> str:
        return await self.provider.token(client, audience)

    async def ask(self, path: str, token: str, task: str | None = None) -> tuple[int, str]:
        """Status and code of one raw call."""
        answer = await self.w.ask(path, basic(task or self.task, token))
        return answer.status, "" if answer.status == 200 else str(told(answer)["code"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def r(home: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Real]:
    """One for all tests that leave provider and sidecar as they are."""
    async with (
        OidcProvider(home, CLIENTS) as provider,
        served(tmp_path_factory.mktemp("oidc"), AGENTS, **configured(provider)) as w,
    ):
        yield Real(provider, w, await w.started("coder"))


@real
async def test_curl_calls_with_the_token_as_its_password(r: Real):
    token = await r.token()
    proxy = r.w.through(r.task, token)

    answer = await r.w.curl(proxy, "/curl", "-H", f"Authorization: Bearer {r.placeholder}")

    assert (answer.tunnel, answer.status) == (200, 200)
    assert seen(r.w.upstream, "/curl")[0]["authorization"] == f"Bearer {SECRET}"
    record = r.w.decision("/curl")
    assert (record.agent, record.task, record.effect) == ("coder", r.task, "allow")
    (evidence,) = r.w.evidence("/curl")
    assert (evidence["method"], evidence["issuer"]) == ("oidc", r.provider.issuer)
    assert evidence["key_id"] in r.provider.keys
    assert evidence["token_id"]
    assert {len(evidence["token_sha256"]), len(evidence["keys_sha256"])} == {64}
    assert not any_file_holds(r.w.directory / "state", token.rpartition(".")[2])
    assert token.encode() not in r.w.upstream.received


@real
@pytest.mark.parametrize("library", ["requests", "httpx"])
async def test_a_python_client_calls_with_it(r: Real, library: str):
    pytest.importorskip(library)
    proxy = r.w.through(r.task, await r.token())

    script = HTTP_CLIENT.format(library=library)
    done = await r.w.agent(
        sys.executable, "-c", script, r.w.url(f"/{library}"), **proxy, API_TOKEN=r.placeholder
    )

    assert done.json() == [200, f"/{library}"]
    assert [each["method"] for each in r.w.evidence(f"/{library}")] == ["oidc"]


@real
async def test_who_names_no_task_has_the_standing_one(r: Real):
    """Its variables are in a file that the agent's container reads; the token comes from elsewhere."""
    file = r.w.directory / "state" / "agents" / "coder.env"
    given = dict(word.split("=", 1) for word in shlex.split(file.read_text(), comments=True))
    for user, path in (("", "/empty"), ("agent", "/agent"), ("x-access-token", "/git")):
        proxy = given | r.w.through(user, await r.token())
        answer = await r.w.curl(proxy, path, "-H", f"Authorization: Bearer {given['API_TOKEN']}")
        assert answer.status == 200
        assert seen(r.w.upstream, path)[0]["authorization"] == f"Bearer {SECRET}"
    (standing,) = {r.w.decision(path).task for path in ("/empty", "/agent", "/git")}
    assert standing not in {"", r.task}


@real
async def test_a_token_for_somebody_else_and_of_nobody_are_refused(r: Real):
    elsewhere = await r.token(audience="https://elsewhere.test/")
    assert await r.ask("/a", elsewhere) == (407, "identity_invalid")
    assert await r.ask("/b", await r.token("stranger-7")) == (403, "agent_unknown")
    answer = await r.w.curl(r.w.through(r.task, elsewhere), "/c")
    assert (answer.tunnel, answer.status) == (407, 0)
    assert not r.w.upstream.received.count(b"GET /a ")


@real
async def test_the_task_of_another_agent_is_not_to_be_had(r: Real):
    token = await r.token("reviewer-7")
    assert await r.ask("/theirs", token) == (407, "identity_invalid")
    mine = await r.w.started("reviewer")
    assert await r.ask("/mine", token, str(mine["task"])) == (200, "")
    assert r.w.decision("/mine").agent == "reviewer"


@real
async def test_keys_rotate_under_a_running_sidecar(home: Path, tmp_path: Path):
    async with OidcProvider(home, CLIENTS) as provider, served(tmp_path, AGENTS, **configured(provider)) as w:
        r = Real(provider, w, await w.started("coder"))
        before = await r.token()
        assert await r.ask("/before", before) == (200, "")
        async with w.tunnel(basic(r.task, before)) as standing:
            await provider.rotate(keep=False)
            after = await r.token()
            assert await r.ask("/after", after) == (200, "")
            assert await r.ask("/withdrawn", before) == (407, "identity_invalid")
            refused = await w.get(standing, "/inside")
            assert (refused.status, told(refused)["code"]) == (407, "identity_invalid")
        changes = [record.raw["body"] for record in w.events("keys.changed")]
        assert len(changes) == 2
        assert sorted(changes[-1]["key_ids"]) == sorted(provider.keys)


@real
async def test_a_provider_that_is_down_is_done_without_for_a_while(home: Path, tmp_path: Path):
    async with OidcProvider(home, CLIENTS) as provider:
        settings = configured(provider)
        async with served(tmp_path, AGENTS, **settings) as w:
            r = Real(provider, w, await w.started("coder"))
            known = await r.token()
            await provider.rotate(keep=True)
            unknown = await r.token()
            await provider.__aexit__(None, None, None)
            assert await r.ask("/stale", known) == (200, "")
            assert await r.ask("/unknown", unknown) == (407, "identity_invalid")
            assert await r.ask("/still", known) == (200, "")
            await w.sidecar.until_said("cannot be had, the last ones are used")

            await w.restart()  # and now there is nothing to fall back to
            answer = await w.ask("/none", basic(r.task, known))
            assert (answer.status, told(answer)["code"]) == (503, "keys_unavailable")
            assert answer.get("retry-after")


@real
async def test_a_key_and_an_issuer_can_be_distrusted(home: Path, tmp_path: Path):
    async with OidcProvider(home, CLIENTS) as provider, served(tmp_path, AGENTS, **configured(provider)) as w:
        r = Real(provider, w, await w.started("coder"))
        coder, reviewer = await r.token(), await r.token("reviewer-7")
        theirs = str((await w.started("reviewer"))["task"])
        assert await r.ask("/one", coder) == (200, "")
        key = str(w.evidence("/one")[0]["key_id"])
        async with w.tunnel(basic(r.task, coder)) as standing:
            await w.verb("revoke", "key", key, "--reason", "leaked", "--json")
            assert await standing.at_end()
        assert await r.ask("/two", coder) == (403, "revoked")
        assert await r.ask("/three", reviewer, theirs) == (200, "")  # signed by another key
        await w.verb("revoke", "issuer", provider.issuer, "--reason", "breached", "--json")
        assert await r.ask("/four", reviewer, theirs) == (403, "revoked")


# -- issuers whose keys are in a file --

CLUSTER = "https://kubernetes.default.svc.cluster.local"
FORGE = "https://token.actions.githubusercontent.com"


def cluster(number: int = 0) -> SmallIssuer:
    """A cluster that projects service account tokens: an audience list, nested claims, no typ."""
    made = small_issuer(CLUSTER, "", "system:serviceaccount:agents:coder", "RS256")
    return made if number == 0 else made.rotated(keep=False)


def projected(of: SmallIssuer, **changes: object) -> str:
    claims = {
        "aud": ["https://kubernetes.default.svc", "gatepass"],
        "exp": of.now + 3607,
        "nbf": of.now,
        "kubernetes.io": {
            "namespace": "agents",
            "node": {"name": "n1", "uid": "1f0c"},
            "pod": {"name": "coder-5d9c", "uid": "6a1e"},
            "serviceaccount": {"name": "coder", "uid": "77aa"},
            "warnafter": of.now + 3000,
        },
    }
    return of.mint(of.header(typ=...), of.claims(**{**claims, **changes})).decode()


async def test_a_projected_service_account_token(tmp_path: Path):
    keys = tmp_path / "cluster.json"
    keys.write_bytes(cluster().document())
    way = {"method": "oidc", "issuer": "cluster", "subject": "system:serviceaccount:agents:coder"}
    known = issuer("cluster", CLUSTER, "gatepass", keys=keys)
    async with served(tmp_path, [agent("coder", way, session())], identity={"issuers": [known]}) as w:
        task = str((await w.started("coder"))["task"])
        assert (await w.curl(w.through(task, projected(cluster())), "/pod")).status == 200
        assert w.decision("/pod").agent == "coder"
        answer = await w.ask("/x", basic(task, projected(cluster(), aud=["https://kubernetes.default.svc"])))
        assert answer.status == 407
        answer = await w.ask(
            "/y", basic(task, projected(cluster(), sub="system:serviceaccount:agents:other"))
        )
        assert (answer.status, told(answer)["code"]) == (403, "agent_unknown")

        later = cluster(1)
        keys.write_bytes(later.document())
        assert (await w.ask("/rotated", basic(task, projected(later)))).status == 200
        assert (await w.ask("/old", basic(task, projected(cluster())))).status == 407


async def test_a_workflow_of_github_actions(tmp_path: Path):
    forge = small_issuer(FORGE, "gatepass", "repo:acme/app:ref:refs/heads/main", "RS256")
    keys = tmp_path / "forge.json"
    keys.write_bytes(forge.document())
    claims: Mapping[str, object] = {
        "nbf": forge.now - 600,
        "exp": forge.now + 300,
        "ref": "refs/heads/main",
        "ref_type": "branch",
        "repository": "acme/app",
        "repository_owner": "acme",
        "run_attempt": "1",
        "event_name": "push",
        "job_workflow_ref": "acme/app/.github/workflows/release.yml@refs/heads/main",
        "runner_environment": "github-hosted",
    }
    header = forge.header(x5t="HyqHsVcP7jSyQTQB0YLrvE8jmFM")
    way = {
        "method": "oidc",
        "issuer": "github",
        "claims": {"repository_owner": "acme", "job_workflow_ref": claims["job_workflow_ref"]},
    }
    known = issuer("github", FORGE, "gatepass", keys=keys)
    async with served(tmp_path, [agent("release", way, session())], identity={"issuers": [known]}) as w:
        task = str((await w.started("release"))["task"])
        good = forge.mint(header, forge.claims(**claims)).decode()
        assert (await w.curl(w.through(task, good), "/released")).status == 200
        assert w.decision("/released").agent == "release"
        for number, changed in enumerate(
            (
                {"job_workflow_ref": "acme/app/.github/workflows/other.yml@refs/heads/x"},
                {"repository_owner": "eve"},
            )
        ):
            other = forge.mint(header, forge.claims(**{**claims, **changed})).decode()
            answer = await w.ask(f"/{number}", basic(task, other))
            assert (answer.status, told(answer)["code"]) == (403, "agent_unknown")
