"""An ``https://`` proxy listener in a whole sidecar: certificates in, TLS in TLS, streams, limits, the drain."""

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.lines import ends, until
from tests.engine.svids import (
    AGENT,
    BOTH_LOOPS,
    DOMAIN,
    Authority,
    Shown,
    der,
    pem,
    revocations,
    shown,
    tls_client,
)
from tests.support.behaviours import pattern
from tests.support.demo_rules import agent
from tests.support.rawclient import RawClient, basic
from tests.support.upstream import Upstream
from tests.support.world import World, world

pytestmark = pytest.mark.asyncio(loop_factories=BOTH_LOOPS)
MIB = 1 << 20


@dataclass
class Site:
    """A world whose listener wants certificates; ``shows`` is what its agent has."""

    w: World
    authority: Authority
    shows: Shown
    bundle: Path

    def context(self, shows: Shown | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.w.keyring.ca_path)
        if shows is not None:
            context.load_cert_chain(shows.path)
        return context

    async def client(self, shows: Shown | None = None) -> RawClient:
        return await tls_client(self.w.address, self.context(shows or self.shows))

    @property
    def task(self) -> str:
        """No token is needed: the certificate says who, the user name which task."""
        return basic(self.w.started.task.id, "")

    @contextlib.asynccontextmanager
    async def tunnel(self):
        async with await self.client() as client:
            answer = await client.open_tunnel(self.w.authority, self.task)
            assert answer.status == 200, answer
            if self.w.upstream.tls:
                await client.start_tls(self.w.upstream.hosts[0], cafile=self.w.keyring.ca_path)
            yield client

    def head(self, path: str, *headers: str, method: str = "GET") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.w.authority}", *headers, "", ""]
        return "\r\n".join(lines).encode()


@contextlib.asynccontextmanager
async def site(
    directory: Path,
    *,
    crl: bool = False,
    upstream: Upstream | None = None,
    max_life: int | None = None,
    **settings: object,
):
    authority = Authority()
    known = shown(directory, authority)
    bundle, lists = directory / "bundle.pem", directory / "crl.pem"
    bundle.write_bytes(pem(authority.certificate))
    lists.write_bytes(revocations(authority))
    ways = [{"method": "session"}, {"method": "x509-svid", "id": AGENT}]
    tls = {"trust_domain": DOMAIN, **({"crl": str(lists)} if crl else {})}
    tls |= {} if max_life is None else {"max_life": max_life}
    async with world(
        directory,
        upstream=upstream,
        agents=[{**agent(), "authenticate": ways}],
        listen=[{"address": "127.0.0.1:0", "tls": tls}],
        identity={"trust_domains": [{"name": DOMAIN, "bundle": str(bundle)}]},
        **settings,
    ) as w:
        async with asyncio.timeout(60):
            yield Site(w, authority, known, bundle)


async def test_a_call_is_attributed_to_the_certificate(tmp_path):
    async with site(tmp_path) as s:
        async with s.tunnel() as client:
            await client.send(s.head("/hello"))
            assert (await client.read_response()).status == 200
        (decision,) = s.w.decisions
        (evidence,) = decision.raw["who"]["auth"]
        assert decision.agent == "tester"
        assert evidence["method"] == "x509-svid"
        assert evidence["token_id"] == f"{s.shows.chain[0].serial_number:x}"
        assert decision.raw["who"]["peer"].startswith("127.0.0.1:")
        assert s.w.sidecar.server.places == [f"https://127.0.0.1:{s.w.address[1]}"]


@pytest.mark.parametrize(
    ("max_life", "crl", "status"), [(7200, False, 407), (7200, True, 200), (10_800, False, 200)]
)
async def test_how_long_a_certificate_may_live_is_the_listeners_to_say(tmp_path, max_life, crl, status):
    """The agent's lives for three hours."""
    async with site(tmp_path, max_life=max_life, crl=crl) as s, await s.client() as client:
        answer = await client.open_tunnel(s.w.authority, s.task)
        assert answer.status == status
        assert [each.detail for each in s.w.decisions] == (
            []
            if status == 200
            else ["the client's certificate lives for more than 7200 seconds, and there is no CRL"]
        )


async def test_an_absolute_form_request_is_under_one_tls_alone(tmp_path):
    async with site(tmp_path, upstream=Upstream("api.test", tls=False)) as s, await s.client() as client:
        for _ in range(2):
            head = s.head(f"http://{s.w.authority}/hello", f"Proxy-Authorization: {s.task}")
            await client.send(head)
            assert (await client.read_response()).status == 200
        await s.w.settled()
        assert ends(s.w) == [("complete", "", 200)] * 2


async def test_a_certificate_that_stands_for_nobody_is_refused_with_a_good_token_too(tmp_path):
    async with site(tmp_path) as s:
        stranger = shown(tmp_path, s.authority, f"spiffe://{DOMAIN}/stranger")
        async with await s.client(stranger) as client:
            answer = await client.open_tunnel(s.w.authority, s.w.authorization)
            assert answer.status == 403
        assert [(d.effect, d.code) for d in s.w.decisions] == [("deny", "agent_unknown")]


