"""The order of the questions: identity, form, origin, destination, placeholder, policy."""

from dataclasses import replace

import pytest

from proxy.credential import placeholder
from proxy.identity.principal import Budgets
from tests.engine.lines import plain_world, refusals, untouched
from tests.engine.ports import YES, Says, engine, named
from tests.support.demo_rules import agent, permit
from tests.support.rawclient import basic

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


async def test_a_listener_s_identity_needs_no_token_and_takes_one_that_agrees(tmp_path):
    agents = [agent(), agent("other")]
    async with plain_world(tmp_path, fixed=True, agents=agents) as w, await w.client() as client:
        strange = w.another_task(agent="other")
        cases = (
            ("", 200),
            (basic("task", w.started.token), 200),
            (basic(w.started.task.id, ""), 200),
            (basic("task", "rubbish"), 407),
            (basic("task", strange.token), 407),
            (basic(strange.task.id, ""), 407),
        )
        for who, status in cases:
            extra = f"Proxy-Authorization: {who}\r\n" if who else ""
            await client.send(
                f"GET http://{w.authority}/ HTTP/1.1\r\nHost: {w.authority}\r\n{extra}\r\n".encode()
            )
            assert (await client.read_response()).status == status, who
        assert {record.agent for record in w.decisions if record.effect == "allow"} == {"tester"}
        assert [code for code, _ in refusals(w)] == [
            "identity_invalid",
            "identity_conflict",
            "identity_invalid",
        ]
        assert b"Proxy-Authorization" not in w.upstream.received


async def test_what_was_not_given_is_told_before_what_is_spent():
    async with engine(pdp=Says(YES), budgets=Budgets(requests=1)) as e:
        assert (await e.call("/x")).status == 200
        whole = e.book.tasks["one"]
        for services, code in (((), "service_not_granted"), (None, "budget_exceeded")):
            e.book.tasks["one"] = replace(whole, services=services)
            assert (await e.call("/x")).json()["code"] == code
        assert len(e.upstream.requests) == 1


async def test_a_task_that_ends_takes_every_connection_of_its_own_and_no_other():
    async with engine() as e, await e.client() as one, await e.client("two") as two:
        task = e.book.delegate("one", "two")
        for client, headers in ((one, ()), (two, (named(task),))):
            await client.send(e.head("/x", *headers))
            assert (await client.read_response()).status == 200
        e.book.end("one")
        e.server.end_task("one")
        assert await one.at_end()
        await two.send(e.head("/x", named(task)))  # the book ends what was delegated; here it did not
        assert (await two.read_response()).json()["code"] == "task_ended"
        await two.send(e.head("/x"))
        assert (await two.read_response()).status == 200
