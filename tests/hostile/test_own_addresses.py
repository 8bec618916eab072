"""A21: gatepass itself is no destination, neither its listeners nor its control API (egress.md, section 5)."""

import socket
from pathlib import Path

import pytest

from proxy.errors import Code
from proxy.identity.revocation import Revocations
from tests.hostile.assertions import absolute, clean, connect, refused, refused_connect, say
from tests.hostile.callers import silent
from tests.support.rawclient import RawClient
from tests.support.resolver import ScriptedResolver
from tests.support.world import world

CONTROL = {"control": {"address": "127.0.0.1:0"}}


def ports(w) -> dict[str, int]:
    assert w.sidecar.control_port is not None
    return {"listener": w.address[1], "control": w.sidecar.control_port}


def admin(w) -> str:
    return Path(w.state / "control" / "admin.token").read_text().strip()


OWN = [
    pytest.param("127.0.0.1", Code.SELF_CONNECT, id="A21-address"),
    pytest.param("localhost", Code.DEST_LOOPBACK, id="A21-localhost"),
    pytest.param("LOCALHOST.", Code.DEST_LOOPBACK, id="A21-localhost-with-a-dot"),
    pytest.param("[::1]", Code.DEST_LOOPBACK, id="A21-v6"),
    pytest.param("[::ffff:127.0.0.1]", Code.EMBEDDED_V4, id="A21-v4-in-v6"),
    pytest.param("0.0.0.0", Code.DEST_RESERVED, id="A21-any"),
    pytest.param("127.0.0.2", Code.DEST_LOOPBACK, id="A21-another-loopback"),
    pytest.param("2130706433", Code.HOST_NONCANONICAL, id="A21-decimal"),
    pytest.param("127.1", Code.HOST_NONCANONICAL, id="A21-short"),
]


@pytest.mark.parametrize("which", ["listener", "control"])
@pytest.mark.parametrize("form", ["url", "connect"])
@pytest.mark.parametrize(("host", "code"), OWN)
async def test_a21_neither_the_proxy_nor_its_control_api_is_reached_through_it(
    tmp_path, host, code, form, which
):
    """With the operator's own token, as if the agent had stolen it."""
    async with world(tmp_path, **CONTROL) as w:
        authority = f"{host}:{ports(w)[which]}"
        if form == "connect":
            await refused_connect(w, await say(w, connect(w, authority)), code)
            return
        data = absolute(w, f"http://{authority}/v1/tasks", f"Authorization: Bearer {admin(w)}")
        answer = await say(w, data)
        await refused(w, answer, code)
        silent(w, (answer.body,), [admin(w)])


async def test_a21_nor_by_a_name_that_the_operator_has_opened(tmp_path):
    """The rule was meant for something else at that address; the port is ours."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    private = {"allow_private": [{"host": "me.test", "cidr": "127.0.0.0/8", "port": port}]}
    control = {"address": f"127.0.0.1:{port}"}
    resolver = ScriptedResolver({"me.test": [("127.0.0.1",)]})
    async with world(tmp_path, resolver=resolver, observe=True, egress=private, control=control) as w:
        answer = await say(w, absolute(w, f"http://me.test:{port}/v1/health"))
        assert (answer.status, answer.json()["code"]) == (508, Code.LOOP)
        await w.settled()
        assert [(record.result, record.code) for record in w.outcomes] == [("refused", Code.LOOP)]
        assert w.sidecar.parts.book.revocations == Revocations()


async def test_the_control_api_takes_no_agent_s_token(tmp_path):
    """Spoken to directly, from the same machine: a session token is nobody there."""
    async with world(tmp_path, **CONTROL) as w:
        lines = [f"Host: 127.0.0.1:{ports(w)['control']}", f"Authorization: Bearer {w.started.token}"]
        data = "\r\n".join(["GET /v1/tasks HTTP/1.1", *lines, "", ""]).encode()
        async with await RawClient.connect(("127.0.0.1", ports(w)["control"])) as client:
            await client.send(data)
            answer = await client.read_response()
        assert answer.status == 401
        clean(w, answer.body)
