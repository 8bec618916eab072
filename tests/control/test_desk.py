import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.control.desk import AgentDesk
from proxy.control.operations import Delegated, May
from proxy.errors import Code, Refusal
from proxy.identity.principal import Agent, Budgets, Evidence, Link, Method, Principal, Right, Task
from proxy.identity.wanted import Wanted, format_wanted
from proxy.policy.service_budget import Per, ServiceBudget, Unit
from proxy.policy.window import Left
from proxy.ports import Answer, Ask
from tests.control.worlds import NOW, task_id

LEAD = Agent("lead", "production", "2", "ada", "grace")
CODER = Agent("coder", "production", "1", "bob", "grace")


def link(agent, purpose, expires_at, services, **more):
    task = Task(
        task_id(purpose),
        agent.id,
        purpose,
        ("a", "b"),
        "production",
        NOW,
        expires_at,
        "0" * 64,
        services=services,
        **more,
    )
    right = Right(
        frozenset({"b", "a"}), None if services is None else frozenset(services), "production", expires_at
    )
    return Link(agent, task, right)


ROOT = link(LEAD, "release 7", NOW + 900, None, on_behalf_of="eve", ticket="OPS-7", approver="grace", depth=2)
LEAF = link(
    CODER, "fix issue 7", NOW + 600, ("github", "api"), on_behalf_of="eve", parent=ROOT.task.id, depth=1
)
EVIDENCE = (Evidence(Method.SESSION, "iss"), Evidence(Method.LISTENER, ""), Evidence(Method.SESSION, "iss"))
PRINCIPAL = Principal((ROOT, LEAF), EVIDENCE)


@dataclass
class Sidecar:
    """What stands behind a desk: one service that allows reading, and tasks that can be handed to ``tester``."""

    journal: list[tuple[str, ...]] = field(default_factory=list)
    broken: bool = False
    used: dict[str, Budgets] = field(default_factory=dict)
    services: dict[str, tuple[Left, ...]] = field(default_factory=dict)

    async def delegate(self, principal, wanted):
        if wanted.agent != "tester":
            return Refusal(Code.DELEGATION_REFUSED, "that agent is not known")
        self.journal.append(("delegate", principal.task.id, wanted.agent))
        child = Task(
            task_id(wanted.purpose),
            wanted.agent,
            wanted.purpose,
            wanted.scopes or (),
            "production",
            NOW,
            NOW + (wanted.ttl_s or 600),
            "0" * 64,
            services=wanted.services,
            budgets=wanted.budgets,
            parent=principal.task.id,
        )
        return Delegated(child, "child-token", {"api": "gp_child"}, {"API_KEY": "gp_child"})

    async def may(self, principal, method, url):
        if not url.startswith("https://"):
            return Refusal(Code.SCHEME_UNSUPPORTED, "not https")
        if method == b"GET":
            return May(allowed=True, code=None, rule="reading", detail="reading is allowed", advice="")
        return May(
            allowed=False,
            code="policy_deny",
            rule="no-writes",
            detail=f"{principal.agent.id} may not write",
            advice="Ask the operator.",
        )

    def blocked(self, of_task):
        return [{"code": "policy_deny", "task": of_task}, {"code": "port", "task": of_task}]

    async def approvals(self, principal):
        if self.broken:
            return Refusal(Code.INTERNAL, "the queue cannot be read")
        return [{"id": "ap-1", "state": "waiting", "task": principal.task.id}]

    async def end(self, principal, reason):
        self.journal.append(("end", principal.task.id, reason))
        return 3

    def left(self, of_link):
        return self.used.get(of_link.task.id, Budgets())

    def desk(self):
        return AgentDesk(
            delegate=self.delegate,
            may=self.may,
            blocked=self.blocked,
            approvals=self.approvals,
            end=self.end,
            left=self.left,
            now=lambda: NOW + 10,
            services_left=lambda principal: self.services if principal is PRINCIPAL else {},
        )


@pytest.fixture
def sidecar():
    return Sidecar()


async def get(sidecar, path, *parameters):
    return await sidecar.desk().answer(PRINCIPAL, Ask("GET", path, parameters, b""))


async def post(sidecar, path, body=b""):
    return await sidecar.desk().answer(PRINCIPAL, Ask("POST", path, (), body))


def read(answer, status=200):
    assert isinstance(answer, Answer), answer
    assert answer.status == status
    return json.loads(answer.body)


