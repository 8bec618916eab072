"""What is probably a mistake: each warning, and the near miss that is none."""

import pytest

from proxy.policy.lint import lint
from tests.policy.worlds import POLICIES, rules

OWNED = '@owner("support@example.org")'
READ = f'@id("read") {OWNED} permit (principal, action in Action::"read", resource in Service::"tickets");'


def warnings(*policies):
    return [str(problem) for problem in lint(rules("\n".join(policies).encode()))]


def test_rules_without_mistakes_have_no_warnings():
    assert warnings(READ) == []


def test_a_permit_without_an_owner():
    assert warnings(READ.replace(OWNED, "")) == [
        'policies/tickets.cedar:1: read: nobody answers for this permit: add @owner("team@example.com")'
    ]
    assert warnings(READ, '@id("f") forbid (principal, action, resource in Host::"x.example.org");') == []


def test_a_service_that_nobody_may_use():
    unused = "services/tickets.yaml: no policy permits anything at the service tickets"
    assert warnings() == [unused]
    other = f'@id("a") {OWNED} permit (principal, action, resource in Host::"x.example.org");'
    assert warnings(other) == [unused]
    forbidden = '@id("f") forbid (principal, action, resource in Service::"tickets");'
    assert warnings(forbidden) == [unused]
    assert warnings(f'@id("a") {OWNED} permit (principal, action, resource);') == []
    # Where nothing is declared in a group, the built-in operations still are.
    assert warnings(f'@id("a") {OWNED} permit (principal, action in Action::"delete", resource);') == []


def permit(condition="", head="principal, action, resource", name="p", note=OWNED):
    return f'@id("{name}") {note} permit ({head}) {condition};'


@pytest.mark.parametrize(
    "forbid",
    [
        "principal, action, resource",
        'principal, action, resource in Service::"tickets"',
        'principal is Agent, action in Action::"read", resource is Endpoint',
        'principal in Tier::"low", action in [Action::"tickets", Action::"admin"], resource',
    ],
)
def test_a_permit_that_a_forbid_covers(forbid):
    narrow = permit(
        head='principal in Tier::"low", action == Action::"tickets.get", resource in Service::"tickets"'
    )
    assert warnings(READ, narrow, f'@id("f") forbid ({forbid});')[-1] == (
        "policies/tickets.cedar:2: p: permits nothing: f (policies/tickets.cedar:3) forbids all of it"
    )


@pytest.mark.parametrize(
    "forbid",
    [
        'principal, action in Action::"write", resource',
        'principal in Tier::"standard", action, resource',
        'principal, action == Action::"tickets.list", resource',
        'principal, action, resource in Host::"tickets.example.org"',
    ],
)
def test_a_forbid_that_leaves_something(forbid):
    narrow = permit(
        head='principal in Tier::"low", action == Action::"tickets.get", resource in Service::"tickets"'
    )
    assert warnings(READ, narrow, f'@id("f") forbid ({forbid});') == []


def test_a_forbid_with_a_condition_covers_nothing():
    assert warnings(READ, '@id("f") forbid (principal, action, resource) unless { context.approved };') == []


def test_an_action_that_is_not_at_the_resource():
    nowhere = "policies/tickets.cedar:2: p: can never match: nothing that it names is done at the resource"
    for head in (
        'principal, action == Action::"http.read", resource in Service::"tickets"',
        'principal, action in Action::"tickets", resource in Host::"x.example.org"',
        'principal, action == Action::"http.read", resource == Endpoint::"https://tickets.example.org"',
    ):
        assert warnings(READ, permit(head=head))[0].startswith(nowhere)
    for head in (
        'principal, action in Action::"tickets", resource in Host::"eu.tickets.example.org"',
        'principal, action == Action::"http.read", resource in Host::"tickets.example.org"',  # at port 8443
    ):
        assert warnings(READ, permit(head=head)) == []


@pytest.mark.parametrize(
    "condition",
    ["when { false }", "unless { true }", "when { !true || (false && context.approved) }",
     "when { context.approved } when { false }"],
)  # fmt: skip
def test_a_condition_that_is_never_true(condition):
    assert "p: can never match: a condition is never true" in warnings(READ, permit(condition))[-1]


@pytest.mark.parametrize(
    "condition", ["when { true }", "unless { false }", "when { context.approved || false }"]
)
def test_a_condition_that_may_be_true(condition):
    assert warnings(READ, permit(condition)) == []


def test_a_policy_that_stands_there_twice():
    twice = "policies/tickets.cedar:2: p: says the same as q (policies/tickets.cedar:1)"
    assert warnings(permit(name="q"), permit()) == [twice]
    assert warnings(permit(name="q"), permit(note=OWNED + '@max_response("1MiB")')) == []
    assert warnings(permit(name="q"), permit('when { context.request.method == "GET" }')) == []


def test_like_on_a_host():
    assert any(
        "cannot be fooled" in words
        for words in warnings(permit('when { resource.host like "*.example.org" }'))
    )
    assert warnings(permit('when { context.request.path like "/v1/*" }')) == []


def test_warnings_come_by_file_and_line():
    found = lint(rules(POLICIES))
    assert [(problem.file, problem.line) for problem in found] == [
        ("policies/tickets.cedar", 2),
        ("policies/tickets.cedar", 5),
    ]