async def test_curl_speaks_tls_in_tls(tmp_path):
    size = 8 * MIB
    async with site(tmp_path, crl=True) as s:
        sent = tmp_path / "sent"
        sent.write_bytes(pattern(size))
        api = f"https://{s.w.authority}"
        options = [
            *("-sS", "--fail", "--proxy", f"https://localhost:{s.w.address[1]}"),
            *("--proxy-user", f"{s.w.started.task.id}:", "--proxy-cacert", str(s.w.keyring.ca_path)),
            *("--proxy-cert", str(s.shows.path), "--cacert", str(s.w.keyring.ca_path)),
        ]

        async def curl(*arguments: str) -> bytes:
            running = await asyncio.create_subprocess_exec(
                "curl", *options, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            out, err = await running.communicate()
            assert running.returncode == 0, err
            return out

        assert await curl(f"{api}/bytes?n={size}") == pattern(size)
        told = json.loads(await curl("--data-binary", f"@{sent}", "-H", "Expect:", f"{api}/echo"))
        assert told["length"] == size
        assert told["sha256"] == hashlib.sha256(pattern(size)).hexdigest()
        await s.w.settled()
        assert ends(s.w) == [("complete", "", 200)] * 2


async def test_both_directions_stream_at_once_through_tls_in_tls(tmp_path):
    """A WebSocket is the one call whose directions are independent."""
    size = 2 * MIB
    async with site(tmp_path) as s, s.tunnel() as client:
        upgrade = (
            *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        await client.send(s.head("/websocket", *upgrade))
        assert (await client.read_head()).start[1] == b"101"
        # one unmasked-as-zero frame of 64 KiB again and again; the API echoes each
        frame = b"\x82\xff" + (65536).to_bytes(8, "big") + bytes(4) + pattern(65536)
        echoed = b"\x82\x7f" + (65536).to_bytes(8, "big") + pattern(65536)

        async def push() -> None:
            for _ in range(size // 65536):
                await client.send(frame)

        pushing = asyncio.ensure_future(push())
        for _ in range(size // 65536):
            assert await client.read_exactly(len(echoed)) == echoed
        await pushing


async def test_a_refusal_is_read_although_a_body_was_on_its_way(tmp_path):
    async with site(tmp_path, policies=[]) as s, s.tunnel() as client:
        await client.send(s.head("/x", f"Content-Length: {MIB // 2}", method="POST") + pattern(MIB // 2))
        answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, "default_deny")
        assert await client.at_end()


async def test_a_rotated_authority_holds_for_connections_that_stand_and_that_come(tmp_path):
    async with site(tmp_path) as s, s.tunnel() as client:
        await client.send(s.head("/hello"))
        assert (await client.read_response()).status == 200
        successor = Authority()
        (tls,) = s.w.sidecar.server._tls
        s.bundle.write_bytes(pem(successor.certificate))
        await until(lambda: tls._authorities == (der(successor),))
        await client.send(s.head("/again"))
        assert (await client.read_response()).status == 407
        with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
            async with await s.client() as another:
                await another.read_some()
        async with await s.client(shown(tmp_path, successor)) as another:
            assert (await another.open_tunnel(s.w.authority, s.task)).status == 200


async def test_whoever_comes_to_be_on_the_revocation_list_is_cut(tmp_path):
    async with site(tmp_path, crl=True) as s, s.tunnel() as client:
        async with await s.client(shown(tmp_path, s.authority)) as another:
            assert (await another.open_tunnel(s.w.authority, s.task)).status == 200
            await client.send(s.head("/sse"))
            body = aiter(client.body(await client.read_head()))
            assert await anext(body) + await client.read_exactly(2) == b"data: first\n\n\r\n"
            namesake = Authority(name="another")
            (tmp_path / "crl.pem").write_bytes(
                revocations(namesake, 1) + s.shows.revoked_by(s.authority) + revocations(s.authority, 2)
            )
            assert await client.at_end()
            await another.start_tls(s.w.upstream.hosts[0], cafile=s.w.keyring.ca_path)
            await another.send(s.head("/unharmed"))
            assert (await another.read_response()).status == 200
        await s.w.settled()
        assert ("cut", "revoked", 200) in ends(s.w)


async def test_a_handshake_counts_as_a_connection(tmp_path):
    async with site(tmp_path, limits={"connections": 1}) as s:
        with socket.create_connection(s.w.address):
            await until(lambda: bool(s.w.sidecar.server._arriving))
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await s.client()
            assert "limits.connections" in s.w.alarms[-1]
        await until(lambda: not s.w.sidecar.server._arriving)
        async with s.tunnel():
            pass


async def test_a_handshake_does_not_last_for_ever(tmp_path):
    async with site(tmp_path, limits={"handshake_timeout": 0.3}) as s:
        reader, writer = await asyncio.open_connection(*s.w.address)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert "too long" in s.w.alarms[0]


async def test_a_drain_lets_a_running_call_end_and_cuts_handshakes(tmp_path):
    async with site(tmp_path) as s, s.tunnel() as busy, s.tunnel() as idle:
        await busy.send(s.head("/slow"))
        await s.w.upstream.until(lambda: len(s.w.upstream.requests) == 1)
        with socket.create_connection(s.w.address):
            await until(lambda: bool(s.w.sidecar.server._arriving))
            draining = asyncio.ensure_future(s.w.sidecar.drain(20))
            assert await idle.at_end()
            await until(lambda: not s.w.sidecar.server._arriving)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*s.w.address)
            s.w.upstream.release.set()
            assert (await busy.read_response()).body == b"at last"
            assert await busy.at_end()
            await draining
        await s.w.settled()
        assert ends(s.w) == [("complete", "", 200)]
