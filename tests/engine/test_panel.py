"""A delegated call is judged for everybody it is made for: what one of them may not do, the chain may not (D12)."""

import asyncio
import json
from dataclasses import replace

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.panel import Panel, Receipt
from proxy.errors import Code, Refusal
from proxy.http.canonical import parse_target
from proxy.identity.budget import Spending
from proxy.identity.principal import NO_BUDGETS, Budgets, Evidence, Method, Principal
from proxy.policy.bundle import digest
from proxy.policy.content import Act
from proxy.policy.decision import Allow, Deny, RequestFacts, Ruling, Site
from proxy.policy.needs import NOTHING
from proxy.policy.operation import by_method
from proxy.policy.service_budget import Used
from proxy.policy.window import Windows
from proxy.store.bundles import FOLDER, unpack
from tests.engine.ports import YES, Says, api, engine, named
from tests.identity.families import Family, agent
from tests.support import demo_rules
from tests.support.rawclient import basic
from tests.support.upstream import Upstream
from tests.support.world import World, world

AGENTS = ("lead", "coder", "tester")
FACTS = RequestFacts(has_body=False, content_type="", query_keys=(), upgrade="", time=1_800_000_000)
TARGET = parse_target("GET", b"http://api.test/x", tunnel=None, hosts=[b"api.test"], version="1.1")
GRANTS = [None, (), ("api",), ("mail",), ("api", "mail")]  # sorted, as manifests have them


class ByAgent:
    """A PDP that lets some agents through, at a service or at none."""

    def __init__(self, *allowed: str, service=None) -> None:
        self.allowed, self.service, self.asked = allowed, service, []

    def site(self, origin) -> Site:
        return Site(self.service, NOTHING)

    def decide(self, question) -> Ruling:
        name = question.agent.id
        self.asked.append(question)
        no = Deny(Refusal(Code.POLICY_DENY, f"not for {name}", f"no-{name}", 7), (f"no-{name}",), ())
        decision = Allow((f"yes-{name}",)) if name in self.allowed else no
        return Ruling(
            decision, json.dumps(name).encode(), self.service, "read", "0" * 64, "test", observed=False
        )


def chained(depth: int = 3, services=None, budgets: Budgets = NO_BUDGETS) -> Principal:
    """Whoever is at the end of a chain of this many agents; the root's task is narrowed."""
    family = Family(*(agent(name) for name in AGENTS))
    task = family.begin(AGENTS[0], services=services, budgets=budgets)
    for name in AGENTS[1:depth]:
        task = family.child(task, name, services=None)
    return Principal(family.links(task), (Evidence(Method.SESSION, "here"),))


def judge(pdp, principal: Principal):
    asked = Panel(Spending(), Windows()).judge(
        pdp, pdp.service, principal, "GET", TARGET, FACTS, (Act(by_method("GET")),)
    )
    return asyncio.run(asked)


@given(st.integers(1, 3), st.sets(st.sampled_from(AGENTS)), st.booleans(), st.sampled_from(GRANTS))
def test_a_call_is_allowed_exactly_if_it_is_to_everybody_and_its_service_was_given(
    depth, allowed, catalogued, grant
):
    pdp = ByAgent(*allowed, service=api() if catalogued else None)
    verdict = judge(pdp, chained(depth, grant))
    everybody = set(AGENTS[:depth]) <= allowed
    given = grant is None or (catalogued and "api" in grant)
    assert (verdict.refusal is None) == (everybody and given)
    assert len(verdict.above) == depth - 1
    assert json.loads(verdict.ruling.input) == AGENTS[depth - 1]
    assert [(link.agent.id, json.loads(ruling.input)) for link, ruling in verdict.above] == [
        (name, name) for name in AGENTS[: depth - 1]
    ]
    assert len(pdp.asked) == depth


def test_each_is_asked_under_the_right_that_is_left_at_its_link():
    pdp, principal = ByAgent(*AGENTS), chained(services=("api",))
    judge(pdp, principal)
    asked = {question.agent.id: question for question in pdp.asked}
    for link in principal.chain:
        question = asked[link.agent.id]
        assert (question.task, question.right) == (link.task, link.right)
        assert (question.method, question.target, question.request) == ("GET", TARGET, FACTS)


