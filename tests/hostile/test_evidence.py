"""D1, D3, B18: evidence that contradicts itself, certificates that prove nothing, and evidence that is withdrawn."""

import asyncio
import contextlib
import datetime as dt
import hashlib
import os
import ssl
from pathlib import Path

import pytest

from proxy.errors import Code
from proxy.identity.revocation import Kind
from tests.engine.svids import Authority, Shown, now, pem, pem_key, shown, tls_client
from tests.hostile.assertions import absolute, everything, inside, say, untouched
from tests.hostile.callers import DESK, as_url, calls, house, revoke, silent, through, tunnel, turned_away
from tests.hostile.test_bad_tokens import CI, DOMAIN, foreign, presented
from tests.support import demo_rules
from tests.support.certificates import LATER
from tests.support.rawclient import WAIT_S, RawClient, Response, basic
from tests.support.wire import Malformed
from tests.support.world import world

UNIX = [{"method": "session"}, {"method": "unix", "uid": os.getuid()}]
ID = "spiffe://example.org/robot"
SVID = {
    **demo_rules.agent("robot"),
    "authenticate": [{"method": "session"}, {"method": "x509-svid", "id": ID}],
}


# -- sockets --


async def over_unix(path: Path, data: bytes) -> Response:
    async with asyncio.timeout(WAIT_S):
        client = RawClient(*await asyncio.open_unix_connection(path))
    async with client:
        await client.send(data)
        return await client.read_response()


@pytest.mark.parametrize("whose", ["token", "task"])
async def test_a_process_with_somebody_else_s_token(tmp_path, whose):
    """The kernel says ``here``, the token says ``b``: nobody, and nobody is named on record."""
    path = tmp_path / "x.sock"
    here = {**demo_rules.agent("here"), "authenticate": UNIX}
    async with house(tmp_path, here, "b", listen=[{"unix": str(path)}]) as w:
        theirs = w.another_task(agent="b")
        if whose == "token":
            answer = await over_unix(path, as_url(w, basic("task", theirs.token)))
            record = await turned_away(w, answer, Code.IDENTITY_CONFLICT, token=theirs.token)
        else:  # its own identity, and another's task
            answer = await over_unix(path, as_url(w, basic(theirs.task.id, "")))
            record = await turned_away(w, answer, Code.IDENTITY_INVALID, agent="here")
        assert record.raw["who"]["peer"].startswith(f"unix uid={os.getuid()} pid={os.getpid()}")


@pytest.mark.parametrize("with_token", [False, True])
async def test_another_process_at_the_socket_of_an_agent(tmp_path, with_token):
    """The socket is the agent's, whom the kernel knows by another program; its token does not help."""
    path = tmp_path / "x.sock"
    never = {"method": "unix", "uid": os.getuid(), "executable": "/usr/bin/never"}
    known = {**demo_rules.agent(), "authenticate": [{"method": "session"}, {"method": "listener"}, never]}
    listen = [{"unix": str(path), "agent": "tester"}]
    async with world(tmp_path, agents=[known], listen=listen, fixed=True) as w:
        authorization = basic("task", w.started.token) if with_token else basic(w.started.task.id, "")
        answer = await over_unix(path, as_url(w, authorization))
        await turned_away(w, answer, Code.IDENTITY_CONFLICT)


# -- certificates --


@contextlib.asynccontextmanager
async def mutual(directory: Path, *more: object, **tls: object):
    """A house behind a TLS listener of ``example.org``, and the authority that signs for it."""
    authority = Authority()
    (directory / "bundle.pem").write_bytes(pem(authority.certificate))
    identity = {"trust_domains": [{"name": "example.org", "bundle": str(directory / "bundle.pem")}]}
    listen = [{"address": "127.0.0.1:0", "tls": {"trust_domain": "example.org", **tls}}]
    async with house(directory, SVID, *more, identity=identity, listen=listen) as w:
        yield w, authority


