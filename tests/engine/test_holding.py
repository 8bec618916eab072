"""A call that waits for a person: approved exactly as it was asked, once, or not at all (D13)."""

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator

import pytest

from proxy.policy.approval import Approver, Denial, Grant, State, Waiting
from proxy.store.approvals_table import ApprovalStore, Terms
from proxy.wiring_approvals import APPROVALS
from tests.support import demo_rules
from tests.support.rawclient import RawClient
from tests.support.upstream import Upstream
from tests.support.world import World, world

ADA = Approver("local:ada", frozenset())
RULES = [
    demo_rules.permit("reads"),
    '@id("writes") permit(principal, action in Action::"write", resource) when { context.approved };',
]


CALL = {"jsonrpc": "2.0", "method": "tools/call"}
QUICK = {"reload": 0.05}


@contextlib.asynccontextmanager
async def held(tmp_path, wait: float = 30, upstream: Upstream | None = None, **more):
    async with world(tmp_path, policies=RULES, upstream=upstream, approvals={"wait": wait, **more}) as w:
        yield w


def desk(w: World) -> ApprovalStore:
    return ApprovalStore.open(w.state / APPROVALS)


async def asked(w: World, count: int = 1):
    """The requests that wait, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            with desk(w) as store:
                found = store.list(State.WAITING)
            if len(found) >= count:
                return found
            await asyncio.sleep(0.005)


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def answer(w: World, request_id: str, said=None):
    with desk(w) as store:
        return store.answer(request_id, said or Grant(1, 600, ""), ADA, int(time.time()))


def post(w: World, body: bytes = b"{}", path: str = "/x", *headers: str):
    return w.call(path, method="POST", headers=["Content-Type: application/json", *headers], body=body)


async def test_a_held_call_goes_on_as_soon_as_it_is_approved_and_says_by_whom(tmp_path):
    async with held(tmp_path) as w:
        call = asyncio.create_task(post(w, b'{"a": 1}'))
        (entry,) = await asked(w)
        assert w.upstream.bytes_received == 0
        assert not w.decisions
        answer(w, entry.id)
        assert (await call).status == 200
        (decision,) = w.decisions
        assert decision.effect == "allow"
        assert decision.rule == "writes"
        approval = decision.raw["why"]["approval"]
        assert (approval["id"], approval["approver"], approval["use"]) == (entry.id, "local:ada", 1)
        assert approval["request_sha256"] == entry.asked.request_sha256
        assert decision.raw["why"]["input"]["context"]["approved"] is True


async def test_without_an_answer_it_is_403_with_a_hint_and_the_same_call_passes_later_once(tmp_path):
    async with held(tmp_path, wait=0) as w:
        first = await post(w)
        assert (first.status, first.json()["code"]) == (403, "approval_required")
        assert first.get("retry-after") is not None
        (entry,) = await asked(w)
        assert entry.id in first.json()["detail"]
        assert (await post(w)).json()["code"] == "approval_required"
        assert len(await asked(w)) == 1  # the same request is asked about once
        assert w.upstream.bytes_received == 0
        answer(w, entry.id)
        assert (await post(w)).status == 200
        again = await post(w)
        assert (again.status, again.json()["code"]) == (403, "approval_required")
        assert len(w.upstream.requests) == 1


@pytest.mark.parametrize(
    "changed",
    [
        lambda w: post(w, b'{"a": 2}'),
        lambda w: post(w, b'{"a": 1} '),
        lambda w: post(w, b'{"a": 1}', "/y"),
        lambda w: post(w, b'{"a": 1}', "/x?b=1"),
        lambda w: post(w, b'{"a": 1}', "/x", "X-Amount: 2"),
    ],
    ids=["other body", "longer body", "other path", "a query", "a header"],
)
async def test_what_was_changed_after_the_approval_is_another_request(tmp_path, changed):
    async with held(tmp_path, wait=0) as w:
        await post(w, b'{"a": 1}')
        (entry,) = await asked(w)
        answer(w, entry.id)
        refused = await changed(w)
        assert (refused.status, refused.json()["code"]) == (403, "approval_required")
        assert w.upstream.bytes_received == 0
        assert (await post(w, b'{"a": 1}')).status == 200


async def test_another_task_of_the_same_agent_cannot_use_it(tmp_path):
    async with held(tmp_path, wait=0) as w:
        await post(w)
        (entry,) = await asked(w)
        answer(w, entry.id)
        w.started = w.another_task()
        assert (await post(w)).json()["code"] == "approval_required"
        assert w.upstream.bytes_received == 0


async def test_a_no_is_told_with_its_reason(tmp_path):
    async with held(tmp_path) as w:
        call = asyncio.create_task(post(w))
        (entry,) = await asked(w)
        answer(w, entry.id, Denial("not on a Friday"))
        refused = await call
        assert (refused.status, refused.json()["code"]) == (403, "approval_denied")
        assert "not on a Friday" in refused.json()["detail"]
        assert (await post(w)).json()["code"] == "approval_denied"
        assert w.upstream.bytes_received == 0


async def test_an_agent_cannot_approve_its_own_call(tmp_path):
    async with held(tmp_path, wait=0) as w:
        await post(w)
        (entry,) = await asked(w)
        with desk(w) as store:
            now = int(time.time())
            for who in (Approver("local:tester", frozenset()), Approver("ada", frozenset({"tester"}))):
                assert store.answer(entry.id, Grant(1, 60, ""), who, now).obstacle.value == "not theirs"
        assert (await post(w)).json()["code"] == "approval_required"


async def test_the_queue_of_an_agent_is_bounded(tmp_path):
    async with held(tmp_path, wait=0, queue=3) as w:
        for number in range(3):
            assert (await post(w, str(number).encode())).status == 403
        full = await post(w, b"4")
        assert (full.status, full.json()["code"]) == (429, "approvals_full")
        assert len(await asked(w, 3)) == 3


async def test_who_ends_its_task_waits_no_more(tmp_path):
    async with held(tmp_path) as w:
        call = asyncio.create_task(post(w))
        await asked(w)
        await w.sidecar.book.end(w.started.task.id, "over", by="test")
        with pytest.raises(ConnectionError):  # its connections are cut
            await call
        await until(lambda: len(w.decisions) == 1)
        assert [(one.effect, one.code) for one in w.decisions] == [("deny", "task_ended")]
        assert w.upstream.bytes_received == 0


async def test_a_sidecar_that_stops_lets_go_of_held_calls(tmp_path):
    async with held(tmp_path) as w:
        call = asyncio.create_task(post(w))
        await asked(w)
        await w.restart()
        assert (await call).json()["code"] == "approval_required"


async def test_who_leaves_is_not_waited_for_and_has_a_record(tmp_path):
    async with held(tmp_path) as w:
        async with w.tunnel() as client:
            await client.send(
                f"POST /x HTTP/1.1\r\nHost: {w.authority}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            await asked(w)
            client.abort()
        await until(lambda: len(w.decisions) == 1)
        assert [(one.effect, one.code) for one in w.decisions] == [("deny", "approval_required")]


@contextlib.asynccontextmanager
async def waiting(w: World) -> AsyncIterator[RawClient]:
    """A client whose call is held, without TLS, so that it can end its direction alone."""
    async with await w.client() as client:
        await client.send(plainly(w))
        await asked(w)
        yield client


def plainly(w: World) -> bytes:
    head = f"POST http://{w.authority}/x HTTP/1.1\r\nHost: {w.authority}\r\nContent-Length: 2\r\n"
    return f"{head}Proxy-Authorization: {w.authorization}\r\n\r\n{{}}".encode()


async def test_for_who_has_closed_its_side_nothing_is_sent_and_no_use_is_taken(tmp_path):
    """A client that times out closes its socket, which sends FIN and no RST."""
    up = Upstream("api.test", tls=False)
    async with held(tmp_path, upstream=up) as w, waiting(w) as client:
        client.half_close()
        await until(lambda: len(w.decisions) == 1)
        assert [(one.effect, one.code) for one in w.decisions] == [("deny", "approval_required")]
        (entry,) = await asked(w)
        answer(w, entry.id)
        async with await w.client() as again:
            await again.send(plainly(w))
            assert (await again.read_response()).status == 200
        assert len(up.requests) == 1


async def test_who_leaves_without_a_word_of_tls_has_left(tmp_path):
    async with held(tmp_path) as w:
        async with w.tunnel() as client:
            await client.send(
                f"POST /x HTTP/1.1\r\nHost: {w.authority}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            (entry,) = await asked(w)
            descriptor = client.writer.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(descriptor)) as below:
                below.shutdown(socket.SHUT_WR)
            await until(lambda: len(w.decisions) == 1)
        answer(w, entry.id)
        assert (await w.call("/x", method="POST", body=b"{}")).status == 200
        assert len(w.upstream.requests) == 1


async def test_waiting_ends_when_the_request_leaves_the_queue(tmp_path):
    """A call that finds its request there since long ago would else ask for it in a circle."""
    async with held(tmp_path, wait=3000) as w:
        await post(w, b"{}", "/x", "Prefer: wait=0")
        (entry,) = await asked(w)
        with desk(w) as store:
            now = int(time.time())
            store.withdraw(w.started.task.id, now)
            assert isinstance(store.file(entry.asked, now - 9, Terms(10, 20, separate_owner=False)), Waiting)
        assert (await post(w)).json()["code"] == "approval_required"
        assert w.upstream.bytes_received == 0


def tools(up: Upstream):
    return [demo_rules.service("api", *up.hosts, ports=[up.port], protocol="mcp")]


async def test_a_tool_is_called_again_under_another_number_once_it_is_approved(tmp_path):
    """Clients of MCP number their requests; the approval would else be of one that never comes again."""
    policies = ['@id("calls") permit(principal, action, resource) when { context.approved };']

    def pay(w: World, number: int, amount: int = 1):
        params = {"name": "pay", "arguments": {"amount": amount}, "_meta": {"progressToken": number}}
        return post(w, json.dumps(CALL | {"id": number, "params": params}).encode(), "/mcp")

    async with world(tmp_path, services=tools, policies=policies, approvals={"wait": 0}) as w:
        assert (await pay(w, 1)).json()["code"] == "approval_required"
        (entry,) = await asked(w)
        answer(w, entry.id)
        assert (await pay(w, 2, 1000)).json()["code"] == "approval_required"
        assert (await pay(w, 3)).status == 200
        assert (await pay(w, 3)).json()["code"] == "approval_required"
        assert len(w.upstream.requests) == 1


async def test_rules_that_change_while_it_waits_let_nothing_through_on_the_old_word(tmp_path):
    async with world(tmp_path, policies=RULES, approvals={"wait": 30}, follow=True, policy=QUICK) as w:
        call = asyncio.create_task(post(w))
        (entry,) = await asked(w)
        more = demo_rules.forbid("no more", actions=("write",)).replace("no more", "no-more")
        (tmp_path / "rules" / "policies" / "more.cedar").write_text(more)
        await until(lambda: [record.kind for record in w.records].count("rules.load") == 2)  # and at start
        answer(w, entry.id)
        refused = await call
        assert (refused.status, refused.json()["code"]) == (403, "approval_required")
        assert "rules have changed" in refused.json()["detail"]
        (decision,) = w.decisions  # that of the rules under which it waited
        assert decision.raw["why"]["ruleset_sha256"] == entry.asked.ruleset_sha256
        assert decision.raw["why"]["held"] is True
        assert w.upstream.bytes_received == 0


async def test_who_prefers_to_wait_shorter_does(tmp_path):
    async with held(tmp_path, wait=3000) as w:
        refused = await post(w, b"{}", "/x", "Prefer: respond-async, wait=0")
        assert refused.json()["code"] == "approval_required"


async def test_what_is_allowed_or_forbidden_anyway_is_not_asked_about(tmp_path):
    async with held(tmp_path, wait=0) as w:
        assert (await w.call("/x")).status == 200
        assert (await w.call("/x", method="DELETE")).json()["code"] == "default_deny"
        with desk(w) as store:
            assert store.list() == ()
        assert json.dumps(w.decisions[0].raw).count("approval") == 0
