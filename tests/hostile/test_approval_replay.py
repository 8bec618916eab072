"""D13: an approval is for one exact request, of one task, under one set of rules, while it lasts (egress.md, 5)."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxy.errors import Code
from proxy.policy.approval import Approval, Approver, Entry, Grant, State
from proxy.store.approvals import ApprovalStore
from proxy.wiring_approvals import APPROVALS
from tests.hostile.assertions import refused as refused_once
from tests.hostile.callers import delegate, events, house, through, until
from tests.hostile.reading import JSON, arrived
from tests.support.demo_rules import permit
from tests.support.rawclient import Response
from tests.support.world import World, world

READ = permit("reading")
PAY = permit("paying", actions=("write",)).replace(");", ") when { context.approved };")
NO = '@id("no") forbid(principal, action in Action::"write", resource);'
AT_ONCE = {"wait": 0}
ADA = Approver("login:ada", frozenset())


def kept(w: World) -> ApprovalStore:
    return ApprovalStore.open(w.state / APPROVALS)


def say_yes(w: World, uses: int = 1, *, seconds: int = 600, at: int | None = None) -> Entry:
    """Approve the only request that waits."""
    with kept(w) as store:
        (entry,) = store.list(State.WAITING)
        answered = store.answer(entry.id, Grant(uses, seconds, ""), ADA, at or int(time.time()))
    assert isinstance(answered, Entry), answered
    return answered


def write_rules(w: World, *policies: str) -> None:
    (w.state.parent / "rules" / "policies" / "test.cedar").write_text("\n".join(policies))


async def waiting(w: World) -> None:
    def some() -> bool:
        with kept(w) as store:
            return bool(store.list(State.WAITING))

    await until(some)


BODY = b'{"amount": 1}'


def pay(w: World, *headers: str, path: str = "/pay?to=ada", body: bytes = BODY, method: str = "POST"):
    return w.call(path, method=method, headers=[JSON, "X-Note: a", "X-Note: b", *headers], body=body)


def told(answer: Response) -> str:
    assert answer.status in {403, 429}, answer
    return str(answer.json()["code"])


def approving(tmp_path, **more):
    return world(tmp_path, policies=[READ, PAY], approvals=AT_ONCE, **more)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"body": b'{"amount": 2}'}, id="D13-body"),
        pytest.param({"body": b'{"amount": 1 }'}, id="D13-spaces-in-the-body"),
        pytest.param({"body": b'{"\\u0061mount": 1}'}, id="D13-escapes-in-the-body"),
        pytest.param({"body": BODY + b"\0"}, id="D13-longer-body"),
        pytest.param({"body": b""}, id="D13-no-body"),
        pytest.param({"path": "/pay?to=bob"}, id="D13-query"),
        pytest.param({"path": "/pay?to=ada&to=bob"}, id="D13-longer-query"),
        pytest.param({"path": "/pay?to=%61da"}, id="D13-encoded-query"),
        pytest.param({"path": "/pay?to=ada&"}, id="D13-empty-pair"),
        pytest.param({"path": "/pay"}, id="D13-no-query"),
        pytest.param({"path": "/pay/?to=ada"}, id="D13-slash"),
        pytest.param({"path": "/PAY?to=ada"}, id="D13-case"),
        pytest.param({"path": "/pay;x?to=ada"}, id="D13-parameter"),
        pytest.param({"method": "PUT"}, id="D13-method"),
        pytest.param({"method": "PATCH"}, id="D13-another-method"),
    ],
)
async def test_what_was_changed_is_another_request(tmp_path, change):
    async with approving(tmp_path) as w:
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=5)
        assert told(await pay(w, **change)) == Code.APPROVAL_REQUIRED
        assert w.upstream.connections == []
        assert [record.effect for record in w.decisions] == ["deny"] * 2
        assert (await pay(w)).status == 200


@pytest.mark.parametrize(
    "header",
    [
        *(
            "X-Note: c",
            "x-note: a",
            "X-To: bob",
            "Cookie: a=1",
            "Authorization: Bearer x",
            "Idempotency-Key: 2",
        ),
        *(
            "Content-Language: de",
            "If-Match: *",
            "Range: bytes=0-1",
            "X-Amz-Target: A.B",
            "Accept: text/html",
        ),
    ],
)
async def test_d13_a_header_more_is_another_request(tmp_path, header):
    async with approving(tmp_path) as w:
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=5)
        assert told(await pay(w, header)) == Code.APPROVAL_REQUIRED
        assert w.upstream.connections == []


async def test_d13_one_header_less_or_in_another_order_is_another_request(tmp_path):
    async with approving(tmp_path) as w:
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=5)
        for headers in (["X-Note: a"], ["X-Note: b", "X-Note: a"], ["X-Note: a, b"], []):
            answer = await w.call("/pay?to=ada", method="POST", headers=[JSON, *headers], body=BODY)
            assert told(answer) == Code.APPROVAL_REQUIRED
        answer = await w.call("/pay?to=ada", method="POST", headers=["X-Note: a", "X-Note: b"], body=BODY)
        assert told(answer) == Code.APPROVAL_REQUIRED
        assert w.upstream.connections == []


async def test_d13_trailers_are_part_of_the_request(tmp_path):
    async def send(trailers: str) -> Response:
        async with w.tunnel() as client:
            head = f"POST /pay HTTP/1.1\r\nHost: {w.authority}\r\nTransfer-Encoding: chunked\r\n\r\n"
            await client.send(f"{head}1\r\nx\r\n0\r\n{trailers}\r\n".encode())
            return await client.read_response()

    async with approving(tmp_path) as w:
        assert told(await send("X-To: ada\r\n")) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=5)
        for trailers in ("X-To: bob\r\n", "", "X-To: ada\r\nX-To: bob\r\n", "X-Too: ada\r\n"):
            assert told(await send(trailers)) == Code.APPROVAL_REQUIRED
        assert w.upstream.connections == []
        assert (await send("X-To: ada\r\n")).status == 200
        assert w.upstream.requests[0].trailers == ((b"X-To", b"ada"),)


async def test_d13_how_it_is_framed_and_spelt_is_not_part_of_it(tmp_path):
    async with approving(tmp_path) as w, w.tunnel() as client:
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        say_yes(w)
        lines = [
            "POST /x/../%70ay?to=ada HTTP/1.1",
            f"Host: {w.authority}",
            "x-note: a",
            "CONTENT-TYPE: application/json",
        ]
        lines += ["X-NOTE: b", "Transfer-Encoding: chunked", "User-Agent: another", "", ""]
        await client.send("\r\n".join(lines).encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY))
        assert (await client.read_response()).status == 200
        assert arrived(w) == ["POST /pay?to=ada"]


async def test_d13_after_its_last_use_it_is_over(tmp_path):
    async with approving(tmp_path) as w:
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=2)
        assert [(await pay(w)).status for _ in range(3)] == [200, 200, 403]
        await until(lambda: len(events(w, "approval.use")) == 2)
        assert [(told["use"], told["uses"]) for told in events(w, "approval.use")] == [(1, 2), (2, 2)]
        assert len(w.upstream.requests) == 2


async def test_d13_a_use_is_taken_also_where_nothing_came_of_it(tmp_path):
    async with approving(tmp_path) as w:
        assert told(await pay(w, path="/abort")) == Code.APPROVAL_REQUIRED
        say_yes(w)
        assert (await pay(w, path="/abort")).status == 502
        assert told(await pay(w, path="/abort")) == Code.APPROVAL_REQUIRED
        assert len(w.upstream.requests) == 1


async def test_d13_an_approval_that_has_expired_lets_nothing_through(tmp_path):
    async with approving(tmp_path) as w:
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=5, seconds=60, at=int(time.time()) - 61)
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        assert w.upstream.connections == []


@pytest.mark.parametrize("restart", [False, True])
async def test_d13_a_task_that_has_ended_uses_no_approval(tmp_path, restart):
    async with approving(tmp_path) as w:
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=5)
        await w.sidecar.book.end(w.started.task.id, "over", by="test")
        if restart:
            await w.restart()
        async with await w.client() as client:
            assert (await client.open_tunnel(w.authority, w.authorization)).status in {403, 407}
        assert w.upstream.connections == []


async def test_d13_neither_child_nor_parent_nor_sister_uses_an_approval(tmp_path):
    rules = [
        permit(f"{who}-pays", who=who, actions=("write",)).replace(");", ") when { context.approved };")
        for who in ("a", "b")
    ]
    async with house(tmp_path, "a", "b", policies=rules, approvals=AT_ONCE) as w:
        root = w.another_task(agent="a")
        child, sister = [await delegate(w, root.token, "b") for _ in range(2)]
        other = w.another_task(agent="b")
        assert told(await through(w, child.token, "/pay", method="POST")) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=9)
        for token in (root.token, sister.token, other.token):
            assert told(await through(w, token, "/pay", method="POST")) == Code.APPROVAL_REQUIRED
        assert w.upstream.connections == []
        assert (await through(w, child.token, "/pay", method="POST")).status == 200


async def test_d13_approvals_of_other_rules_are_approvals_of_other_requests(tmp_path):
    async with approving(tmp_path, follow=True, policy={"reload": 0.02}) as w:
        before = w.rules.ruleset.sha256
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        say_yes(w, uses=9)
        write_rules(w, READ, PAY, permit("more", actions=("delete",)))
        await until(lambda: any(event["previous_sha256"] == before for event in events(w, "rules.load")))
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        assert w.upstream.connections == []


@pytest.mark.parametrize(
    "after", [pytest.param([READ, NO], id="D13-forbidden"), pytest.param([READ], id="D13-gone")]
)
async def test_rules_that_change_while_a_call_waits_are_the_rules_it_is_decided_by(tmp_path, after):
    async with world(
        tmp_path, policies=[READ, PAY], approvals={"wait": 60}, follow=True, policy={"reload": 0.02}
    ) as w:
        before = w.rules.ruleset.sha256
        call = asyncio.ensure_future(pay(w))
        await waiting(w)
        write_rules(w, *after)
        await until(lambda: any(event["previous_sha256"] == before for event in events(w, "rules.load")))
        say_yes(w)
        await refused_once(w, await call, Code.APPROVAL_REQUIRED)
        assert w.decisions[0].raw["why"]["ruleset_sha256"] == before  # what it was held by
        assert "approval" not in w.decisions[0].raw["why"]


async def test_d13_of_one_use_one_of_two_sidecars_has_it(tmp_path):
    """Another sidecar on the same state is whoever else redeems from the same file."""
    async with approving(tmp_path) as w:
        assert told(await pay(w)) == Code.APPROVAL_REQUIRED
        entry = say_yes(w, uses=3)
        now = int(time.time())

        def elsewhere(_: int) -> bool:
            with kept(w) as store:
                return isinstance(store.redeem(entry.asked, now), Approval)

        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            others = [loop.run_in_executor(pool, elsewhere, number) for number in range(6)]
            answers = await asyncio.gather(*(pay(w) for _ in range(6)))
            redeemed = sum(await asyncio.gather(*others))
        passed = sum(answer.status == 200 for answer in answers)
        assert passed + redeemed == 3
        assert len(w.upstream.requests) == passed
        with kept(w) as store:
            assert [one.used for one in store.list() if one.used] == [3]


async def test_d13_what_waits_is_not_let_through_by_what_comes_behind_it(tmp_path):
    """The second request on the same connection is a request of its own, and waits its turn."""
    async with world(tmp_path, policies=[READ, PAY], approvals={"wait": 60}) as w, w.tunnel() as client:
        one = f"POST /pay HTTP/1.1\r\nHost: {w.authority}\r\nContent-Length: 1\r\n\r\n1"
        await client.send((one + one.replace("\n1", "\n2")).encode())
        await waiting(w)
        assert w.upstream.connections == []
        say_yes(w)
        assert (await client.read_response()).status == 200
        await waiting(w)
        assert len(w.upstream.requests) == 1
        say_yes(w)
        assert (await client.read_response()).status == 200
        assert len({request.sha256 for request in w.upstream.requests}) == 2
