from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Refusal
from proxy.identity.principal import Agent
from proxy.identity.rights import own
from proxy.policy.explain import Explainer, Explanation
from proxy.policy.trial import Asker, Sent, Trial, decide, put
from tests.policy import worlds

TIME = 1_700_000_000
SHOP = b"""\
name: shop
hosts: [shop.example.org]
owner: support@example.org
data_owner: privacy@example.org
sensitivity: internal
environments: [development, staging]
operations:
  pay:
    group: write
    method: POST
    path: "/v1/{shop}/pay"
    facts: {body: {amount: long, currency: string, "gift?": bool, "tags?": "[string]"}, query: {"mode?": string}}
budgets:
  hourly: {per: task, window: 1h, requests: 10}
"""
POLICIES = b"""\
@id("pay.small") permit (principal in Tier::"standard", action == Action::"shop.pay", resource)
when { context.task.scopes.contains("pay") && context.facts.body.amount <= 100 };
@id("pay.large") permit (principal, action == Action::"shop.pay", resource)
when { context.approved && context.facts.body.amount < 1000 && context.task.scopes.containsAll(["pay", "large"]) };
@id("euro") forbid (principal, action == Action::"shop.pay", resource)
unless { context.facts.body.currency == "EUR" || context.facts.body.currency == "CHF" };
@id("owned") forbid (principal, action == Action::"shop.pay", resource)
when { context.facts.path.shop like "test*" && context.request.time < 1700000000 };
"""
shop = cache(lambda: worlds.rules(POLICIES, shop=SHOP))
INTERN = Agent("intern", "development", "low", "ada@example.org", "grace@example.org")


def explain(
    body: bytes,
    *,
    agent: Agent = worlds.CODER,
    approved: bool = False,
    url: str = "/v1/a/pay",
    time: int = TIME,
    used: int = 0,
    services=None,
    scopes: tuple[str, ...] = ("pay",),
) -> Explanation:
    rules = shop()
    task = worlds.task(scopes=scopes)
    right = own(agent, task)
    if services is not None:
        right = type(right)(right.scopes, frozenset(services), right.environment, right.expires_at)
    sent = Sent("POST", f"https://shop.example.org{url}", ((b"Content-Type", b"application/json"),), body)
    trial = put(rules, Asker(agent, task, right, approved), sent, time, {"hourly": used})
    assert isinstance(trial, Trial), trial
    return Explainer(rules, rules.catalogue, rules.policies).explain(trial, (*worlds.AGENTS,))


def words(explanation: Explanation) -> list[list[str]]:
    return [[change.words for change in changes] for changes in explanation.changes]


def fails(explanation: Explanation) -> dict[str, list[str]]:
    return {
        held.policy.id: [part.words for part in held.fails]
        for held in explanation.acts[0].held
        if not held.policy.id.startswith("gatepass.")
    }


def test_an_allowed_call_says_what_spoke():
    found = explain(b'{"amount": 7, "currency": "EUR"}')
    assert (found.outcome.effect, found.outcome.rules) == ("allow", ("pay.small",))
    assert found.why == ("shop.pay (write): POST /v1/{shop}/pay",)
    assert found.changes == ()
    assert fails(found) == {
        "pay.small": [],
        "pay.large": [
            "when { context.approved }",
            'when { context.task.scopes.containsAll(["pay", "large"]) }',
        ],
        "euro": ['unless { context.facts.body.currency == "EUR" }'],
        "owned": [
            'when { context.facts.path.shop like "test*" }',
            "when { context.request.time < 1700000000 }",
        ],
    }


def test_a_value_too_large():
    found = explain(b'{"amount": 101, "currency": "EUR"}')
    assert fails(found)["pay.small"] == ["when { context.facts.body.amount <= 100 }"]
    assert ["context.facts.body.amount is 100"] in words(found)
    assert ["context.facts.body.amount is 101"] not in words(found)


def test_a_missing_scope():
    assert words(explain(b'{"amount": 7, "currency": "EUR"}', scopes=())) == [
        ["the task has the scope pay"],
    ]


def test_a_forbid_names_what_would_please_it():
    found = explain(b'{"amount": 7, "currency": "USD"}')
    assert (found.outcome.effect, found.outcome.rules) == ("deny", ("euro",))
    assert ['context.facts.body.currency is "EUR"'] in words(found)


