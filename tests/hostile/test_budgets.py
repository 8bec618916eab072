"""D14: what a task may use is not multiplied by handing it on, by haste or by a restart (egress.md, section 5)."""

import asyncio
import json
import signal
from collections import Counter

import pytest

from proxy.errors import Code
from proxy.identity.principal import Budgets
from tests.hostile.assertions import inside
from tests.hostile.callers import ask, calls, delegate, house, silent, through, to_desk, tunnel, with_ceiling
from tests.support import demo_rules
from tests.support.rawclient import RawClient, basic
from tests.support.upstream import Upstream
from tests.system.deployed import configure, launch, read_log
from tests.system.process import gatepass

LIMIT = 7


def served(w) -> int:
    """How many calls the API has seen."""
    return len(w.upstream.requests)


def verdicts(w) -> Counter[str]:
    """How often each code is on record; allowed calls are ""."""
    return Counter(record.code for record in calls(w))


async def hurry(w, token: str, wanted: int) -> Counter[int]:
    """So many calls at once, each on a tunnel of its own: how often each status was the answer."""
    answers = await asyncio.gather(*(through(w, token, f"/{number}") for number in range(wanted)))
    for answer in answers:
        assert answer.status == 200 or answer.json()["code"] == Code.BUDGET_EXCEEDED
        silent(w, (answer.body,), [token])
    return Counter(answer.status for answer in answers)


async def test_d14_haste_does_not_multiply_a_budget(tmp_path):
    async with house(tmp_path, "a") as w:
        token = w.another_task(agent="a", budgets=Budgets(requests=LIMIT)).token
        assert await hurry(w, token, 20) == {200: LIMIT, 429: 20 - LIMIT}
        assert served(w) == LIMIT
        assert verdicts(w) == {"": LIMIT, Code.BUDGET_EXCEEDED: 20 - LIMIT}


async def test_d14_many_hands_do_not_multiply_a_budget(tmp_path):
    """Each child asks for all that its parent has, and has its own children: together they get that once."""
    async with house(tmp_path, "a", "b", "c", "d") as w:
        root = w.another_task(agent="a", budgets=Budgets(requests=LIMIT))
        tokens = [root.token]
        for to in ("b", "c", "d"):
            child = await delegate(w, root.token, to, budgets={"requests": LIMIT})
            tokens.append(child.token)
            tokens += [(await delegate(w, child.token, other)).token for other in {"b", "c", "d"} - {to}]
        assert len(tokens) == 10
        answers = sum(await asyncio.gather(*(hurry(w, token, 3) for token in tokens)), Counter())
        assert answers == {200: LIMIT, 429: 30 - LIMIT}
        assert served(w) == LIMIT
        assert verdicts(w) == {"": LIMIT, Code.BUDGET_EXCEEDED: 30 - LIMIT}
        left = (await ask(w, tokens[-1], "/whoami")).json()["budgets_left"]
        assert left == {"requests": 0, "octets": None}


async def test_d14_tasks_that_are_handed_out_anew_start_from_what_is_left(tmp_path):
    """A child spends, ends, and is handed out again; the parent's account goes on."""
    async with house(tmp_path, "a", "b") as w:
        root = w.another_task(agent="a", budgets=Budgets(requests=4))
        for number in range(4):
            child = await delegate(w, root.token, "b", budgets={"requests": 3})
            assert (await through(w, child.token, f"/{number}")).status == 200
            assert (await ask(w, child.token, "/end", method="POST")).status == 200
        last = await delegate(w, root.token, "b", budgets={"requests": 3})
        answer = await through(w, last.token)
        assert (answer.status, answer.json()["code"]) == (429, Code.BUDGET_EXCEEDED)
        assert root.task.id in answer.json()["detail"]
        (refused,) = [record for record in calls(w) if record.effect == "deny"]
        assert (refused.code, refused.status, refused.agent) == (Code.BUDGET_EXCEEDED, 429, "b")
        assert served(w) == 4


async def test_d14_the_smallest_budget_of_the_chain_counts(tmp_path):
    async with house(tmp_path, "a", "b", "c") as w:
        root = w.another_task(agent="a", budgets=Budgets(requests=5))
        child = await delegate(w, root.token, "b", budgets={"requests": 3})
        grandchild = await delegate(w, child.token, "c", budgets={"requests": 1})
        assert await hurry(w, grandchild.token, 3) == {200: 1, 429: 2}
        assert await hurry(w, child.token, 4) == {200: 2, 429: 2}
        assert await hurry(w, root.token, 4) == {200: 2, 429: 2}
        assert served(w) == 5


async def test_d14_an_agent_s_ceiling_is_a_budget_of_each_of_its_tasks(tmp_path):
    async with house(tmp_path, "a", with_ceiling("b", budgets={"requests": 2})) as w:
        child = await delegate(w, w.started.token, "b")
        assert await hurry(w, child.token, 5) == {200: 2, 429: 3}
        assert served(w) == 2


async def test_d14_octets_are_taken_from_everybody_above(tmp_path):
    """They are known once they have passed: what is under way runs to its end, and nothing comes after it."""
    async with house(tmp_path, "a", "b", "c") as w:
        root = w.another_task(agent="a", budgets=Budgets(octets=50_000))
        first, second = [await delegate(w, root.token, to) for to in ("b", "c")]
        assert (await through(w, first.token, "/bytes?n=60000")).status == 200
        await w.settled()
        for token in (first.token, second.token, root.token):
            answer = await through(w, token)
            assert (answer.status, answer.json()["code"]) == (429, Code.BUDGET_EXCEEDED)
        assert served(w) == 1


