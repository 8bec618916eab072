"""D11: what is handed on is never wider, and ends with what it was handed from (egress.md, section 5)."""

import time

import pytest

from proxy.errors import Code
from proxy.identity.principal import Budgets
from proxy.identity.revocation import Kind
from tests.hostile.assertions import clean, everything, inside, untouched
from tests.hostile.callers import (
    ask,
    calls,
    delegate,
    desk_outcomes,
    house,
    revoke,
    silent,
    through,
    tunnel,
    two_services,
    with_ceiling,
)
from tests.support import demo_rules
from tests.support.rawclient import basic

STAGING = demo_rules.agent("elsewhere", environment="staging")
FAMILY = ("a", "b", "c", "d", STAGING, with_ceiling("low", scopes=["x"], services=["api"]))
GIVEN = {
    "scopes": ("x", "y"),
    "services": ("api",),
    "budgets": Budgets(requests=100, octets=10_000_000),
    "ttl_s": 300,
    "depth": 2,
}


# -- D11: create --

TOO_MUCH = [
    pytest.param({"scopes": ["x", "z"]}, id="D11-wider-scope"),
    pytest.param({"scopes": ["*"]}, id="D11-wildcard-scope"),
    pytest.param({"scopes": ["X"]}, id="D11-scope-in-capitals"),
    pytest.param({"services": ["api", "rest"]}, id="D11-wider-service"),
    pytest.param({"services": ["nothing"]}, id="D11-service-of-nobody"),
    pytest.param({"ttl": 301}, id="D11-longer"),
    pytest.param({"ttl": 2**53 - 1}, id="D11-endless"),
    pytest.param({"budgets": {"requests": 101}}, id="D11-more-requests"),
    pytest.param({"budgets": {"octets": 10_000_001}}, id="D11-more-octets"),
    pytest.param({"depth": 2}, id="D11-as-deep-as-its-parent"),
    pytest.param({"depth": 7}, id="D11-deeper-than-its-parent"),
    pytest.param({"agent": "elsewhere"}, id="D11-other-environment"),
    pytest.param({"agent": "a"}, id="D11-to-itself"),
    pytest.param({"agent": "nobody"}, id="D11-to-nobody"),
    pytest.param({"agent": "A"}, id="D11-to-itself-in-capitals"),
    pytest.param({"agent": "low", "scopes": ["y"]}, id="D11-above-the-other-s-ceiling"),
]


@pytest.mark.parametrize("wanted", TOO_MUCH)
async def test_d11_nothing_wider_is_handed_on(tmp_path, wanted):
    async with house(tmp_path, *FAMILY, services=two_services) as w:
        parent = w.another_task(agent="a", **GIVEN)
        before = len(w.store.list())
        body = {"agent": "b", "purpose": "more", **wanted}
        answer = await ask(w, parent.token, "/delegate", method="POST", body=body)
        assert (answer.status, answer.json()["code"]) == (403, Code.DELEGATION_REFUSED)
        await w.settled()
        (record,) = w.decisions
        assert (record.agent, record.task, record.id) == ("a", parent.task.id, answer.json()["record"])
        (outcome,) = w.outcomes
        assert (outcome.result, outcome.code, outcome.status) == ("refused", Code.DELEGATION_REFUSED, 403)
        assert len(w.store.list()) == before
        clean(w, answer.body)
        silent(w, (answer.body,), [parent.token, *parent.placeholders.values()])
        await untouched(w)


UNREADABLE = [
    pytest.param({"scopes": "x"}, id="D11-scopes-as-text"),
    pytest.param({"scope": ["x"]}, id="D11-a-restriction-that-is-not-known"),
    pytest.param({"ttl": True}, id="D11-ttl-as-true"),
    pytest.param({"ttl": -1}, id="D11-ttl-negative"),
    pytest.param({"ttl": 0}, id="D11-ttl-zero"),
    pytest.param({"budgets": {"requests": 0}}, id="D11-budget-zero"),
    pytest.param({"budgets": {"requests": -1}}, id="D11-budget-negative"),
    pytest.param({"parent": "t-" + "a" * 26}, id="D11-another-parent"),
    pytest.param({"environment": "production"}, id="D11-another-environment"),
    pytest.param({"on_behalf_of": "root@example.org"}, id="D11-for-somebody-else"),
    pytest.param({"approver": "ada@example.org"}, id="D11-approved-by-itself"),
    pytest.param({"agent": ["b"]}, id="D11-two-agents"),
]


@pytest.mark.parametrize("wanted", UNREADABLE)
async def test_d11_what_is_not_understood_is_not_guessed(tmp_path, wanted):
    async with house(tmp_path, "a", "b") as w:
        before = len(w.store.list())
        body = {"agent": "b", "purpose": "more", **wanted}
        answer = await ask(w, w.started.token, "/delegate", method="POST", body=body)
        assert (answer.status, answer.json()["code"]) == (400, Code.DESK_REQUEST)
        await w.settled()
        assert desk_outcomes(w) == [("refused", Code.DESK_REQUEST)]
        assert len(w.store.list()) == before


