"""Agents that prove who they are with X.509-SVIDs, at an ``https://`` proxy (X509-SVID; RFC 9110, 9.3.6)."""

import datetime as dt
import shutil
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.engine.svids import AGENT, DOMAIN, Authority, now, pem, pem_key, revocations, shown, tls_client
from tests.support.certificates import key_usage
from tests.support.rawclient import RawClient, basic
from tests.system.deployed import seen
from tests.system.process import until
from tests.system.served import Served, agent, served, session, told

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENTS = [
    agent("coder", {"method": "x509-svid", "id": AGENT}, session()),
    agent("other", {"method": "x509-svid", "id": f"spiffe://{DOMAIN}/other"}, session()),
]
HTTPX = """
import json, os, ssl, sys, httpx
ca, mine, proxy, url = sys.argv[1:]
ours = ssl.create_default_context(cafile=ca)
towards = ssl.create_default_context(cafile=ca)
towards.load_cert_chain(mine)
through = httpx.Proxy(proxy, ssl_context=towards)
with httpx.Client(proxy=through, verify=ours) as client:
    print(json.dumps([client.get(url).json()["target"], client.get(url + "/2").json()["target"]]))
"""


@dataclass
class House:
    """A trust domain, its bundle in a file, and a sidecar that believes it; ``task`` is ``coder``'s."""

    w: Served
    authority: Authority
    bundle: Path
    task: str
    token: str

    @property
    def directory(self) -> Path:
        return self.bundle.parent

    def leaf(self, *uris: str, issuer: Authority | None = None, **how: object) -> Path:
        """A key and a certificate for these URIs; ``how`` as in ``SpiffeAuthority.sign``."""
        key = ec.generate_private_key(ec.SECP256R1())
        times = {"not_before": now() - dt.timedelta(hours=1), "not_after": now() + dt.timedelta(hours=1)}
        made = (issuer or self.authority).sign(*uris, key=key, **{**times, **how})
        path = self.directory / f"{made.serial_number:x}.pem"
        path.write_bytes(pem_key(key) + pem(made))
        return path

    async def client(self, path: Path | None, place: int = 0) -> RawClient:
        """TLS to the proxy, showing this."""
        context = ssl.create_default_context(cafile=self.w.ca)
        if path is not None:
            context.load_cert_chain(path)
        return await tls_client(self.w.sidecar.addresses[place], context)

    async def shows(self, path: Path | None, authorization: str | None = "", target: str = "/") -> str:
        """What becomes of a call with this certificate: TLS's word, a code, or ``ok``."""
        try:
            async with await self.client(path) as client:
                presented = basic(self.task, "") if authorization == "" else authorization
                answer = await self.w.ask_over(client, target, presented)
                return "ok" if answer.status == 200 else str(told(answer)["code"])
        except ssl.SSLError as error:
            return error.reason
        except ConnectionError:
            return "closed"

    def believe(self, *authorities: Authority) -> None:
        """Push another bundle, as fleet tools do: in one step."""
        beside = self.bundle.with_suffix(".new")
        beside.write_bytes(b"".join(pem(each.certificate) for each in authorities))
        beside.replace(self.bundle)


def house_settings(bundle: Path, **tls: object) -> Mapping[str, object]:
    return {
        "listen": [{"address": "127.0.0.1:0", "tls": {"trust_domain": DOMAIN, **tls}}],
        "identity": {"trust_domains": [{"name": DOMAIN, "bundle": str(bundle)}]},
    }