async def over_tls(w, shows: Shown | None, data: bytes) -> Response | None:
    """What is answered; None if TLS has refused the certificate, or that there is none."""
    context = ssl.create_default_context(cafile=w.keyring.ca_path)
    if shows is not None:
        context.load_cert_chain(shows.path)
    try:
        async with await tls_client(w.address, context) as client:
            await client.send(data)
            return await client.read_response()
    except (ssl.SSLError, ConnectionError, EOFError, Malformed):
        return None


def task_only(w) -> str:
    """The credential of who proves itself by certificate: the task, and no token."""
    return basic(w.started.task.id, "")


async def test_an_honest_certificate_is_accepted(tmp_path):
    async with mutual(tmp_path) as (w, authority):
        answer = await over_tls(w, shown(tmp_path, authority, ID), as_url(w, task_only(w)))
        assert answer is not None
        (record,) = calls(w)
        assert (record.agent, record.code) == ("robot", Code.DEFAULT_DENY)  # plain http: no rule permits that
        assert [one["method"] for one in record.raw["who"]["auth"]] == ["x509-svid"]


def leaf(directory: Path, authority: Authority, *uris: str, **changes: object) -> Shown:
    """A leaf of the authority, as wrong as ``changes`` make it."""
    key = Authority().key
    good = {"not_before": now() - dt.timedelta(hours=1), "not_after": now() + dt.timedelta(hours=1)}
    made = authority.sign(*uris, key=key, dns=("localhost",), **{**good, **changes})
    path = directory / f"{made.serial_number:x}.pem"
    path.write_bytes(pem_key(key) + pem(made))
    return Shown((made,), key, path)


def own_authority(directory: Path, authority: Authority) -> Shown:
    """The signing certificate itself, presented as if it were a workload's."""
    path = directory / "authority.pem"
    path.write_bytes(pem_key(authority.key) + pem(authority.certificate))
    return Shown((authority.certificate,), authority.key, path)


D3 = [
    pytest.param(lambda d, a: leaf(d, a, ID, "spiffe://example.org/other"), id="D3-two-uris"),
    pytest.param(lambda d, a: leaf(d, a, ID, ID), id="D3-one-uri-twice"),
    pytest.param(leaf, id="D3-no-uri"),
    pytest.param(lambda d, a: leaf(d, a, "spiffe://example.org"), id="D3-root-path"),
    pytest.param(lambda d, a: leaf(d, a, "spiffe://example.org/"), id="D3-empty-path"),
    pytest.param(lambda d, a: leaf(d, a, "spiffe://other.org/robot"), id="D3-another-trust-domain"),
    pytest.param(lambda d, a: leaf(d, a, "spiffe://EXAMPLE.ORG/robot"), id="D3-in-capitals"),
    pytest.param(lambda d, a: leaf(d, a, "https://example.org/robot"), id="D3-no-spiffe-id"),
    pytest.param(lambda d, a: leaf(d, a, ID, not_after=LATER), id="D3-lives-for-years"),
    pytest.param(lambda d, a: leaf(d, a, ID, not_after=now() - dt.timedelta(minutes=30)), id="D3-expired"),
    pytest.param(lambda d, a: leaf(d, Authority(), ID), id="D3-another-authority-of-the-same-name"),
    pytest.param(own_authority, id="D3-the-authority-itself"),
]


@pytest.mark.parametrize("make", D3)
async def test_d3_a_certificate_that_proves_nothing(tmp_path, make):
    """TLS refuses it, or the call has no valid identity; in no case is anything reached."""
    async with mutual(tmp_path) as (w, authority):
        for authorization in (task_only(w), basic("task", w.started.token)):
            answer = await over_tls(w, make(tmp_path, authority), as_url(w, authorization))
            if answer is not None:
                assert (answer.status, answer.json()["code"]) in {
                    (407, Code.IDENTITY_INVALID),
                    (407, Code.IDENTITY_EXPIRED),
                }
                silent(w, (answer.body,), [w.started.token])
            else:
                assert calls(w) == []
        assert {record.effect for record in calls(w)} <= {"deny"}
        await untouched(w)