async def test_d14_what_is_refused_costs_nothing_and_neither_does_the_desk(tmp_path):
    """Else whoever was handed a task could burn it for whoever handed it on."""
    policies = [
        demo_rules.permit("a", who="a", actions=("read",)),
        demo_rules.permit("b", who="b", actions=("read",)),
    ]
    async with house(tmp_path, "a", "b", policies=policies) as w:
        root = w.another_task(agent="a", budgets=Budgets(requests=2))
        child = await delegate(w, root.token, "b")
        for _ in range(5):
            assert (await through(w, child.token, "/", method="DELETE")).status == 403
            assert (await ask(w, child.token, "/whoami")).status == 200
            may = await ask(
                w, child.token, f"/may?method=GET&url=https%3A%2F%2F{w.authority.replace(':', '%3A')}"
            )
            assert may.json()["allowed"]
        assert await hurry(w, child.token, 3) == {200: 2, 429: 1}
        assert served(w) == 2


async def test_d14_a_tunnel_that_stays_open_gets_no_more(tmp_path):
    async with house(tmp_path, "a") as w:
        token = w.another_task(agent="a", budgets=Budgets(requests=2)).token
        async with tunnel(w, basic("task", token)) as client:
            statuses = []
            for number in range(4):
                await client.send(inside(w, f"/{number}"))
                statuses.append((await client.read_response()).status)
        assert statuses == [200, 200, 429, 429]
        assert served(w) == 2


@pytest.mark.parametrize("restarts", [1, 3])
async def test_d14_a_restart_does_not_fill_a_budget(tmp_path, restarts):
    async with house(tmp_path, "a", "b") as w:
        root = w.another_task(agent="a", budgets=Budgets(requests=5, octets=10_000_000))
        child = await delegate(w, root.token, "b")
        for number in range(restarts):
            assert (await through(w, child.token, f"/{number}")).status == 200
            await w.settled()
            await w.restart()
        assert await hurry(w, child.token, 6) == {200: 5 - restarts, 429: 1 + restarts}
        assert await hurry(w, root.token, 2) == {429: 2}
        assert served(w) == 5
        left = (await ask(w, root.token, "/whoami")).json()["budgets_left"]
        assert (left["requests"], left["octets"] < 10_000_000) == (0, True)


class Served:
    """``gatepass serve`` as a process of its own, with two agents: ``tester``, and ``helper`` below it."""

    def __init__(self, directory, upstream: Upstream) -> None:
        self.directory, self.upstream = directory, upstream
        self.config = configure(directory, upstream)
        entries = [demo_rules.agent("tester"), demo_rules.agent("helper")]
        (directory / "rules" / "agents.yaml").write_text(json.dumps({"agents": entries}))
        extra = demo_rules.permit("helper", who="helper", actions=("read",))
        (directory / "rules" / "policies" / "more.cedar").write_text(extra)
        self.sidecar = None

    async def start(self) -> None:
        self.sidecar = await launch(self.config, self.directory)

    async def kill(self) -> None:
        self.sidecar.signal(signal.SIGKILL)
        assert await self.sidecar.ended() == -signal.SIGKILL

    async def task(self, *arguments: str) -> str:
        """The token of a task of ``tester``."""
        address = "{}:{}".format(*self.sidecar.address)
        done = await gatepass(
            *("task", "start", "--config", self.config, "--agent", "tester"),
            *("--proxy", address, "--json", *arguments),
            home=self.directory / "home",
        )
        return done.json()["variables"]["https_proxy"].partition("task:")[2].partition("@")[0]

    async def handed_on(self, token: str) -> str:
        body = json.dumps({"agent": "helper", "purpose": "a part of it"}).encode()
        async with await RawClient.connect(self.sidecar.address) as client:
            await client.send(to_desk(token, "/delegate", method="POST", body=body))
            answer = await client.read_response()
        assert answer.status == 201, answer
        return answer.json()["token"]

    async def call(self, token: str, path: str) -> int:
        authority = f"api.test:{self.upstream.port}"
        async with await RawClient.connect(self.sidecar.address) as client:
            assert (await client.open_tunnel(authority, basic("task", token))).status == 200
            await client.start_tls("api.test", verify=False)
            await client.send(f"GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            answer = await client.read_response()
        assert answer.status == 200 or answer.json()["code"] == Code.BUDGET_EXCEEDED
        return answer.status


async def test_d14_a_kill_in_the_middle_does_not_fill_a_budget(tmp_path):
    """Nothing was written down but the log: what was used is counted again from it."""
    async with Upstream("api.test", "closed.test") as upstream:
        run = Served(tmp_path, upstream)
        await run.start()
        try:
            parent = await run.task("--max-requests", "6")
            child = await run.handed_on(parent)
            statuses = []
            for number in range(2):  # each time killed right after the answers
                statuses += [await run.call(token, f"/{number}") for token in (child, parent)]
                await run.kill()
                await run.start()
            statuses += [await run.call(token, "/after") for token in (child, parent, child, parent)]
            statuses.append(await run.call(await run.handed_on(parent), "/anew"))
        finally:
            run.sidecar.signal(signal.SIGKILL)
            await run.sidecar.ended()
        assert statuses == [200] * 6 + [429] * 3
        assert len(upstream.requests) == 6
        decisions = [
            each for each in read_log(tmp_path / "state" / "log") if each.kind == "decision" and each.port
        ]
        assert Counter(each.code for each in decisions if each.host == "api.test") == {
            "": 6,
            Code.BUDGET_EXCEEDED: 3,
        }
