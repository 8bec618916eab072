"""The order of the questions: identity, form, origin, destination, placeholder, policy."""

import pytest

from proxy.credential import placeholder
from tests.engine.lines import plain_world, refusals, untouched
from tests.support.demo_rules import permit

UNKNOWN = placeholder.mint(b"u" * 24)
WRONG = (
    "identity_missing",
    "header_forbidden",
    "authority_mismatch",
    "dest_loopback",
    "placeholder_unknown",
    "default_deny",
)


@pytest.mark.parametrize("expected", WRONG)
async def test_of_many_faults_the_first_one_is_told(tmp_path, expected):
    """Everything from ``expected`` on is wrong with the request, everything before it is right."""
    wrong = WRONG[WRONG.index(expected) :]
    async with plain_world(tmp_path, policies=[]) as w, await w.client() as client:
        host = "127.0.0.1" if "dest_loopback" in wrong else "api.test"
        authority = f"{host}:{w.upstream.port}"
        lines = [f"GET http://{authority}/ HTTP/1.1"]
        lines.append("Host: other.test" if "authority_mismatch" in wrong else f"Host: {authority}")
        if "identity_missing" not in wrong:
            lines.append(f"Proxy-Authorization: {w.authorization}")
        if "header_forbidden" in wrong:
            lines.append("Expect: the-unexpected")
        if "placeholder_unknown" in wrong:
            lines.append(f"Authorization: Bearer {UNKNOWN}")
        await client.send("\r\n".join([*lines, "", ""]).encode())
        answer = await client.read_response()
        assert answer.json()["code"] == expected
        assert [code for code, _ in refusals(w)] == [expected]
        assert answer.json()["record"] == w.decisions[0].id
        assert UNKNOWN not in str(w.decisions[0].raw)
        assert untouched(w)


async def test_a_task_that_another_process_started_a_moment_ago_is_found(tmp_path):
    async with plain_world(tmp_path, policies=[permit("t")]) as w, await w.client() as client:
        w.started = w.another_task()
        await client.send(
            f"GET http://{w.authority}/ HTTP/1.1\r\nHost: {w.authority}\r\n"
            f"Proxy-Authorization: {w.authorization}\r\n\r\n".encode()
        )
        assert (await client.read_response()).status == 200
        assert w.decisions[0].task == w.started.task.id


async def test_a_listener_s_identity_needs_no_token_and_takes_none(tmp_path):
    async with plain_world(tmp_path, fixed=True) as w, await w.client() as client:
        for extra in ("", "Proxy-Authorization: Basic cnViYmlzaA==\r\n"):
            await client.send(
                f"GET http://{w.authority}/ HTTP/1.1\r\nHost: {w.authority}\r\n{extra}\r\n".encode()
            )
            assert (await client.read_response()).status == 200
        assert {record.agent for record in w.decisions} == {"tester"}
        assert b"Proxy-Authorization" not in w.upstream.received