async def test_whoami_says_all_of_the_caller_and_its_chain(sidecar):
    sidecar.used = {ROOT.task.id: Budgets(5, None), LEAF.task.id: Budgets(9, 1_000)}
    assert read(await get(sidecar, "/whoami")) == {
        "agent": "coder",
        "environment": "production",
        "tier": "1",
        "owners": {"business": "bob", "data": "grace"},
        "task": {
            "id": LEAF.task.id,
            "purpose": "fix issue 7",
            "ticket": None,
            "on_behalf_of": "eve",
            "approver": None,
            "expires_at": "2027-01-15T08:10:00Z",
            "seconds_left": 590,
            "depth": 1,
        },
        "right": {"scopes": ["a", "b"], "services": ["api", "github"]},
        "budgets_left": {"requests": 5, "octets": 1_000},
        "service_budgets": {},
        "chain": [
            {"agent": "lead", "task": ROOT.task.id, "purpose": "release 7"},
            {"agent": "coder", "task": LEAF.task.id, "purpose": "fix issue 7"},
        ],
        "evidence": ["listener", "session"],
    }


async def test_services_that_nothing_narrows_are_null_and_none_are_an_empty_list(sidecar):
    async def services(of_link):
        answer = await sidecar.desk().answer(Principal((of_link,), EVIDENCE), Ask("GET", "/whoami", (), b""))
        return read(answer)["right"]["services"]

    assert await services(ROOT) is None
    assert await services(link(CODER, "nothing", NOW + 1, ())) == []


async def test_a_task_without_budgets_has_no_limits_left(sidecar):
    assert read(await get(sidecar, "/whoami"))["budgets_left"] == {"requests": None, "octets": None}


async def test_what_is_left_of_the_budgets_of_services_is_told_by_name(sidecar):
    sidecar.services = {
        "github": (
            Left(ServiceBudget("hourly", Per.TASK, 3_600, Unit.REQUESTS, 100), 97, NOW + 3_600),
            Left(ServiceBudget("spend", Per.AGENT, 86_400, Unit.COST, 5_000_000), 0, NOW + 57_600),
        )
    }
    assert read(await get(sidecar, "/whoami"))["service_budgets"] == {
        "github": {
            "hourly": {
                "per": "task",
                "unit": "requests",
                "limit": 100,
                "left": 97,
                "window": 3_600,
                "renews_at": "2027-01-15T09:00:00Z",
            },
            "spend": {
                "per": "agent",
                "unit": "millionths of the currency",
                "limit": 5_000_000,
                "left": 0,
                "window": 86_400,
                "renews_at": "2027-01-16T00:00:00Z",
            },
        }
    }


async def test_may_answers_in_both_cases(sidecar):
    url = ("url", "https://api.example/x?y=1")
    assert read(await get(sidecar, "/may", ("method", "GET"), url)) == {
        "allowed": True,
        "why": {"code": None, "rule": "reading", "detail": "reading is allowed", "advice": ""},
    }
    assert read(await get(sidecar, "/may", url, ("method", "DELETE"))) == {
        "allowed": False,
        "why": {
            "code": "policy_deny",
            "rule": "no-writes",
            "detail": "coder may not write",
            "advice": "Ask the operator.",
        },
    }


async def test_a_url_that_would_be_refused_is_a_call_that_is_not_allowed(sidecar):
    said = read(await get(sidecar, "/may", ("method", "GET"), ("url", "gopher://x")))
    assert said["allowed"] is False
    assert said["why"]["code"] == "scheme_unsupported"
    assert said["why"]["advice"]


@pytest.mark.parametrize(
    "parameters",
    [
        (),
        (("method", "GET"),),
        (("url", "https://a.example"),),
        (("method", ""), ("url", "https://a.example")),
        (("method", "get"), ("url", "https://a.example")),
        (("method", "GE T"), ("url", "https://a.example")),
        (("method", "GET\n"), ("url", "https://a.example")),
        (("method", "GET"), ("url", "")),
        (("method", "GET"), ("url", "x" * 16_385)),
        (("method", "GET"), ("url", "https://a.example/\ud800")),
        (("method", "GET"), ("method", "GET"), ("url", "https://a.example")),
        (("method", "GET"), ("url", "https://a.example"), ("URL", "https://b.example")),
    ],
)
async def test_a_question_without_exactly_method_and_url_is_refused(sidecar, parameters):
    refusal = await get(sidecar, "/may", *parameters)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DESK_REQUEST


async def test_delegating_answers_with_a_token_and_how_to_use_it(sidecar):
    wanted = Wanted("tester", "run the tests", ("a",), ("api",), 60, Budgets(10, None))
    answer = read(await post(sidecar, "/delegate", format_wanted(wanted)), 201)
    assert "http://task:TOKEN@" in answer.pop("how")
    assert answer == {
        "task": task_id("run the tests"),
        "agent": "tester",
        "token": "child-token",
        "expires_at": "2027-01-15T08:01:00Z",
        "scopes": ["a"],
        "services": ["api"],
        "budgets": {"requests": 10, "octets": None},
        "depth": 0,
        "placeholders": {"api": "gp_child"},
        "variables": {"API_KEY": "gp_child"},
    }
    assert sidecar.journal == [("delegate", LEAF.task.id, "tester")]


