"""A sidecar at a SPIFFE Workload API: bundles and its own SVID come from there, and go at its word.

Agents show JWT-SVIDs as the password of the proxy, or X.509-SVIDs to an ``https://`` proxy whose
certificate is the sidecar's own SVID. The Workload API is a double that attests nobody.
"""

import asyncio
import itertools
import json
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.engine.svids import AGENT, DOMAIN, Authority, der, pem, pkcs8, shown, tls_client
from tests.support.issuer import jwk
from tests.support.rawclient import basic
from tests.support.workload_api import JWT, X509, Minted, WorkloadApiServer, jwt_response, x509_response
from tests.system.process import until
from tests.system.served import Served, agent, served, session, told

pytest.importorskip("grpc")

TRUST = f"spiffe://{DOMAIN}"
EGRESS = f"{TRUST}/egress"
WAYS = ({"method": "jwt-svid", "id": AGENT}, {"method": "x509-svid", "id": AGENT}, session())


@dataclass
class Home:
    """A trust domain: who signs for it, and the sidecar's own SVID."""

    directory: Path
    authority: Authority = field(default_factory=Authority)
    key_id: str = "first"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def rotated(self) -> "Home":
        return Home(self.directory, key_id=self.key_id + "+")

    def token(self, **changes: object) -> str:
        """A JWT-SVID of the agent."""
        now = int(time.time())
        claims = {"sub": AGENT, "aud": [EGRESS], "iat": now, "exp": now + 300, **changes}
        return jwt.encode(claims, self.key, "ES256", headers={"kid": self.key_id})

    def bundles(self) -> bytes:
        public = jwk(self.key.public_key(), kid=self.key_id)
        return jwt_response({TRUST: json.dumps({"keys": [public]}).encode()})

    def identity(self) -> bytes:
        own = shown(self.directory, self.authority, EGRESS)
        return x509_response([Minted(EGRESS, own.der, pkcs8(own.key), der(self.authority))])


@asynccontextmanager
async def at_home(tmp_path: Path) -> AsyncIterator[tuple[Served, WorkloadApiServer, Home, str]]:
    """A sidecar that knows who it is; two listeners: one for tokens, one that shows its SVID."""
    home = Home(tmp_path)
    listen = [
        {"address": "127.0.0.1:0"},
        {"address": "127.0.0.1:0", "tls": {"trust_domain": DOMAIN, "workload_api": True}},
    ]
    with tempfile.TemporaryDirectory(prefix="gp") as short:
        identity = {
            "audience": EGRESS,
            "trust_domains": [{"name": DOMAIN}],
            "workload_api": f"unix://{short}/s",
        }
        async with WorkloadApiServer(f"unix:{short}/s") as api:
            await api.say(X509, home.identity())
            await api.say(JWT, home.bundles())
            async with served(tmp_path, [agent("coder", *WAYS)], listen=listen, identity=identity) as w:
                await changes(w, 1)
                yield w, api, home, str((await w.started("coder"))["task"])


async def changes(w: Served, most: int) -> None:
    """Wait until the sidecar has both halves of the bundle, or what became of them."""
    await until(lambda: len(w.events("keys.changed")) >= most)


async def code(w: Served, path: str, task: str, token: str) -> str:
    answer = await w.ask(path, basic(task, token))
    return "ok" if answer.status == 200 else str(told(answer)["code"])


async def becomes(w: Served, task: str, token: str, wanted: str) -> None:
    """Ask until the sidecar has heard; it is told on a stream of its own."""
    async with asyncio.timeout(20):
        for number in itertools.count():
            if await code(w, f"/{wanted}/{number}", task, token) == wanted:
                return


def towards(home: Home, *, trusts: Home) -> ssl.SSLContext:
    """A workload's own context: it shows an SVID and takes that of the sidecar."""
    context = ssl.create_default_context(cadata=pem(trusts.authority.certificate).decode())
    context.check_hostname = False  # a SPIFFE ID is compared instead
    context.load_cert_chain(shown(home.directory, home.authority).path)
    return context