def test_the_callers_own_refusal_is_told_first_and_then_the_one_nearest_to_the_root():
    principal = chained()
    own = judge(ByAgent("lead"), principal).refusal
    assert own == Refusal(Code.POLICY_DENY, "not for tester", "no-tester", 7)
    above = judge(ByAgent("tester"), principal).refusal
    words = "lead, for whom this task was delegated, may not do this itself: not for lead"
    assert above == Refusal(Code.POLICY_DENY, words, "no-lead", 7)
    assert judge(ByAgent("lead", "tester"), principal).refusal.rule == "no-coder"


@pytest.mark.parametrize(
    ("grant", "catalogued", "words"),
    [
        ((), True, "the service api; it was given: none"),
        (("mail",), True, "the service api; it was given: mail"),
        (("mail", "pypi"), False, "a host that is no catalogued service; it was given: mail, pypi"),
    ],
)
def test_a_service_that_was_not_given(grant, catalogued, words):
    pdp = ByAgent(*AGENTS, service=api() if catalogued else None)
    refusal = judge(pdp, chained(services=grant)).refusal
    assert refusal == Refusal(Code.SERVICE_NOT_GRANTED, f"this task was not given {words}")


def test_a_rule_that_refuses_is_told_before_the_grant():
    assert judge(ByAgent(service=api()), chained(services=())).refusal.code is Code.POLICY_DENY


class Permissive:
    """A decision point elsewhere that allows everything. Implements ``ports.RemotePdp``."""

    async def decide(self, question) -> Ruling:
        return Ruling(YES, b"{}", None, "read", "0" * 64, "opa", observed=False, answer=b"true")


@pytest.mark.parametrize(
    ("environments", "keys", "rule"),
    [
        (("development",), (), None),
        (("production",), (), "gatepass.environment"),
        (("development",), ("_method",), "gatepass.method_override"),
    ],
)
def test_what_gatepass_itself_forbids_is_forbidden_whoever_decides(environments, keys, rule):
    service = replace(api(), environments=environments)
    facts = FACTS._replace(query_keys=keys)
    asked = Panel(Spending(), Windows(), Permissive()).judge(
        ByAgent(service=service), service, chained(1), "GET", TARGET, facts, (Act(by_method("GET")),)
    )
    verdict = asyncio.run(asked)
    assert (verdict.refusal and verdict.refusal.rule) == rule
    assert verdict.ruling.answer == b"true"


def test_a_budget_is_taken_from_the_whole_chain_or_from_none_and_given_back():
    spending = Spending()
    panel, principal = Panel(spending, Windows()), chained(budgets=Budgets(requests=1, octets=10))
    root = principal.chain[0]
    receipt = panel.take(principal, None, 0)
    assert isinstance(receipt, Receipt)
    assert spending.left(root) == Budgets(requests=0, octets=10)
    assert panel.take(principal, None, 0).code is Code.BUDGET_EXCEEDED
    panel.give_back(principal, receipt)
    assert spending.left(root) == Budgets(requests=1, octets=10)
    receipt = panel.take(principal, None, 0)
    assert panel.charge(principal, receipt, Used(octets=11)) is None
    assert spending.left(root) == Budgets(requests=0, octets=0)


# -- over the engine --


async def test_both_are_allowed_or_nothing_leaves():
    pdp = ByAgent("two")
    async with engine(pdp=pdp) as e:
        task = e.book.delegate("one", "two")
        assert (await e.call("/x", agent="two")).status == 200  # its own task
        answer = await e.call("/x", named(task), agent="two")
        assert (answer.status, answer.json()["code"]) == (403, "policy_deny")
        assert "one, for whom this task was delegated" in answer.json()["detail"]
        pdp.allowed = ("one", "two")
        assert (await e.call("/x", named(task), agent="two")).status == 200
        pdp.allowed = ("one",)
        assert (await e.call("/x", named(task), agent="two")).status == 403
        assert len(e.upstream.requests) == 2
        assert e.consistent()


async def test_a_link_without_budget_is_429_and_takes_from_nobody():
    async with engine(budgets=Budgets(requests=2)) as e:
        task = e.book.delegate("one", "two", budgets=Budgets(requests=5))
        for _ in range(2):
            assert (await e.call("/x", named(task), agent="two")).status == 200
        answer = await e.call("/x", named(task), agent="two")
        assert (answer.status, answer.json()["code"]) == (429, "budget_exceeded")
        assert "2 requests" in answer.json()["detail"]
        assert "delegated from (one)" in answer.json()["detail"]
        used = {name: spent.requests for name, spent in e.spending.changed().items()}
        assert used == {"one": 2, task.id: 2}
        assert (await e.call("/x", agent="two")).status == 200  # its own task has its own budget
        assert (await e.call("/x")).json()["code"] == "budget_exceeded"
        assert len(e.upstream.requests) == 3