async def test_a_delegation_that_is_refused_or_not_understood_makes_nothing(sidecar):
    refused = await post(sidecar, "/delegate", b'{"agent": "stranger", "purpose": "p"}')
    assert isinstance(refused, Refusal)
    assert refused.code is Code.DELEGATION_REFUSED
    for body in (b"", b"{}", b"[]", b"\xff", b'{"agent": "tester", "purpose": "p", "parent": "x"}'):
        unclear = await post(sidecar, "/delegate", body)
        assert isinstance(unclear, Refusal)
        assert unclear.code is Code.DESK_REQUEST
    assert sidecar.journal == []


async def test_a_task_can_be_ended_with_a_reason_or_without(sidecar):
    assert read(await post(sidecar, "/end", b'{"reason": "done"}')) == {
        "task": LEAF.task.id,
        "ended_tasks": 3,
    }
    assert read(await post(sidecar, "/end"))["ended_tasks"] == 3
    assert sidecar.journal == [("end", LEAF.task.id, "done"), ("end", LEAF.task.id, "")]


@pytest.mark.parametrize(
    "body", [b"done", b'{"why": "done"}', b'{"reason": 1}', b'{"reason": "a", "reason": "b"}']
)
async def test_an_end_that_is_not_understood_ends_nothing(sidecar, body):
    refusal = await post(sidecar, "/end", body)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DESK_REQUEST
    assert sidecar.journal == []


async def test_blocked_calls_are_those_of_the_callers_task(sidecar):
    said = read(await get(sidecar, "/blocked"))
    assert [(entry["code"], entry["task"]) for entry in said["blocked"]] == [
        ("policy_deny", LEAF.task.id),
        ("port", LEAF.task.id),
    ]


async def test_requests_for_approval_are_those_of_the_caller(sidecar):
    said = read(await get(sidecar, "/approvals"))
    assert said == {"approvals": [{"id": "ap-1", "state": "waiting", "task": LEAF.task.id}]}


async def test_a_queue_that_cannot_be_read_is_a_refusal(sidecar):
    sidecar.broken = True
    refusal = await get(sidecar, "/approvals")
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.INTERNAL


async def test_the_index_names_every_question(sidecar):
    said = read(await get(sidecar, "/"))
    assert (said["agent"], said["task"]) == ("coder", LEAF.task.id)
    for question in said["ask"]:
        method, _, path = question.partition(" ")
        refusal = await sidecar.desk().answer(PRINCIPAL, Ask("PUT", path.partition("?")[0], (), b""))
        assert method in refusal.detail


@pytest.mark.parametrize(
    "ask",
    [
        Ask("GET", "/nothing", (), b""),
        Ask("GET", "", (), b""),
        Ask("GET", "/whoami/", (), b""),
        Ask("GET", "/WHOAMI", (), b""),
        Ask("GET", "//whoami", (), b""),
        Ask("POST", "/whoami", (), b""),
        Ask("HEAD", "/whoami", (), b""),
        Ask("GET", "/end", (), b""),
        Ask("GET", "/delegate", (), b""),
        Ask("GET", "/whoami", (("task", "t-other"),), b""),
        Ask("GET", "/blocked", (("task", "t-other"),), b""),
        Ask("GET", "/approvals", (("task", "t-other"),), b""),
        Ask("POST", "/approvals", (), b"{}"),
        Ask("GET", "/", (), b"{}"),
        Ask("POST", "/end", (("reason", "x"),), b""),
        Ask("GET", "/\ud800", (), b""),
    ],
)
async def test_what_the_desk_does_not_know_is_refused_and_does_nothing(sidecar, ask):
    refusal = await sidecar.desk().answer(PRINCIPAL, ask)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.DESK_REQUEST
    assert refusal.detail.isprintable()
    assert sidecar.journal == []


words = st.text(max_size=20)


@given(
    st.builds(
        Ask,
        st.sampled_from(["GET", "POST", "PUT"]) | words,
        st.sampled_from(["/", "/whoami", "/may", "/delegate", "/end", "/blocked", "/approvals"]) | words,
        st.lists(st.tuples(st.sampled_from(["method", "url"]) | words, words), max_size=3).map(tuple),
        st.binary(max_size=40) | st.just(b""),
    )
)
async def test_every_request_is_answered_or_refused(ask):
    answer = await Sidecar().desk().answer(PRINCIPAL, ask)
    assert isinstance(answer, Refusal) or json.loads(answer.body)