async def own_name(w: Served, context: ssl.SSLContext) -> str:
    """The SPIFFE ID that the listener shows."""
    async with await tls_client(w.sidecar.addresses[1], context) as client:
        shows = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    certificate = x509.load_der_x509_certificate(shows)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


async def test_a_jwt_svid_and_an_x509_svid(tmp_path: Path):
    async with at_home(tmp_path) as (w, _, home, task):
        token = home.token()
        await becomes(w, task, token, "ok")
        assert (await w.curl(w.through(task, token), "/curl")).status == 200
        (evidence,) = w.evidence("/curl")
        assert (evidence["method"], evidence["issuer"]) == ("jwt-svid", TRUST)
        assert evidence["key_id"] == "first"
        assert await code(w, "/a", task, home.token(aud=[EGRESS, "https://api.test"])) == "identity_invalid"
        assert await code(w, "/b", task, home.token(sub="spiffe://other.example/agent")) == "identity_invalid"
        assert await code(w, "/c", task, home.token(sub=f"{TRUST}/stranger")) == "agent_unknown"

        context = towards(home, trusts=home)
        assert await own_name(w, context) == EGRESS
        async with w.tunnel(
            basic(task, token), over=await tls_client(w.sidecar.addresses[1], context)
        ) as inside:
            assert (await w.get(inside, "/both")).status == 200
        assert {each["method"] for each in w.evidence("/both")} == {"jwt-svid", "x509-svid"}


async def test_everything_rotates(tmp_path: Path):
    async with at_home(tmp_path) as (w, api, old, task):
        await becomes(w, task, old.token(), "ok")
        new = old.rotated()
        await api.say(JWT, new.bundles())
        await becomes(w, task, new.token(), "ok")
        assert await code(w, "/old", task, old.token()) == "identity_invalid"

        await api.say(X509, new.identity())
        await changes(w, 4)
        assert await own_name(w, towards(new, trusts=new)) == EGRESS
        with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
            await w.ask_over(
                await tls_client(w.sidecar.addresses[1], towards(old, trusts=new)), "/x", basic(task, "")
            )


async def test_what_is_taken_back_stops_at_once(tmp_path: Path):
    async with at_home(tmp_path) as (w, api, home, task):
        token = home.token()
        await becomes(w, task, token, "ok")
        async with w.tunnel(basic(task, token)) as standing:
            await api.say(JWT, jwt_response({}))
            await becomes(w, task, token, "identity_invalid")
            refused = await w.get(standing, "/standing")
            assert (refused.status, told(refused)["code"]) == (407, "identity_invalid")
        await api.say(X509, grpc.StatusCode.PERMISSION_DENIED)
        await w.sidecar.until_said("PERMISSION_DENIED")
        with pytest.raises(ConnectionError):
            await tls_client(w.sidecar.addresses[1], towards(home, trusts=home))


async def test_the_workload_api_restarts(tmp_path: Path):
    async with at_home(tmp_path) as (w, api, old, task):
        await becomes(w, task, old.token(), "ok")
        await api.stop()
        await w.sidecar.until_said("FetchJWTBundles ended")
        assert await code(w, "/meanwhile", task, old.token()) == "ok"

        new = old.rotated()
        await api.say(X509, new.identity())
        await api.say(JWT, new.bundles())
        await api.start()
        await becomes(w, task, new.token(), "ok")


async def test_a_sidecar_without_a_workload_api_serves_those_who_need_none(tmp_path: Path):
    nowhere = {"workload_api": "unix:///nowhere/s", "trust_domains": [{"name": DOMAIN}], "audience": EGRESS}
    async with served(tmp_path, [agent("coder", *WAYS)], identity=nowhere) as w:
        begun = await w.started("coder")
        task, token = str(begun["task"]), str(begun["token"])
        assert await code(w, "/session", task, token) == "ok"
        assert await code(w, "/svid", task, Home(tmp_path).token()) == "keys_unavailable"
