"""D14 for services: what may be used of one in a window grows by no haste, delegation, restart or kill."""

import asyncio
import signal
from collections import Counter

from proxy.errors import Code
from tests.hostile.callers import calls, delegate, house, through
from tests.support import demo_rules
from tests.support.rawclient import RawClient, basic
from tests.support.upstream import Upstream
from tests.system.deployed import configure, launch, read_log
from tests.system.process import gatepass

LIMIT = 5
WINDOW = "366d"  # one that does not end while this runs


def budgeted(**budgets):
    """The service ``api``, with these budgets."""

    def services(up):
        return [demo_rules.service("api", *up.hosts, ports=[up.port], budgets=budgets)]

    return services


def per(who, limit=LIMIT, unit="requests"):
    return {"per": who, "window": WINDOW, unit: limit}


async def hurry(w, tokens) -> Counter[int]:
    """A call of each at once; whoever is refused learns when to come back."""
    answers = await asyncio.gather(*(through(w, token) for token in tokens))
    for answer in answers:
        if answer.status != 200:
            assert (answer.status, answer.json()["code"]) == (429, Code.RATE_LIMITED)
            assert 0 < int(answer.head.get("retry-after") or b"0") <= 366 * 86_400
    return Counter(answer.status for answer in answers)


async def test_d14_haste_and_more_tasks_do_not_multiply_what_an_agent_may_use(tmp_path):
    async with house(tmp_path, "a", "b", services=budgeted(most=per("agent"))) as w:
        tokens = [w.another_task(agent="a").token for _ in range(4)]
        assert await hurry(w, tokens * 4) == {200: LIMIT, 429: 16 - LIMIT}
        assert await hurry(w, [w.another_task(agent="b").token]) == {200: 1}
        assert len(w.upstream.requests) == LIMIT + 1
        for each in calls(w):
            told = each.raw["why"]["input"]["context"]["budgets"]["most"]
            assert told["limit"] == LIMIT
            if each.effect == "deny":
                assert each.rule == "gatepass.budget.api.most"
                assert told["used"] == LIMIT
            else:
                assert told["used"] < LIMIT


async def test_d14_many_hands_do_not_multiply_what_a_task_may_use(tmp_path):
    async with house(tmp_path, "a", "b", "c", services=budgeted(most=per("task"))) as w:
        root = w.another_task(agent="a")
        children = [await delegate(w, root.token, to) for to in ("b", "c", "b")]
        tokens = [root.token, *(child.token for child in children)]
        assert await hurry(w, tokens * 3) == {200: LIMIT, 429: 12 - LIMIT}
        assert await hurry(w, tokens) == {429: 4}
        assert await hurry(w, [w.another_task(agent="a").token]) == {200: 1}


async def test_d14_octets_of_a_service_are_counted_when_they_have_passed(tmp_path):
    async with house(tmp_path, "a", services=budgeted(most=per("agent", 50_000, "octets"))) as w:
        token = w.another_task(agent="a").token
        assert (await through(w, token, "/bytes?n=60000")).status == 200
        await w.settled()
        assert await hurry(w, [token]) == {429: 1}


async def test_d14_a_restart_fills_no_budget_of_a_service(tmp_path):
    async with house(tmp_path, "a", services=budgeted(most=per("agent"), each=per("task", 3))) as w:
        token = w.another_task(agent="a").token
        for _ in range(2):
            assert await hurry(w, [token]) == {200: 1}
            await w.settled()
            await w.restart()
        assert await hurry(w, [token] * 4) == {200: 1, 429: 3}
        other = w.another_task(agent="a").token
        assert await hurry(w, [other] * 4) == {200: 2, 429: 2}
        assert len(w.upstream.requests) == LIMIT


async def test_d14_a_kill_in_the_middle_fills_no_budget_of_a_service(tmp_path):
    """Each time right after the answers: what was used is counted again from the log."""
    async with Upstream("api.test", "closed.test") as upstream:
        config = configure(tmp_path, upstream)
        limited = demo_rules.service("api", "api.test", ports=[upstream.port], budgets={"most": per("agent")})
        demo_rules.write_rules(
            tmp_path / "rules", services=[limited], policies=[demo_rules.permit("all", actions=("read",))]
        )
        authority, statuses = f"api.test:{upstream.port}", []
        for run in range(3):
            sidecar = await launch(config, tmp_path)
            try:
                token = await begun(config, sidecar, tmp_path)
                for _ in range(2 if run < 2 else 4):
                    async with await RawClient.connect(sidecar.address) as client:
                        assert (await client.open_tunnel(authority, basic("task", token))).status == 200
                        await client.start_tls("api.test", verify=False)
                        await client.send(f"GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
                        statuses.append((await client.read_response()).status)
            finally:
                sidecar.signal(signal.SIGKILL)
                await sidecar.ended()
        assert statuses == [200] * LIMIT + [429] * 3
        assert len(upstream.requests) == LIMIT
        codes = [each.code for each in read_log(tmp_path / "state" / "log") if each.kind == "decision"]
        assert Counter(codes) == {"": LIMIT, Code.RATE_LIMITED: 3}


async def begun(config, sidecar, directory) -> str:
    """The token of a new task of ``tester``."""
    address = "{}:{}".format(*sidecar.address)
    done = await gatepass(
        *("task", "start", "--config", config, "--agent", "tester", "--proxy", address, "--json"),
        home=directory / "home",
    )
    return done.json()["variables"]["https_proxy"].partition("task:")[2].partition("@")[0]
