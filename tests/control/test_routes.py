import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.control.routes import Call, Routes, alive
from proxy.identity.principal import TaskState
from proxy.identity.revocation import EVERYTHING, Kind
from tests.control.worlds import UNKNOWN_TASK, SmallSidecar

ISSUER = "https://issuer.example/tenant//v2?x=y"
SPIFFE = "spiffe://example.org/agents/coder"


class World:
    """Routes over a small sidecar, called as ``ada``."""

    def __init__(self):
        self.sidecar = SmallSidecar()
        self.routes = Routes(self.sidecar)

    async def call(self, method, target, body=None, status=None, operator="ada"):
        path, _, query = target.partition("?")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = await self.routes.serve(Call(method, path, query, data, operator))
        assert status in {None, reply.status}, reply
        assert (reply.media_type == "application/json") == (reply.status < 400)
        self.headers = dict(reply.headers)
        return json.loads(reply.body)

    async def start(self, agent="coder", **more):
        return (await self.call("POST", "/v1/tasks", {"agent": agent, "purpose": "p", **more}, 201))["task"]


@pytest.fixture
def world():
    return World()


async def test_a_task_is_started_and_told_with_its_secrets_once(world):
    said = await world.call(
        "POST", "/v1/tasks", {"agent": "coder", "purpose": "p", "ttl": "1h", "scopes": ["b", "a"]}, 201
    )
    assert world.headers == {"Location": f"/v1/tasks/{said['task']}"}
    assert said["token"] == f"token of {said['task']}"
    assert said["variables"] == {"API_KEY": "gp_worthless"}
    assert (said["expires_at"], said["scopes"], said["services"]) == (
        "2027-01-15T09:00:00Z",
        ["a", "b"],
        None,
    )
    again = await world.call("GET", f"/v1/tasks/{said['task']}", status=200)
    assert "token" not in json.dumps(again)
    assert world.sidecar.journal == [("start", said["task"], "control:ada")]


async def test_whoever_starts_a_task_approves_it_unless_somebody_else_did(world):
    mine, other = await world.start(), await world.start(approver="grace")
    assert world.sidecar.known[mine].approver == "ada"
    assert world.sidecar.known[other].approver == "grace"


async def test_a_task_that_cannot_be_started_is_declined_in_words(world):
    said = await world.call("POST", "/v1/tasks", {"agent": "stranger"}, 400)
    assert said["code"] == "declined"
    assert "stranger" in said["detail"]


async def test_a_task_is_shown_with_its_chain_and_what_is_left(world):
    said = await world.call("GET", f"/v1/tasks/{await world.start(budgets={'requests': 9})}", status=200)
    assert said["chain"] == [{"task": said["id"], "agent": "coder", "state": "open"}]
    assert said["budgets"] == {"requests": 9, "octets": None}
    assert said["budgets_left"] == {"requests": 7, "octets": None}


async def test_tasks_are_listed_newest_first_by_state_and_limit(world):
    first, second, third = [await world.start() for _ in range(3)]
    await world.call("POST", f"/v1/tasks/{second}/end", {"reason": "done"}, 200)

    async def ids(query):
        return [task["id"] for task in (await world.call("GET", "/v1/tasks" + query, status=200))["tasks"]]

    assert await ids("") == [third, second, first]
    assert await ids("?state=open") == [third, first]
    assert await ids("?state=ended&limit=1000") == [second]
    assert await ids("?limit=1") == [third]


@pytest.mark.parametrize(
    "query",
    [
        "state=shut",
        "state=",
        "state=open&state=open",
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=1e2",
        "limit=٣",
        "limit=",
        "agent=coder",
        "&",
        "state",
        "state=%FF",
        "&".join(["limit=1"] * 20),
    ],
)
async def test_other_parameters_are_refused(world, query):
    assert (await world.call("GET", f"/v1/tasks?{query}", status=400))["code"] == "bad_request"


async def test_a_task_is_ended_with_all_below_it_once(world):
    task = await world.start()
    assert await world.call("POST", f"/v1/tasks/{task}/end", {"reason": "done"}, 200) == {
        "task": task,
        "ended_tasks": 1,
    }
    assert await world.call("POST", f"/v1/tasks/{task}/end", status=200) == {"task": task, "ended_tasks": 0}
    assert world.sidecar.journal[1] == ("end", task, "done", "control:ada")


async def test_revoking_an_agent_ends_its_tasks_and_says_what_it_reached(world):
    task = await world.start()
    said = await world.call(
        "POST", "/v1/revocations", {"kind": "agent", "id": "coder", "reason": "leak"}, 200
    )
    assert said == {
        "kind": "agent",
        "id": "coder",
        "ordered_at": "2027-01-15T08:00:00.000001Z",
        "ended_tasks": 1,
        "connections": 2,
        "to_last_byte_us": 1_234,
        "leases": 1,
    }
    assert world.sidecar.known[task].state is TaskState.REVOKED
    assert (await world.call("GET", "/v1/revocations", status=200))["revocations"] == [
        {
            "kind": "agent",
            "id": "coder",
            "reason": "leak",
            "ordered_by": "control:ada",
            "ordered_at": "2027-01-15T08:00:00.000001Z",
        }
    ]