def test_two_changes_if_one_is_not_enough():
    found = explain(b'{"amount": 500, "currency": "EUR"}', agent=INTERN)
    assert ["a person approves it (context.approved)", "the task has the scopes large, pay"] in words(found)
    assert all(len(changes) == 2 for changes in found.changes)


def test_a_hold_is_an_approval_away():
    found = explain(b'{"amount": 500, "currency": "EUR"}', scopes=("pay", "large"))
    assert (found.outcome.effect, found.outcome.rules) == ("hold", ("pay.large",))
    assert ["a person approves it (context.approved)"] in words(found)


def test_another_tier_time_budget_environment_service():
    body = b'{"amount": 7, "currency": "EUR"}'
    assert ["the agent is of the tier standard"] in words(explain(body, agent=INTERN))
    assert ["the time is 1700000000 (POSIX seconds)"] in words(
        explain(body, url="/v1/test1/pay", time=TIME - 5)
    )
    assert words(explain(body, used=10)) == [["the window of the budget hourly begins anew"]]
    assert words(explain(body, services=("tickets",))) == [["the task is given the service shop"]]
    abroad = Agent("coder", "production", "standard", "a", "b")
    rules = shop()
    task = worlds.task("production", ("pay",))
    sent = Sent("POST", "https://shop.example.org/v1/a/pay", ((b"Content-Type", b"application/json"),), body)
    trial = put(rules, Asker(abroad, task, own(abroad, task)), sent, TIME)
    found = Explainer(rules, rules.catalogue, rules.policies).explain(trial, worlds.AGENTS)
    assert words(found) == [
        ["agent and task are of the environment development"],
        ["agent and task are of the environment staging"],
    ]


def test_what_is_refused_before_it_is_classified():
    rules = shop()
    task = worlds.task()
    asker = Asker(worlds.CODER, task, own(worlds.CODER, task))
    for method, url, body, code in (
        ("BREW", "https://shop.example.org/", None, "method_unsupported"),
        ("GET", "shop.example.org", None, "target_malformed"),
        ("GET", "https://shop.example.org/a%2Fb", None, "target_malformed"),
        ("GET", "https://shop.example.org/?a=%zz", None, "target_malformed"),
        (
            "POST",
            "https://shop.example.org/v1/a/pay",
            b'{"amount": 1, "amount": 2, "currency": "EUR"}',
            "ambiguous_input",
        ),
        ("POST", "https://shop.example.org/v1/a/pay", b" " * 2_000_000, "body_too_large"),
    ):
        sent = Sent(method, url, ((b"Content-Type", b"application/json"),), body)
        found = put(rules, asker, sent, TIME)
        assert isinstance(found, Refusal), (method, url, found)
        assert found.code == code


def test_a_host_of_no_service():
    rules = shop()
    task = worlds.task()
    trial = put(
        rules,
        Asker(worlds.CODER, task, own(worlds.CODER, task)),
        Sent("GET", "https://else.example.org/", (), None),
        TIME,
    )
    assert isinstance(trial, Trial)
    found = Explainer(rules, rules.catalogue, rules.policies).explain(trial, worlds.AGENTS)
    assert found.why == (
        "http.read (read): no service is catalogued at https://else.example.org, so the method decides",
    )
    assert found.changes == ()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(-5, 2_000),
    st.sampled_from(["EUR", "USD", "CHF"]),
    st.sets(st.sampled_from(["pay", "large"])),
    st.booleans(),
)
def test_parts_and_engine_agree(amount, currency, scopes, approved):
    """A policy speaks exactly if every part of it holds, and what is said to help does help."""
    body = f'{{"amount": {amount}, "currency": "{currency}"}}'.encode()
    found = explain(body, scopes=tuple(sorted(scopes)), approved=approved)
    spoke = {held.policy.id for held in found.acts[0].held if held.spoke}
    forbids, permits = spoke & {"euro", "owned"}, spoke & {"pay.small", "pay.large"}
    if found.outcome.effect != "hold":
        assert set(found.outcome.rules) == (forbids or permits)
    assert found.outcome.effect == ("deny" if forbids else "allow" if permits else found.outcome.effect)
    rules = shop()
    for changes in found.changes:
        questions = found.trial.questions
        for change in changes:
            questions = tuple(map(change.apply, questions))
        changed = Trial(found.trial.service, found.trial.target, questions)
        assert decide(rules, changed).effect == "allow"
