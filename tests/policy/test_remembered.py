"""What was decided before is never the answer to another question."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.identity.principal import Agent
from proxy.policy.decision import Allow
from tests.policy.test_slices import QUESTIONS, USED, known
from tests.policy.test_verdict import SPENT
from tests.policy.worlds import CODER, GET, PAY, ask, right, rules, task

POLICIES = b"""@id("read") permit (principal in Tier::"standard", action in Action::"read", resource);
@id("scoped") permit (principal, action in Action::"write", resource) when { context.task.scopes.contains("a") };
@id("path") forbid (principal, action, resource in Service::"tickets") when { context.request.path like "*7*" };
@id("approved") permit (principal, action == Action::"pay.charge", resource) when { context.approved };
@id("amount") @max_response("1") permit (principal, action == Action::"pay.charge", resource)
when { context.facts.body.amount == 12 };
@id("time") forbid (principal, action, resource in Host::"x.example.org") when { context.request.time < 10 };
@id("method") forbid (principal, action, resource) when { context.request.method == "PROPFIND" };
@id("ticket") forbid (principal, action, resource) when { context.task.ticket == "X" || principal.environment == "production" };
"""
AGENTS = st.sampled_from(
    [CODER, Agent("coder", "development", "low", "", ""), Agent("coder", "production", "standard", "", ""),
     Agent("other", "development", "standard", "", "")]
)  # fmt: skip
TASKS = st.builds(
    task,
    st.sampled_from(["development", "production"]),
    st.sampled_from([(), ("a",), ("a", "b")]),
    st.none() | st.just("ada"),
    ticket=st.none() | st.just("X"),
    parent=st.none() | st.just("t-" + "b" * 26),
)


@st.composite
def asked(draw):
    method, url = draw(st.sampled_from(QUESTIONS))
    of = draw(TASKS)
    question = ask(
        method, url, within=SEASONED, agent=draw(AGENTS), of=of,
        left=right(of, *draw(st.sampled_from([(), ("a",), of.scopes]))),
        keys=draw(st.sampled_from([(), ("q",), ("_method",)])),
        budgets=draw(st.sampled_from([USED, SPENT])),
        approved=draw(st.booleans()), time=draw(st.sampled_from([5, 1_700_000_000, 1_700_000_001])),
    )  # fmt: skip
    question = known(question, SEASONED.site(question.target.origin).needs)
    facts = orjson.loads(question.act.facts)
    if "body" in facts:
        facts["body"]["amount"] = draw(st.sampled_from([12, 13]))
    return question._replace(act=question.act._replace(facts=orjson.dumps(facts)))


SEASONED = rules(POLICIES, pay=PAY)  # it remembers from example to example


@settings(max_examples=100, deadline=None)
@given(st.lists(asked(), min_size=1, max_size=4))
def test_memory_never_changes_an_answer(questions):
    fresh = rules(POLICIES, pay=PAY)
    for question in questions:
        first = SEASONED.decide(question)
        assert SEASONED.decide(question) == first == fresh.decide(question)
        assert first.ruleset_sha256 == fresh.sha256


def test_the_same_question_has_the_very_same_ruling():
    question = ask("GET", GET, within=SEASONED)
    assert SEASONED.decide(question) is SEASONED.decide(question._replace(method="GET"))


def test_what_the_rules_do_not_read_is_another_url_in_the_words_alone():
    one, two = (ask("DELETE", f"https://pay.example.org/{name}", within=SEASONED) for name in "ab")
    first, second = SEASONED.decide(known(one)), SEASONED.decide(known(two))
    assert not isinstance(first.decision, Allow)
    assert first.input == second.input
    assert first.decision.refusal.detail.endswith("DELETE https://pay.example.org/a")
    assert second.decision.refusal.detail.endswith("DELETE https://pay.example.org/b")


def test_more_rulings_than_fit_are_still_right():
    for _ in range(2):
        for number in range(2100):
            ruling = SEASONED.decide(ask("GET", f"{GET}/{number}", within=SEASONED))
            assert isinstance(ruling.decision, Allow) is ("7" not in str(number))
