"""D14: no haste, refusal, batch or pipeline makes more of a budget than there is (egress.md, section 5)."""

import asyncio
import json
import time
from collections import Counter

import pytest

from proxy.errors import Code
from proxy.policy.approval import Approver, Entry, Grant, State
from proxy.store.approvals import ApprovalStore
from proxy.wiring_approvals import APPROVALS
from tests.hostile.assertions import inside
from tests.hostile.reading import JSON, allow, post, serving
from tests.support import demo_rules
from tests.support.rawclient import Response
from tests.support.upstream import Upstream
from tests.support.world import World, world

WINDOW = "366d"  # one that does not end while this runs
READ = demo_rules.permit("read")
LIMIT = 5


def limited(requests: int = LIMIT, **more: object):
    budgets = {"most": {"per": "agent", "window": WINDOW, "requests": requests}}
    return serving(more.pop("operations", None), budgets=budgets, **more)


def sums(answers: list[Response]) -> Counter[int]:
    for answer in answers:
        if answer.status == 429:
            assert answer.json()["code"] == Code.RATE_LIMITED
    return Counter(answer.status for answer in answers)


async def pipelined(w: World, count: int) -> list[Response]:
    """So many requests in one go on one connection; a refusal may end it."""
    async with w.tunnel() as client:
        await client.send(inside(w, "/x") * count)
        return [await client.read_response() for _ in range(count)]


async def test_d14_a_pipeline_gets_no_more_than_there_is(tmp_path):
    async with world(tmp_path, services=limited(), policies=[READ]) as w:
        assert sums(await pipelined(w, 12)) == {200: LIMIT, 429: 12 - LIMIT}
        assert len(w.upstream.requests) == LIMIT


async def test_d14_many_connections_at_once_get_no_more_than_there_is(tmp_path):
    async with world(tmp_path, services=limited(), policies=[READ]) as w:
        every = await asyncio.gather(*(pipelined(w, 4) for _ in range(6)), *(one(w) for _ in range(6)))
        assert sums([answer for answers in every for answer in answers]) == {200: LIMIT, 429: 30 - LIMIT}
        assert len(w.upstream.requests) == LIMIT
        used = [record.raw["why"]["input"]["context"]["budgets"]["most"]["used"] for record in w.decisions]
        assert max(used) == LIMIT


async def one(w: World) -> list[Response]:
    return [await w.call("/x")]


async def test_what_is_refused_uses_nothing_up(tmp_path):
    pay = {"pay": {"method": "POST", "path": "/pay", "group": "write", "facts": {"body": {"amount": "long"}}}}
    rules = [READ, allow("cheap", "api.pay", when="context.facts.body.amount <= 100")]
    async with world(tmp_path, services=limited(2, operations=pay), policies=rules) as w:
        for body in (b'{"amount":1000}', b'{"amount":1,"amount":2}', b"{", b'{"amount":"1"}') * 3:
            assert (await post(w, "/pay", body, JSON)).status in {400, 403}
        assert (await w.call("/x?_method=DELETE")).status == 403
        assert (await w.call("/x", method="DELETE")).status == 403
        assert sums([await w.call("/x") for _ in range(3)]) == {200: 2, 429: 1}


async def test_d14_one_budget_that_is_spent_takes_nothing_from_another(tmp_path):
    budgets = {
        "few": {"per": "task", "window": WINDOW, "requests": 2},
        "many": {"per": "agent", "window": WINDOW, "requests": 4},
    }
    async with world(tmp_path, services=serving(budgets=budgets), policies=[READ]) as w:
        assert sums([await w.call("/x") for _ in range(6)]) == {200: 2, 429: 4}
        w.started = w.another_task()
        assert sums([await w.call("/x") for _ in range(6)]) == {200: 2, 429: 4}
        w.started = w.another_task()
        assert sums([await w.call("/x") for _ in range(2)]) == {429: 2}
        assert len(w.upstream.requests) == 4


@pytest.mark.parametrize("approved", [1, 9])
async def test_d14_calls_that_wait_for_a_person_are_counted_when_they_go_on(tmp_path, approved):
    """Two limits in a race: as many go on as the smaller of both allows."""
    rule = demo_rules.permit("pay", actions=("write",)).replace(");", ") when { context.approved };")
    async with world(tmp_path, services=limited(3), policies=[rule], approvals={"wait": 0}) as w:
        answer = await post(w, "/pay", b"{}", JSON)
        assert answer.json()["code"] == Code.APPROVAL_REQUIRED
        grant(w, approved)
        answers = await asyncio.gather(*(post(w, "/pay", b"{}", JSON) for _ in range(8)))
        assert sum(answer.status == 200 for answer in answers) == min(approved, 3)
        assert len(w.upstream.requests) == min(approved, 3)


def grant(w: World, uses: int) -> None:
    with ApprovalStore.open(w.state / APPROVALS) as store:
        (entry,) = store.list(State.WAITING)
        said = store.answer(
            entry.id, Grant(uses, 600, ""), Approver("login:ada", frozenset()), int(time.time())
        )
    assert isinstance(said, Entry), said


async def test_d14_octets_that_are_on_their_way_count_once_they_have_passed(tmp_path):
    budgets = {"most": {"per": "agent", "window": WINDOW, "octets": 50_000}}
    async with world(tmp_path, services=serving(budgets=budgets), policies=[READ]) as w:
        assert (await w.call("/bytes?n=60000")).status == 200
        await w.settled()
        assert sums([await w.call("/x")]) == {429: 1}


async def test_d14_who_leaves_early_has_used_what_had_passed(tmp_path):
    budgets = {"most": {"per": "agent", "window": WINDOW, "octets": 50_000}}
    async with world(tmp_path, services=serving(budgets=budgets), policies=[READ]) as w:
        async with w.tunnel() as client:
            await client.send(inside(w, "/bytes?n=10000000"))
            came = 0
            while came < 100_000:
                came += len(await client.read_some())
            client.abort()
        await w.settled()
        assert w.outcomes[0].result == "client_gone"
        assert sums([await w.call("/x")]) == {429: 1}


TOOLS = {"safe": {"tool": "safe", "group": "read"}}


async def test_d14_a_batch_is_one_request_and_does_no_more_than_it_says(tmp_path):
    services = limited(2, operations=TOOLS, endpoints={"/mcp": "mcp"})
    async with world(tmp_path, services=services, policies=[allow("safe", "api.safe")]) as w:
        message = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "safe"}}
        batch = json.dumps([message | {"id": number} for number in range(16)]).encode()
        assert sums([await post(w, "/mcp", batch, JSON) for _ in range(3)]) == {200: 2, 429: 1}
        assert len(w.upstream.requests) == 2


async def test_d14_a_spent_budget_is_told_by_a_refusal_that_cost_nothing(tmp_path):
    up = Upstream("api.test")
    async with world(tmp_path, upstream=up, services=limited(1), policies=[READ]) as w:
        assert (await w.call("/x")).status == 200
        spent = await w.call("/x")
        assert spent.status == 429
        assert 0 < int(spent.get("retry-after")) <= 366 * 86_400
        record = w.decisions[-1]
        assert (record.effect, record.code, record.rule) == (
            "deny",
            Code.RATE_LIMITED,
            "gatepass.budget.api.most",
        )
        assert record.id == spent.json()["record"]
        assert len(up.requests) == 1
