"""What could be allowed is shown; what certainly is not, is not."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.identity.principal import Agent
from proxy.policy.content import Act
from proxy.policy.decision import Deny
from tests.policy.test_verdict import BY_PERSON, CHARGE, SPENT, USED, pay
from tests.policy.worlds import AGENTS, GET, ask, rules, task

RULESET = pay(BY_PERSON + """
@id("tasks") permit (principal in Tier::"standard", action in Action::"tickets", resource)
when { context.task.scopes.contains("tickets") && context.request.method == "GET" };
@id("never") forbid (principal, action == Action::"tickets.export", resource);
@id("odd") forbid (principal, action == Action::"pay.http.admin", resource)
when { resource.port + 9223372036854775807 > 0 };
@id("admin") permit (principal, action == Action::"pay.http.admin", resource);
""")  # fmt: skip


def could(method, url, **more):
    return RULESET.could(ask(method, url, within=RULESET, **more))


def test_what_depends_on_content_or_a_person_could_be():
    assert could("POST", CHARGE)
    assert could("GET", CHARGE + "/7")


def test_what_no_rule_permits_could_not():
    assert not could("PUT", CHARGE)
    assert not could("GET", "https://x.example.org/")


def test_the_task_is_known():
    assert could("GET", GET, of=task(scopes=("tickets",)))
    assert not could("GET", GET)
    assert not could("GET", GET, of=task(scopes=("tickets",)), agent=AGENTS[1])
    assert not could("GET", GET, of=task("production", scopes=("tickets",)))


def test_what_is_forbidden_or_cannot_be_judged_could_not():
    assert not could("POST", "https://tickets.example.org/v1/export/x", of=task(scopes=("tickets",)))
    assert not could("PROPFIND", CHARGE)
    strange = Agent('a"b\\c', "development", "standard", "a", "b")
    assert could("GET", GET, of=task(scopes=("tickets",)), agent=strange)
    broken = Agent("a\x00b", "development", "standard", "a", "b")
    assert not could("GET", GET, of=task(environment=7), agent=broken)


@pytest.mark.parametrize("name", ["tickets.get", "tickets.http.admin"])
def test_an_act_is_judged_not_the_path(name):
    question = ask("GET", GET, within=RULESET, of=task(scopes=("tickets",)))
    (service,) = [one for one in RULESET.catalogue.services if one.name == "tickets"]
    (operation,) = [one for one in service.all_operations if one.id == name]
    assert RULESET.could(question._replace(act=Act(operation)))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([("POST", CHARGE), ("GET", CHARGE + "/7"), ("PUT", CHARGE), ("GET", GET), ("PROPFIND", GET)]),
    st.sampled_from(AGENTS),
    st.sampled_from([(), ("tickets",)]),
    st.integers(0, 2000),
    st.sampled_from([USED, SPENT]),
    st.booleans(),
)  # fmt: skip
def test_whatever_is_allowed_or_held_could_be(call, agent, scopes, amount, budgets, approved):
    question = ask(
        *call, within=RULESET, agent=agent, of=task(scopes=scopes), budgets=budgets, approved=approved
    )
    question = question._replace(act=question.act._replace(facts=orjson.dumps(
        {"body": {"amount": amount}} if "body" in question.act.operation.fact_groups else {})))  # fmt: skip
    if not isinstance(RULESET.decide(question).decision, Deny):
        assert RULESET.could(question)


def test_nothing_is_possible_without_rules():
    assert not rules(b"").could(ask("GET", GET))
