"""D13: one person's word lets exactly one request through, once, and never the one who asks for it."""

import asyncio
import json
import time
from hashlib import sha256

from proxy.policy.approval import Approver, Denial, Entry, Grant, Obstacle, State, Unanswered
from proxy.store.approvals import ApprovalStore
from tests.support.demo_rules import permit
from tests.support.rawclient import RawClient, Response, basic
from tests.support.world import World, world

READ = permit("reading", actions=("read",))
PAY = permit("paying", actions=("write",)).replace(");", ") when { context.approved };")
RULES = [READ, PAY]
AT_ONCE = {"wait": 0}
BODY_1 = sha256(b"body 1").hexdigest()


def store(w: World) -> ApprovalStore:
    return ApprovalStore.open(w.state / "approvals.sqlite3")


def answer(w: World, said: Grant | Denial, who: str = "login:ada") -> Entry | Unanswered:
    """Answer the only request that waits."""
    with store(w) as kept:
        (entry,) = kept.list(State.WAITING)
        return kept.answer(entry.id, said, Approver(who, frozenset()), int(time.time()))


async def pay(w: World, body: bytes = b"body 1", path: str = "/pay", *headers: str) -> Response:
    return await w.call(path, method="POST", headers=headers, body=body)


def refused(answer: Response, code: str) -> str:
    assert answer.status == 403, answer
    told = answer.json()
    assert told["code"] == code, told
    return str(told["detail"])


def sent(w: World) -> list[str]:
    """The digests of the bodies that have arrived at the API."""
    return [request.sha256 for request in w.upstream.requests]


async def test_d13_what_was_approved_is_sent_once_and_nothing_else(tmp_path):
    async with world(tmp_path, policies=RULES, approvals=AT_ONCE) as w:
        refused(await pay(w), "approval_required")
        assert answer(w, Grant(1, 60, "")).state is State.APPROVED
        assert "query, header fields or body differ" in refused(await pay(w, b"body 2"), "approval_required")
        refused(await pay(w, b"body 1", "/pay?again=1"), "approval_required")
        refused(await pay(w, b"body 1", "/pay", "X-To: somebody else"), "approval_required")
        assert sent(w) == []
        assert (await pay(w, b"body 1", "/pay", "User-Agent: another", "Traceparent: 00-1")).status == 200
        assert "is used up" in refused(await pay(w), "approval_required")
        assert sent(w) == [BODY_1]


async def test_d13_an_approval_is_no_other_task_s(tmp_path):
    async with world(tmp_path, policies=RULES, approvals=AT_ONCE) as w:
        refused(await pay(w), "approval_required")
        answer(w, Grant(5, 60, ""))
        w.started, mine = w.another_task(), w.started
        refused(await pay(w), "approval_required")
        w.started = mine
        assert (await pay(w)).status == 200


async def test_d13_of_many_at_once_as_many_get_through_as_were_approved(tmp_path):
    async with world(tmp_path, policies=RULES, approvals=AT_ONCE) as w:
        refused(await pay(w), "approval_required")
        answer(w, Grant(2, 60, ""))
        answers = await asyncio.gather(*(pay(w) for _ in range(8)))
        assert sorted(one.status for one in answers) == [200] * 2 + [403] * 6
        assert len(sent(w)) == 2


async def test_d13_the_agent_cannot_approve_itself(tmp_path):
    async with world(tmp_path, policies=RULES, approvals=AT_ONCE, control={"address": "127.0.0.1:0"}) as w:
        refused(await pay(w), "approval_required")
        for name in ("tester", "login:tester", "local:tester"):
            said = answer(w, Grant(1, 60, ""), name)
            assert isinstance(said, Unanswered)
            assert said.obstacle is Obstacle.NOT_THEIRS
        with store(w) as kept:
            (entry,) = kept.list()
        port = w.sidecar.control_port
        assert port is not None
        body = b'{"answer": "approve"}'
        head = [
            f"POST /v1/approvals/{entry.id} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Authorization: Bearer {w.started.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        async with await RawClient.connect(("127.0.0.1", port)) as client:
            await client.send("\r\n".join([*head, "", ""]).encode() + body)
            assert (await client.read_response()).status == 401
        refused(await pay(w), "approval_required")
        assert sent(w) == []


async def test_a_call_that_is_kept_waiting_goes_on_when_somebody_says_so(tmp_path):
    async with world(tmp_path, policies=RULES, approvals={"wait": 60}) as w:
        held = asyncio.ensure_future(pay(w))
        async with asyncio.timeout(20):
            while True:
                with store(w) as kept:
                    if kept.list(State.WAITING):
                        break
                await asyncio.sleep(0.01)
        assert sent(w) == []
        answer(w, Grant(1, 60, "month end"))
        assert (await held).status == 200
        assert sent(w) == [BODY_1]


async def test_a_no_is_final_and_told(tmp_path):
    async with world(tmp_path, policies=RULES, approvals=AT_ONCE) as w:
        refused(await pay(w), "approval_required")
        answer(w, Denial("not this account"))
        assert "not this account" in refused(await pay(w), "approval_denied")
        assert sent(w) == []


async def test_t10_an_agent_cannot_bury_a_person_in_requests(tmp_path):
    async with world(tmp_path, policies=RULES, approvals=AT_ONCE | {"queue": 2}) as w:
        for number in range(2):
            refused(await pay(w, b"%d" % number), "approval_required")
        full = await pay(w, b"more")
        assert (full.status, full.json()["code"]) == (429, "approvals_full")
        assert 1 <= int(full.get("retry-after")) <= 60
        refused(await pay(w, b"0"), "approval_required")  # it has its place already
        with store(w) as kept:
            assert len(kept.list()) == 2


async def test_the_desk_tells_an_agent_of_its_own_requests_alone(tmp_path):
    async with world(tmp_path, policies=RULES, approvals=AT_ONCE) as w:
        refused(await pay(w), "approval_required")
        mine, other = w.started, w.another_task()
        with store(w) as kept:
            (entry,) = kept.list()

        async def ask(token: str) -> list[dict[str, object]]:
            async with await w.client() as client:
                lines = [
                    "GET http://gatepass.internal/approvals HTTP/1.1",
                    "Host: gatepass.internal",
                    f"Proxy-Authorization: {basic('task', token)}",
                ]
                await client.send("\r\n".join([*lines, "", ""]).encode())
                listed = (await client.read_response()).json()["approvals"]
                assert isinstance(listed, list)
                return listed

        (told,) = await ask(mine.token)
        assert (told["id"], told["state"], told["method"]) == (entry.id, "waiting", "POST")
        assert str(told["url"]).endswith("/pay")
        assert await ask(other.token) == []


async def test_every_word_is_in_the_log_once_also_one_given_while_nothing_ran(tmp_path):
    async with world(tmp_path, policies=RULES, approvals=AT_ONCE) as w:
        refused(await pay(w), "approval_required")
        await w.sidecar.drain(2)
        answer(w, Grant(1, 60, "by night"))
        w.sidecar = await w.start()
        assert (await pay(w)).status == 200
    told = [record for record in w.records if record.kind.startswith("approval.")]
    assert [record.kind for record in told] == ["approval.request", "approval.grant", "approval.use"]
    bodies = [record.raw["body"] for record in told]
    assert len({json.dumps([body["id"], body["request_sha256"]]) for body in bodies}) == 1
    assert (bodies[1]["late"], bodies[1]["approver"], bodies[1]["reason"]) == (True, "login:ada", "by night")
    assert {record.task for record in told} == {w.started.task.id}
