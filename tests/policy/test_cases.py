import pytest

from proxy.identity.registry import Registry
from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cases import Ran, coverage, just_missed, run
from proxy.policy.explain import Explainer
from proxy.policy.trial import decide
from tests.policy import worlds

AGENTS = Registry.of(worlds.AGENTS)
LIST = 'request: {method: GET, url: "https://tickets.example.org/v1/tickets"}'
REPLY = 'request: {method: POST, url: "https://tickets.example.org/v1/tickets/7/replies"}'
EXPORT = 'request: {method: POST, url: "https://tickets.example.org/v1/export/all"}'
SECRET = 'request: {method: GET, url: "https://tickets.example.org/v1/tickets/secret"}'


def case(text: str) -> Case:
    cases = parse_cases(f"cases:\n  - {{name: n, {text}}}\n".encode(), "cases/x.yaml")
    assert isinstance(cases[0], Case), [str(problem) for problem in cases]
    return cases[0]


def ran(text: str, policies: bytes = worlds.POLICIES, **services: bytes) -> Ran:
    rules = worlds.rules(policies, **services)
    return run(case(text), rules, AGENTS, [policy.id for policy in rules.policies])


@pytest.mark.parametrize(
    "text",
    [
        f"agent: coder, {LIST}, expect: allow, rule: tickets.read, action: tickets.list",
        f"agent: intern, {LIST}, expect: deny, code: default_deny",
        f"agent: coder, {REPLY}, expect: deny, code: default_deny",
        f"agent: coder, task: {{scopes: [reply]}}, {REPLY}, expect: allow, rule: [tickets.reply]",
        f"agent: coder, {EXPORT}, expect: deny, rule: no_admin, code: policy_deny",
        f"agent: coder, {SECRET}, expect: deny, rule: no_secrets",
        f"agent: coder, task: {{environment: production}}, {LIST}, expect: deny, rule: gatepass.environment",
        f"agent: coder, task: {{services: [other]}}, {LIST}, expect: deny, code: service_not_granted",
        f"agent: coder, task: {{services: []}}, {LIST}, expect: deny, code: service_not_granted",
        'agent: coder, request: {method: GET, url: "ftp://x/"}, expect: deny, code: scheme_unsupported',
    ],
)
def test_what_is_as_expected(text):
    result = ran(text)
    assert result.passed, result.failures


def test_what_is_not():
    assert ran(f"agent: coder, {LIST}, expect: deny, code: policy_deny").failures == (
        "expected deny, it is allow",
        "expected the code policy_deny, it is allowed",
    )
    assert ran(
        f"agent: coder, {LIST}, expect: allow, rule: [no_admin, gone], action: tickets.get"
    ).failures == (
        "expected the rule no_admin to speak; it was tickets.read",
        "there is no rule gone",
        "expected the action tickets.get; it is tickets.list",
    )
    assert ran(f"agent: coder, {REPLY}, expect: allow, rule: tickets.reply").failures == (
        "expected allow, it is deny",
        "expected the rule tickets.reply to speak; none spoke",
    )
    result = ran('agent: coder, request: {method: GET, url: "x"}, expect: deny, action: a')
    assert result.failures == ("expected the action a; it is refused before it is classified",)
    assert ran(f"agent: nobody, {LIST}, expect: deny").failures == (
        "there is no agent nobody in agents.yaml",
    )


def test_agents_that_the_file_makes_up():
    rules, head = worlds.rules(), "agents: {someone: {tier: standard}, coder: {}}\ncases:\n"
    text = f"{head}  - {{name: a, agent: someone, {SECRET}, expect: deny, rule: no_secrets}}\n"
    text += f"  - {{name: b, agent: coder, {LIST}, expect: allow}}\n"
    someone, coder = parse_cases(text.encode(), "cases/x.yaml")
    assert run(someone, rules, AGENTS, ["no_secrets"]).passed
    assert run(coder, rules, AGENTS, []).failures == (
        "the agent coder is in agents.yaml; make up one with another name",
    )


def test_budgets_approval_and_time():
    service = worlds.TICKETS.replace(
        b"credential:", b"budgets: {hourly: {per: task, window: 1h, requests: 5}}\ncredential:"
    )
    policies = b"""\
@id("tickets.read") permit (principal, action == Action::"tickets.list", resource) when { context.request.time > 100 };
@id("asked") permit (principal, action == Action::"tickets.export", resource) when { context.approved };
"""
    other = service.replace(b"name: tickets", b"name: more").replace(
        b"tickets.example.org", b"more.example.org"
    )
    policies = policies.replace(b"tickets.list", b"more.list").replace(b"tickets.export", b"more.export")
    there = LIST.replace("tickets.example", "more.example")
    export = EXPORT.replace("tickets.example", "more.example")
    for text in (
        f"agent: coder, {there}, expect: allow, budgets: {{hourly: 4}}",
        f"agent: coder, {there}, expect: deny, code: rate_limited, budgets: {{hourly: 5}}",
        f"agent: coder, {there}, expect: deny, code: default_deny, time: 100",
        f"agent: coder, {export}, expect: hold, rule: asked, code: approval_required",
        f"agent: coder, {export}, expect: allow, rule: asked, approved: true",
    ):
        result = ran(text, policies, more=other)
        assert result.passed, (text, result.failures, result.detail)


def test_coverage_wants_a_case_on_both_sides():
    rules = worlds.rules()
    explainer = Explainer(rules, rules.catalogue, rules.policies)
    results = []
    for text in (
        f"agent: coder, {LIST}, expect: allow",
        f"agent: intern, {LIST}, expect: deny",
        f"agent: coder, {REPLY}, expect: deny",
        f"agent: coder, {EXPORT}, expect: deny",
    ):
        result = run(case(text), rules, AGENTS, [])
        results.append(
            (result, just_missed(result, explainer.look(result.trial, decide(rules, result.trial))))
        )
    table = {row.rule: (row.spoke, row.near, row.complete) for row in coverage(results, rules.policies)}
    assert table == {
        "tickets.read": (1, 3, True),
        "tickets.reply": (0, 1, False),
        "no_admin": (1, 1, True),
        "no_secrets": (0, 1, False),
    }


def test_a_rule_that_demands_nothing_cannot_be_missed():
    rules = worlds.rules(b'@id("all") permit (principal, action, resource);')
    result = run(case(f"agent: coder, {LIST}, expect: allow"), rules, AGENTS, ["all"])
    assert [row.complete for row in coverage([(result, frozenset())], rules.policies)] == [True]
    assert [row.complete for row in coverage([], rules.policies)] == [False]