async def test_many_at_once_never_take_more_than_there_is():
    async with engine(budgets=Budgets(requests=10)) as e:
        task = e.book.delegate("one", "two")
        calls = [e.call("/x", named(task), agent="two") for _ in range(12)]
        calls += [e.call("/x") for _ in range(12)]
        answers = await asyncio.gather(*calls)
        assert sorted(answer.status for answer in answers) == [200] * 10 + [429] * 14
        assert len(e.upstream.requests) == 10


async def test_octets_of_both_directions_are_taken_from_every_link():
    async with engine(budgets=Budgets(octets=3000)) as e:
        task = e.book.delegate("one", "two")
        assert (await e.call("/bytes?n=2900", named(task), agent="two")).status == 200
        await e.enforcer.settled()
        (outcome,) = [record.raw["what"] for record in e.records if record.kind == "outcome"]
        moved = outcome["bytes_up"] + outcome["bytes_down"]
        assert moved >= 2900
        assert {name: spent.octets for name, spent in e.spending.changed().items()} == {"one": moved}
        assert (await e.call("/bytes?n=2900")).status == 200  # what is left may be overrun once
        await e.enforcer.settled()
        assert (await e.call("/x", named(task), agent="two")).json()["code"] == "budget_exceeded"


async def test_what_is_refused_by_the_rules_takes_nothing():
    async with engine(pdp=ByAgent("two"), budgets=Budgets(requests=1)) as e:
        task = e.book.delegate("one", "two")
        for _ in range(3):
            assert (await e.call("/x", named(task), agent="two")).json()["code"] == "policy_deny"
        assert e.spending.changed() == {}


def of(task_id: str, e) -> Principal:
    """Whoever calls under this task."""
    task = e.book.get(task_id)
    family = Family(*(replace(agent(name), id=name) for name in ("one", "two")))
    for known in e.book.tasks.values():
        family.tasks.add(known)
    return Principal(family.links(task, 10), (Evidence(Method.LISTENER, "test"),))


async def test_to_ask_whether_takes_nothing_and_gives_the_same_answer():
    async with engine(pdp=Says(YES), budgets=Budgets(requests=1)) as e:
        task = e.book.delegate("one", "two")
        principal = of(task.id, e)
        url = f"http://{e.upstream.hosts[0]}:{e.upstream.port}/x"
        for _ in range(3):
            assert (await e.judge.may(principal, "GET", url.encode())).refusal is None
        assert (await e.call("/x", named(task), agent="two")).status == 200
        assert (await e.judge.may(principal, "GET", url.encode())).code is Code.BUDGET_EXCEEDED
        assert e.spending.changed()["one"].requests == 1
        assert len(e.decisions) == 1  # and leaves no record of its own


async def test_to_ask_is_refused_where_the_call_would_be():
    async with engine(pdp=ByAgent("two")) as e:
        principal = of(e.book.delegate("one", "two").id, e)
        for method, url, code in (
            ("GET", "http://api.test/", Code.POLICY_DENY),
            ("BREW", "http://api.test/", Code.METHOD_UNSUPPORTED),
            ("CONNECT", "http://api.test/", Code.METHOD_UNSUPPORTED),
            ("GET", "ftp://api.test/", Code.SCHEME_UNSUPPORTED),
            ("GET", "/x", Code.TARGET_MALFORMED),
            ("GET", "http://api.test/%2Fx", Code.TARGET_MALFORMED),
            ("GET", "http://api.test/?a=%zz", Code.TARGET_MALFORMED),
            ("GET", "http://127.0.0.1/", Code.DEST_LOOPBACK),
            ("GET", "http://api_test/", Code.HOST_NONCANONICAL),
            ("GET", "https://gatepass.internal/", Code.DESK_REQUEST),
        ):
            found = await e.judge.may(principal, method, url.encode())
            refusal = found if isinstance(found, Refusal) else found.refusal
            assert refusal.code is code, url


# -- in a whole sidecar --