async def test_a_certificate_of_nobody_who_is_registered(tmp_path):
    async with mutual(tmp_path) as (w, authority):
        stranger = shown(tmp_path, authority, "spiffe://example.org/stranger")
        answer = await over_tls(w, stranger, as_url(w, task_only(w)))
        assert answer is not None
        await turned_away(w, answer, Code.AGENT_UNKNOWN)


async def test_a_certificate_with_somebody_else_s_token(tmp_path):
    async with mutual(tmp_path, "b") as (w, authority):
        theirs = w.another_task(agent="b")
        answer = await over_tls(w, shown(tmp_path, authority, ID), as_url(w, basic("task", theirs.token)))
        assert answer is not None
        await turned_away(w, answer, Code.IDENTITY_CONFLICT, token=theirs.token)


async def test_a_listener_for_certificates_takes_no_plain_connection_and_no_token_alone(tmp_path):
    async with mutual(tmp_path) as (w, _):
        async with await w.client() as client:
            await client.send(as_url(w, basic("task", w.started.token)))
            assert not (await everything(client)).startswith(b"HTTP/")
        assert await over_tls(w, None, as_url(w, basic("task", w.started.token))) is None
        assert calls(w) == []
        await untouched(w)


# -- withdrawn --

WITHDRAWN = {
    "its id": lambda i: (Kind.TOKEN, "token-1"),
    "its digest": lambda i: (Kind.TOKEN, hashlib.sha256(i.mint().rpartition(b".")[0]).hexdigest()),
    "its key": lambda i: (Kind.KEY, i.key_id),
    "its issuer": lambda i: (Kind.ISSUER, "spiffe://example.org" if i is DOMAIN else i.url),
}


@pytest.mark.parametrize("issuer", [CI, DOMAIN], ids=["oidc", "jwt-svid"])
@pytest.mark.parametrize("what", WITHDRAWN)
async def test_b18_a_foreign_token_that_was_believed_before_the_order(tmp_path, issuer, what):
    """It was verified, and is remembered; its stream is cut, and whoever is there by other proof goes on."""
    token = issuer.mint()
    async with foreign(tmp_path) as w:
        authorization = presented(w, token)
        async with tunnel(w, authorization) as client, tunnel(w, basic("task", w.started.token)) as own:
            await client.send(inside(w, "/sse"))
            head = await client.read_head()
            assert await anext(aiter(client.body(head))) == b"data: first\n\n"
            await revoke(w, *WITHDRAWN[what](issuer))
            assert b"second" not in await everything(client)
            await own.send(inside(w, "/own"))
            assert (await own.read_response()).status == 200
        answer = await say(w, as_url(w, authorization))
        assert (answer.status, answer.json()["code"]) == (403, Code.REVOKED)
        last = calls(w)[-1]
        assert (last.agent, last.code, last.status) == ("robot", Code.REVOKED, 403)
        silent(w, (answer.body,), [token.decode()])
        kind, identity = WITHDRAWN[what](issuer)
        assert await w.sidecar.parts.consequences.lift(kind, identity, "control:test")
        async with tunnel(w, authorization) as client:
            await client.send(inside(w, "/again"))
            assert (await client.read_response()).status == 200


async def test_b18_what_was_handed_on_by_a_withdrawn_token_falls_with_it(tmp_path):
    """Whoever had the key could else have made a token, delegated, and be there after the order."""
    body = b'{"agent": "b", "purpose": "on"}'
    async with foreign(tmp_path, "b") as w:
        line = f"Content-Length: {len(body)}"
        head = absolute(w, f"{DESK}/delegate", line, method="POST", authorization=presented(w, CI.mint()))
        token = (await say(w, head + body)).json()["token"]
        assert (await through(w, token)).status == 200
        await revoke(w, Kind.KEY, CI.key_id)
        assert (await say(w, head + body)).json()["code"] == Code.REVOKED
        async with await w.client() as client:
            answer = await client.open_tunnel(w.authority, basic("task", token))
        assert (answer.status, answer.json()["code"]) == (403, Code.REVOKED)