async def moved_in(w: Served, authority: Authority, bundle: Path) -> House:
    told = await w.started("coder")
    return House(w, authority, bundle, str(told["task"]), str(told["token"]))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One for all tests that leave it as it is."""
    directory, authority = tmp_path_factory.mktemp("mtls"), Authority()
    bundle = directory / "bundle.pem"
    bundle.write_bytes(pem(authority.certificate))
    async with served(directory, AGENTS, **house_settings(bundle)) as w:
        yield await moved_in(w, authority, bundle)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
async def test_curl_shows_its_certificate_to_the_proxy(house: House):
    mine = house.leaf(AGENT)
    proxy = house.w.through(house.task, "x", scheme="https") | {"HTTPS_PROXY": "", "https_proxy": ""}
    shows = ("--proxy-cacert", house.w.ca, "--proxy-cert", mine, "--proxy-key", mine)
    at = "https://localhost:{1}".format(*house.w.sidecar.address)

    answer = await house.w.curl(proxy, "/curl", "--proxy", at, "--proxy-user", f"{house.task}:", *shows)

    assert (answer.tunnel, answer.status) == (200, 200)
    assert house.w.decision("/curl").agent == "coder"
    (evidence,) = house.w.evidence("/curl")
    assert (evidence["method"], evidence["issuer"]) == ("x509-svid", f"spiffe://{DOMAIN}")
    assert evidence["token_id"] in mine.name
    nothing = await house.w.curl(proxy, "/none", "--proxy", at, "--proxy-cacert", house.w.ca)
    assert (nothing.tunnel, nothing.status) == (0, 0)


async def test_httpx_shows_its_certificate_to_the_proxy(house: House):
    pytest.importorskip("httpx")
    host, port = house.w.sidecar.address
    at = f"https://{house.task}:@{host}:{port}"
    bundle = house.directory / "state" / "ca-bundle.pem"

    done = await house.w.agent(
        sys.executable, "-c", HTTPX, bundle, house.leaf(AGENT), at, house.w.url("/httpx")
    )

    assert done.json() == ["/httpx", "/httpx/2"]


async def test_tls_in_tls(house: House):
    assert await house.shows(house.leaf(AGENT), target="/raw") == "ok"
    assert house.w.decision("/raw").task == house.task
    assert "authorization" not in seen(house.w.upstream, "/raw")[0]


@pytest.mark.parametrize(
    ("uris", "how", "said"),
    [
        ((AGENT, AGENT + "2"), {}, "identity_invalid"),
        ((), {"dns": ("agent.example.org",)}, "identity_invalid"),
        ((f"spiffe://{DOMAIN}",), {}, "identity_invalid"),
        ((f"spiffe://{DOMAIN}/",), {}, "identity_invalid"),
        (("spiffe://other.example/agent",), {}, "identity_invalid"),
        ((f"https://{DOMAIN}/agent",), {}, "identity_invalid"),
        ((AGENT,), {"usage": key_usage(key_cert_sign=True)}, "identity_invalid"),
        ((AGENT,), {"not_after": now() + dt.timedelta(days=90)}, "identity_invalid"),
        ((f"spiffe://{DOMAIN}/stranger",), {}, "agent_unknown"),
    ],
    ids=["two", "none", "root", "slash", "foreign", "https", "signs", "lives long", "stranger"],
)
async def test_what_is_wrong_with_a_certificate_of_the_trust_domain(
    house: House, uris: tuple[str, ...], how: Mapping[str, object], said: str
):
    # Of one address come many bad proofs here, so only the answers are looked at: see ``identity.burst``.
    assert await house.shows(house.leaf(*uris, **how)) == said


async def test_an_authority_is_no_agent(house: House):
    ca = x509.BasicConstraints(ca=True, path_length=None)
    usage = key_usage(digital_signature=True, key_cert_sign=True)
    said = await house.shows(house.leaf(AGENT, constraints=ca, usage=usage))
    assert said in {"identity_invalid", "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE"}


async def test_what_never_gets_past_the_handshake(house: House):
    stranger, early = Authority("other.example"), now() - dt.timedelta(days=2)
    assert await house.shows(None) in {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "closed"}
    assert await house.shows(house.leaf(AGENT, issuer=stranger)) == "TLSV1_ALERT_UNKNOWN_CA"
    old = house.leaf(AGENT, not_before=early, not_after=early + dt.timedelta(hours=1))
    assert await house.shows(old) == "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    assert await house.shows(house.leaf(AGENT)) == "ok"


async def test_a_token_beside_the_certificate_has_to_agree(house: House):
    both = basic("task", house.token)
    assert await house.shows(house.leaf(AGENT), both, "/both") == "ok"
    assert {each["method"] for each in house.w.evidence("/both")} == {"session", "x509-svid"}
    other = house.leaf(f"spiffe://{DOMAIN}/other")
    assert await house.shows(other, both, "/neither") == "identity_conflict"
    assert not seen(house.w.upstream, "/neither")


async def test_the_bundle_rotates_and_standing_connections_are_judged_again(tmp_path: Path):
    old, new = Authority(), Authority()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(pem(old.certificate))
    async with served(tmp_path, AGENTS, **house_settings(bundle)) as w:
        house = await moved_in(w, old, bundle)
        before, after = house.leaf(AGENT), house.leaf(AGENT, issuer=new)
        assert await house.shows(after) == "TLSV1_ALERT_UNKNOWN_CA"
        standing = await house.client(before)
        async with w.tunnel(basic(house.task, ""), over=standing) as inside:
            house.believe(old, new)
            await until(lambda: len(w.events("keys.changed")) == 2)
            assert await house.shows(after) == "ok"
            assert (await w.get(inside, "/overlap")).status == 200
            house.believe(new)
            await until(lambda: len(w.events("keys.changed")) == 3)
            refused = await w.get(inside, "/withdrawn")
            assert (refused.status, told(refused)["code"]) == (407, "identity_invalid")
            (record,) = [each for each in w.records if each.code == "identity_invalid"]
            assert told(refused)["record"] == record.id
        assert await house.shows(before) == "TLSV1_ALERT_UNKNOWN_CA"
        assert await house.shows(after) == "ok"


async def test_files_of_our_own_and_a_revocation_list(tmp_path: Path):
    authority, ours = Authority(), trustme.CA()
    bundle, crl = tmp_path / "bundle.pem", tmp_path / "crl.pem"
    bundle.write_bytes(pem(authority.certificate))
    good, bad = (shown(tmp_path, authority, AGENT, ends=dt.timedelta(days=300)) for _ in range(2))
    crl.write_bytes(bad.revoked_by(authority))
    certificate = ours.issue_cert("localhost")
    (tmp_path / "own.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    (tmp_path / "own.key").write_bytes(certificate.private_key_pem.bytes())
    own = {"certificate": str(tmp_path / "own.pem"), "key": str(tmp_path / "own.key")}
    async with served(tmp_path, AGENTS, **house_settings(bundle, crl=str(crl), **own)) as w:
        house = await moved_in(w, authority, bundle)
        context = ssl.create_default_context(cadata=ours.cert_pem.bytes().decode())
        context.load_cert_chain(good.path)
        async with w.tunnel(
            basic(house.task, ""), over=await tls_client(w.sidecar.address, context)
        ) as inside:
            assert (await w.get(inside, "/long-lived")).status == 200
            crl.write_bytes(revocations(authority, *(each.chain[0].serial_number for each in (bad, good))))
            assert await inside.at_end()
        context.load_cert_chain(bad.path)
        with pytest.raises(ssl.SSLError, match="REVOKED"):
            async with await tls_client(w.sidecar.address, context) as client:
                await client.open_tunnel(w.authority, basic(house.task, ""))
        crl.write_bytes(revocations(authority))
        async with await tls_client(w.sidecar.address, context) as client:
            assert (await w.ask_over(client, "/forgiven", basic(house.task, ""))).status == 200


async def test_a_bundle_that_is_missing_lets_nobody_in(tmp_path: Path):
    settings = house_settings(tmp_path / "none.pem")
    async with served(tmp_path, AGENTS, **settings) as w:
        house = await moved_in(w, Authority(), tmp_path / "none.pem")
        assert await house.shows(house.leaf(AGENT)) == "TLSV1_ALERT_UNKNOWN_CA"
        house.believe(house.authority)
        await until(lambda: bool(w.events("keys.changed")))
        assert await house.shows(house.leaf(AGENT)) == "ok"