async def test_d11_what_is_not_asked_for_is_as_narrow_as_the_chain(tmp_path):
    """Left out is inherited, through two hands, and the last may not go on at all."""
    async with house(tmp_path, *FAMILY, services=two_services) as w:
        parent = w.another_task(agent="a", on_behalf_of="ada@example.org", ticket="T-7", **GIVEN)
        child = await delegate(w, parent.token, "b", scopes=["x"], budgets={"requests": 7})
        grandchild = await delegate(w, child.token, "c")
        told = (await ask(w, grandchild.token, "/whoami")).json()
        assert told["right"] == {"scopes": ["x"], "services": ["api"]}
        assert told["budgets_left"] == {"requests": 7, "octets": 10_000_000}
        assert (told["task"]["on_behalf_of"], told["task"]["ticket"]) == ("ada@example.org", "T-7")
        assert [link["agent"] for link in told["chain"]] == ["a", "b", "c"]
        kept = {task.id: w.sidecar.book.get(task.id) for task in (parent.task,)}
        assert w.sidecar.book.get(grandchild.task).expires_at <= kept[parent.task.id].expires_at
        for to in ("d", "a", "b", "c"):
            body = {"agent": to, "purpose": "on"}
            answer = await ask(w, grandchild.token, "/delegate", method="POST", body=body)
            assert answer.json()["code"] == Code.DELEGATION_REFUSED, to


async def test_d11_nobody_hands_on_what_is_not_its_own_any_more(tmp_path):
    """An order, an end: the desk knows it as soon as everybody else."""
    async with house(tmp_path, "a", "b", "c") as w:
        child = await delegate(w, w.started.token, "b")
        await revoke(w, Kind.AGENT, "a")
        for token in (w.started.token, child.token):
            answer = await ask(w, token, "/delegate", method="POST", body={"agent": "c", "purpose": "on"})
            assert (answer.status, answer.json()["code"]) == (403, Code.REVOKED)
        assert len(w.store.list()) == 3  # tester's, a's and b's


async def test_d11_nothing_is_handed_to_who_is_revoked(tmp_path):
    async with house(tmp_path, "a", "b") as w:
        await revoke(w, Kind.AGENT, "b")
        answer = await ask(
            w, w.started.token, "/delegate", method="POST", body={"agent": "b", "purpose": "on"}
        )
        assert (answer.status, answer.json()["code"]) == (403, Code.DELEGATION_REFUSED)


# -- D11: use --

ENDS = {
    "the root ends": lambda w, c: w.sidecar.book.end(w.started.task.id, "over"),
    "the root ends in another process": lambda w, c: _elsewhere(w),
    "the middle ends": lambda w, c: w.sidecar.book.end(c.task, "over"),
    "the root is revoked": lambda w, c: revoke(w, Kind.TASK, w.started.task.id),
    "the middle is revoked": lambda w, c: revoke(w, Kind.TASK, c.task),
    "the root's agent is revoked": lambda w, c: revoke(w, Kind.AGENT, "a"),
    "the middle's agent is revoked": lambda w, c: revoke(w, Kind.AGENT, "b"),
    "everything is revoked": lambda w, c: revoke(w, Kind.ALL, "*"),
}


async def _elsewhere(w) -> None:
    w.store.end(w.started.task.id, "over", int(time.time()))


@pytest.mark.parametrize("what", ENDS)
async def test_d11_no_use_after_an_ancestor(tmp_path, what):
    """A stream of the grandchild is cut, its next call is refused, and whose task goes on, goes on."""
    async with house(tmp_path, "a", "b", "c") as w:
        child = await delegate(w, w.started.token, "b")
        grandchild = await delegate(w, child.token, "c")
        bystander = w.another_task(agent="c")
        code = Code.REVOKED if "revoked" in what else Code.TASK_ENDED
        async with tunnel(w, basic("task", grandchild.token)) as client:
            await client.send(inside(w, "/sse"))
            head = await client.read_head()
            assert await anext(aiter(client.body(head))) == b"data: first\n\n"
            await ENDS[what](w, child)
            assert await everything(client) in {b"", b"\r\n"}  # the end of the chunk that came
            await w.settled()
        (cut,) = [each for each in w.outcomes if each.decision_id in {one.id for one in calls(w)}]
        assert (cut.result, cut.code) == ("cut", code)
        w.upstream.release.set()
        arrived = w.upstream.bytes_received
        async with await w.client() as client:
            answer = await client.open_tunnel(w.authority, basic("task", grandchild.token))
        assert (answer.status, answer.json()["code"]) == (403, code)
        refused = calls(w)[-1]
        assert (refused.agent, refused.task, refused.code) == ("c", grandchild.task, code)
        assert w.upstream.bytes_received == arrived
        silent(w, (answer.body,), [grandchild.token, child.token])
        if what != "everything is revoked":
            assert (await through(w, bystander.token)).status == 200


async def test_d11_a_ceiling_that_has_sunk_holds_for_what_was_handed_on_before(tmp_path):
    """The sidecar starts again under other rules: the right is what is left of it today."""
    services = {"services": two_services}
    async with house(tmp_path, "a", "b", **services) as w:
        token = (await delegate(w, w.started.token, "b")).token
        assert (await through(w, token)).status == 200
    async with house(tmp_path, with_ceiling("a", services=["rest"]), "b", **services) as w:
        async with tunnel(w, basic("task", token)) as client:
            await client.send(inside(w, "/"))
            answer = await client.read_response()
        assert (answer.status, answer.json()["code"]) == (403, Code.SERVICE_NOT_GRANTED)
        assert w.upstream.connections == []
