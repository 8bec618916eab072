"""Policies are validated by what they could be evaluated by: never more strictly than by the whole schema."""

from itertools import product

import cedarpy
import pytest

from proxy.policy.schema import schema_text
from proxy.policy.statement import Policy, parse_policies
from proxy.policy.validation import invalid
from tests.policy.test_slices import ACTIONS, CONDITIONS, RESOURCES
from tests.policy.worlds import PAY, rules

CATALOGUE = rules(pay=PAY).catalogue
WHOLE = schema_text(CATALOGUE.services)
SPENT = "when { context.budgets.hourly.used > 5 }"
NUMBER = "when { context.facts.path.id == 7 }"
WRONG = [
    SPENT,
    NUMBER,
    "when { context.nothing }",
    'when { resource.port like "7" }',
    'when { resource.port == "443" }',
]


def complaints(*texts: str) -> list[str]:
    found = parse_policies("\n".join(texts).encode(), "policies/a.cedar")
    policies = [policy for policy in found if isinstance(policy, Policy)]
    assert len(policies) == len(found)
    return [str(problem) for problem in invalid(policies, CATALOGUE, WHOLE)]


def test_nothing_is_refused_that_the_whole_schema_allows():
    texts = [
        f'@id("p{number}") forbid (principal, {action}, {resource}) {condition};'
        for number, (action, resource, condition) in enumerate(
            product(ACTIONS, RESOURCES, [*CONDITIONS[1::2], *WRONG[:2]])
        )
    ]
    refused = cedarpy.validate_policies("\n".join(texts), WHOLE).errors
    wrong = {int(error.policy_id.removeprefix("policy")) for error in refused}
    assert 0 < len(wrong) < len(texts)
    assert complaints(*(text for number, text in enumerate(texts) if number not in wrong)) == []


@pytest.mark.parametrize(
    "head",
    [
        *("principal, action, resource", 'principal, action in Action::"read", resource'),
        'principal, action, resource in Service::"tickets"',
        'principal, action == Action::"tickets.get", resource',
        'principal, action in [Action::"tickets.get", Action::"pay.get"], resource',
        'principal, action, resource in Host::"tickets.example.org"',
        *(
            'principal, action in Action::"http.read", resource',
            'principal, action, resource in Host::"x.de"',
        ),
    ],
)
@pytest.mark.parametrize("condition", WRONG)
def test_what_is_wrong_there_is_refused(head, condition):
    (complaint,) = complaints(f'\n@id("a") permit ({head}) {condition};')[:1]
    assert complaint.startswith("policies/a.cedar:2: a: ")


def test_what_is_true_of_every_action_that_could_match_may_be_read():
    mine = 'action in Action::"read", resource in Service::"pay"'
    assert complaints(f'@id("a") forbid (principal, {mine}) {SPENT};') == []
    assert complaints('@id("a") forbid (principal, action in Action::"read", resource) ' + SPENT + ";") != []


def test_an_action_of_another_service_is_known():
    text = '@id("a") forbid (principal, action, resource in Service::"tickets") unless { action == Action::"pay.get" };'
    assert complaints(text) == []


def test_problems_come_in_the_order_of_the_policies():
    heads = [
        'resource in Service::"pay"',
        "resource",
        'resource in Service::"tickets"',
        'resource in Service::"pay"',
    ]
    texts = [
        f'@id("{number}") permit (principal, action, {head}) when {{ context.nothing }};'
        for number, head in enumerate(heads)
    ]
    named = [complaint.split(": ")[1] for complaint in complaints(*texts)]
    assert list(dict.fromkeys(named)) == ["0", "1", "2", "3"]
    assert named == sorted(named)