@pytest.mark.parametrize(
    ("kind", "identity"),
    [
        ("issuer", ISSUER),
        ("agent", SPIFFE),
        ("token", "a/../b"),
        ("key", "k%2Fid?#"),
        ("token", "ünï"),
        ("all", EVERYTHING),
    ],
)
async def test_an_order_about_any_id_is_lifted_again(world, kind, identity):
    await world.call("POST", "/v1/revocations", {"kind": kind, "id": identity, "reason": "r"}, 200)
    target = f"/v1/revocations/{kind}/{quote(identity, safe='')}"
    assert await world.call("DELETE", target, status=200) == {"kind": kind, "id": identity, "lifted": True}
    assert await world.call("DELETE", target, status=404)
    assert world.sidecar.journal[-1] == ("lift", kind, identity, "control:ada")


async def test_slashes_in_an_id_need_not_be_encoded(world):
    await world.call("POST", "/v1/revocations", {"kind": "agent", "id": SPIFFE, "reason": "r"}, 200)
    assert (await world.call("DELETE", f"/v1/revocations/agent/{SPIFFE}", status=200))["id"] == SPIFFE


@given(st.sampled_from([Kind.AGENT, Kind.TOKEN, Kind.ISSUER]), st.text(min_size=1, max_size=60))
async def test_every_id_that_can_be_revoked_can_be_lifted(kind, identity):
    world = World()
    reply = await world.call("POST", "/v1/revocations", {"kind": kind, "id": identity, "reason": "r"})
    if reply.get("id") == identity:
        await world.call("DELETE", f"/v1/revocations/{kind}/{quote(identity, safe='')}", status=200)
        assert world.sidecar.orders == {}
    else:
        assert reply["code"] == "bad_request"


async def test_everything_is_lifted_without_an_id_too(world):
    await world.call("POST", "/v1/revocations", {"kind": "all", "reason": "r"}, 200)
    assert (await world.call("DELETE", "/v1/revocations/all", status=200))["id"] == EVERYTHING


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"/v1/revocations/task/{UNKNOWN_TASK}", 400),
        ("/v1/revocations/all/x", 400),
        ("/v1/revocations/agent", 404),
        ("/v1/revocations/agent/", 404),
        ("/v1/revocations/owner/x", 404),
        ("/v1/revocations/AGENT/x", 404),
        ("/v1/revocations/agent/%FF", 404),
        ("/v1/revocations/agent/x?y=1", 400),
    ],
)
async def test_what_cannot_be_lifted_is_refused(world, target, status):
    await world.call("DELETE", target, status=status)
    assert world.sidecar.journal == []


async def test_unknown_tasks_are_not_found(world):
    await world.call("GET", f"/v1/tasks/{UNKNOWN_TASK}", status=404)
    await world.call("POST", f"/v1/tasks/{UNKNOWN_TASK}/end", status=404)
    await world.call("POST", "/v1/revocations", {"kind": "task", "id": UNKNOWN_TASK, "reason": "r"}, 404)
    assert world.sidecar.journal == []


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/v1/tasks", b""),
        ("POST", "/v1/tasks", b"[]"),
        ("POST", "/v1/tasks?state=open", b'{"agent": "coder"}'),
        ("POST", "/v1/tasks", b'{"agent": "coder", "agent": "tester"}'),
        ("POST", "/v1/revocations", b'{"kind": "all"}'),
        ("POST", f"/v1/tasks/{UNKNOWN_TASK}/end", b'{"why": "x"}'),
        ("GET", "/v1/tasks", b"{}"),
        ("DELETE", "/v1/revocations/all", b"{}"),
        ("GET", "/v1/health?verbose=1", b""),
        ("GET", "/v1/approvals?state=open", b""),
        ("GET", "/v1/approvals/ap-0?x=1", b""),
        ("GET", "/v1/approvals", b"{}"),
        ("POST", "/v1/approvals/ap-0", b""),
        ("POST", "/v1/approvals/ap-0", b'{"answer": "yes"}'),
        ("POST", "/v1/approvals/ap-0", b'{"answer": "deny", "uses": 2}'),
    ],
)
async def test_what_is_not_understood_does_nothing(world, method, target, body):
    assert (await world.call(method, target, body, 400))["code"] == "bad_request"
    assert world.sidecar.journal == []


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/v1/tasks", "GET, POST"),
        ("HEAD", "/v1/tasks", "GET, POST"),
        ("OPTIONS", "/v1/revocations", "GET, POST"),
        ("DELETE", f"/v1/tasks/{UNKNOWN_TASK}", "GET"),
        ("GET", f"/v1/tasks/{UNKNOWN_TASK}/end", "POST"),
        ("GET", "/v1/revocations/agent/x", "DELETE"),
        ("POST", "/v1/health", "GET"),
        ("POST", "/v1/approvals", "GET"),
        ("DELETE", "/v1/approvals/ap-0", "GET, POST"),
    ],
)
async def test_other_methods_are_told_which_there_are(world, method, target, allowed):
    await world.call(method, target, status=405)
    assert world.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/v1",
        "/v1/",
        "/v1/tasks/",
        "/v1/tasks//end",
        "/v2/tasks",
        "//v1/tasks",
        "/V1/tasks",
        "/v1/tasks/a/b",
        "/v1/approvals/",
        "/v1/approvals/a/b",
    ],
)
async def test_elsewhere_there_is_nothing(world, path):
    await world.call("GET", path, status=404)