async def delegated(w: World, **wanted: object):
    """What the desk answers to the tester that hands its task to the helper."""
    async with await w.client() as client:
        body = json.dumps({"agent": "helper", "purpose": "help", **wanted}).encode()
        head = (
            "POST http://gatepass.internal/delegate HTTP/1.1\r\nHost: gatepass.internal\r\n"
            f"Proxy-Authorization: {w.authorization}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        await client.send(head.encode() + body)
        return await client.read_response()


async def helps(w: World, token: str, path: str, method: str = "GET") -> int:
    async with await w.client() as client:
        url = f"http://{w.authority}{path}"
        head = f"{method} {url} HTTP/1.1\r\nHost: {w.authority}\r\nProxy-Authorization: {basic('task', token)}\r\n\r\n"
        await client.send(head.encode())
        return (await client.read_response()).status


async def test_a_delegated_call_can_be_judged_again_from_the_log_alone(tmp_path):
    """``helper`` may delete, ``tester`` may not: acting for it, neither may ``helper``."""
    policies = [
        demo_rules.permit("tester-reads", who="tester"),
        demo_rules.permit("helper-may", who="helper", actions=("read", "delete")),
    ]
    agents = [demo_rules.agent("tester"), demo_rules.agent("helper")]
    async with world(
        tmp_path, upstream=Upstream("api.test", tls=False), agents=agents, policies=policies
    ) as w:
        answer = await delegated(w)
        assert answer.status == 201, answer.body
        child = answer.json()
        assert await helps(w, child["token"], "/x") == 200
        assert await helps(w, child["token"], "/x", "DELETE") == 403
        own = w.another_task(agent="helper")
        assert await helps(w, own.token, "/x", "DELETE") == 200
        await w.settled()
        decisions = [record for record in w.decisions if record.agent == "helper"]
        log = w.state / "log"
    assert [(record.effect, record.rule) for record in decisions] == [
        ("allow", "helper-may"),
        ("deny", ""),
        ("allow", "helper-may"),
    ]
    allowed, denied, alone = (record.raw for record in decisions)
    for record in (allowed, denied):
        chain = record["who"]["chain"]
        assert [link["agent"] for link in chain] == ["tester", "helper"]
        assert chain[0] == {
            "agent": "tester",
            "task": w.started.task.id,
            "grant_sha256": w.started.task.manifest_sha256,
        }
        assert chain[1]["grant_sha256"] == record["who"]["task"]["manifest_sha256"]
        assert again(record["why"]["input"], record["why"]["ruleset_sha256"], log) == ["helper-may"]
        (above,) = record["why"]["above"]
        assert (above["agent"], above["task"]) == ("tester", w.started.task.id)
        assert above["input"]["principal"] == {"type": "Agent", "id": "tester"}
        assert again(above["input"], record["why"]["ruleset_sha256"], log) == above["rules"]
    assert [above["rules"] for above in allowed["why"]["above"]] == [["tester-reads"]]
    (refused,) = denied["why"]["above"]
    assert (refused["effect"], refused["rules"], refused["errors"]) == ("deny", [], [])
    assert denied["why"]["detail"].startswith(
        "tester, for whom this task was delegated, may not do this itself"
    )
    assert "above" not in alone["why"]
    assert len(alone["who"]["chain"]) == 1


def again(seen, ruleset: str, log) -> list[str]:
    """The rules that allow what a record says was asked, by the rule set that is kept with the log."""
    files = unpack((log / FOLDER / ruleset).read_bytes())
    assert digest(files) == ruleset
    answer = cedarpy.is_authorized(
        {key: seen[key] for key in ("principal", "action", "resource", "context")},
        cedarpy.PolicySet.from_json_str(files["policies.json"].decode()),
        json.dumps(seen["entities"]),
        files["schema.cedarschema"].decode(),
    )
    assert answer.allowed == bool(answer.diagnostics.reasons)
    return sorted(answer.diagnostics.reasons)


async def test_a_service_that_was_not_handed_on_is_not_to_be_had(tmp_path):
    agents = [demo_rules.agent("tester"), demo_rules.agent("helper")]
    policies = [demo_rules.permit("t"), demo_rules.permit("h", who="helper")]
    async with world(
        tmp_path, upstream=Upstream("api.test", tls=False), agents=agents, policies=policies
    ) as w:
        child = (await delegated(w, services=[])).json()
        assert await helps(w, child["token"], "/x") == 403
        assert w.decisions[-1].code == Code.SERVICE_NOT_GRANTED
        assert w.decisions[-1].raw["who"]["right"]["services"] == []
        assert not w.upstream.connections