async def test_health_has_facts_for_operators_and_one_word_for_probes(world):
    await world.start()
    assert await world.call("GET", "/v1/health", status=200) == {"ready": True, "open_tasks": 1}
    assert (alive(world.sidecar).status, json.loads(alive(world.sidecar).body)) == (200, {"status": "ok"})
    world.sidecar.ready = False
    assert (alive(world.sidecar).status, json.loads(alive(world.sidecar).body)) == (
        503,
        {"status": "unavailable"},
    )


async def test_requests_for_approval_are_listed_by_state_and_limit(world):
    first, second, third = (world.sidecar.hold(content) for content in "abc")
    await world.call("POST", f"/v1/approvals/{second}", {"answer": "deny"}, 200)

    async def ids(query):
        listed = await world.call("GET", "/v1/approvals" + query, status=200)
        return [entry["id"] for entry in listed["approvals"]]

    assert await ids("") == [third, second, first]
    assert await ids("?state=waiting") == [third, first]
    assert await ids("?state=denied&limit=9") == [second]
    assert await ids("?limit=1") == [third]


async def test_a_request_for_approval_is_shown_with_all_that_an_answer_binds(world):
    held = world.sidecar.hold("a")
    said = await world.call("GET", f"/v1/approvals/{held}", status=200)
    assert said == {
        "id": held,
        "state": "waiting",
        "agent": "coder",
        "task": "t-1",
        "purpose": "pay bills",
        "chain": ["lead", "coder"],
        "owners": ["grace@example.org"],
        "method": "POST",
        "url": "https://api.test/pay",
        "actions": ["shop.pay"],
        "facts": [{"body": {"amount": 500}}],
        "rules": ["pay"],
        "request_sha256": world.sidecar.requests[held].asked.request_sha256,
        "ruleset_sha256": "1" * 64,
        "asked_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T08:01:00Z",
        "separate_owner": False,
        "answered_by": None,
        "answered_at": None,
        "reason": "",
        "uses": 0,
        "used": 0,
        "granted_until": None,
    }


async def test_an_approval_is_given_once_and_for_an_hour_unless_it_says_otherwise(world):
    plain, other = world.sidecar.hold("a"), world.sidecar.hold("b")
    said = await world.call("POST", f"/v1/approvals/{plain}", {"answer": "approve"}, 200)
    assert (said["state"], said["uses"], said["granted_until"]) == ("approved", 1, "2027-01-15T09:00:00Z")
    assert (said["answered_by"], said["answered_at"]) == ("ada", "2027-01-15T08:00:01Z")
    given = {"answer": "approve", "uses": 3, "seconds": "2m", "reason": "month end"}
    said = await world.call("POST", f"/v1/approvals/{other}", given, 200)
    assert (said["uses"], said["granted_until"], said["reason"]) == (3, "2027-01-15T08:02:00Z", "month end")


async def test_a_denial_has_its_reason(world):
    held = world.sidecar.hold("a")
    said = await world.call("POST", f"/v1/approvals/{held}", {"answer": "deny", "reason": "too much"}, 200)
    assert (said["state"], said["reason"]) == ("denied", "too much")


async def test_d13_an_answer_that_does_not_count_says_why_and_does_nothing(world):
    held = world.sidecar.hold("a")
    yes = {"answer": "approve"}
    assert (await world.call("POST", "/v1/approvals/ap-none", yes, 404))["code"] == "not_found"
    own = await world.call("POST", f"/v1/approvals/{held}", yes, 403, operator="login:coder")
    assert own["code"] == "not_yours"
    assert "an agent that asks" in own["detail"]
    assert world.sidecar.journal == []
    await world.call("POST", f"/v1/approvals/{held}", yes, 200)
    late = await world.call("POST", f"/v1/approvals/{held}", {"answer": "deny"}, 409)
    assert (late["code"], late["detail"]) == ("over", "ada was quicker")
    await world.call("GET", "/v1/approvals/ap-none", status=404)
