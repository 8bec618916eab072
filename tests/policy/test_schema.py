import re
from json import dumps

import cedarpy
import pytest

from proxy.policy.needs import EVERYTHING, NOTHING, REQUEST, Needs
from proxy.policy.schema import schema_text, service_schema
from proxy.policy.scope import operations_of
from tests.policy.worlds_catalogue import BARE, FULL, parsed

API = parsed(FULL)
OTHER = parsed(BARE.replace("name: api", "name: other").replace("api.example", "other.example"))
SOME = Needs(frozenset({"method"}), frozenset({"mcp", "body"}), approval=True, content=False)


def problems(condition, schema, action="action"):
    text = f"permit(principal, {action}, resource) when {{ {condition} }};"
    return [error.error for error in cedarpy.validate_policies(text, schema).errors]


def action(schema, name):
    return next(line for line in schema.splitlines() if line.startswith(f'action "{name}" '))


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ('context.facts.path.owner == "o" && context.facts.query["in"] > 1', "issues.close"),
        ('context.facts.query["f[x]"] == "y" && context.facts.body.user.login == "ada"', "issues.close"),
        ('context.facts.body.labels.contains("bug") && context.facts.body has milestone', "issues.close"),
        ('context.facts.mcp.tool == "x" && !context.facts.mcp.batch', "mcp.call"),
        ('context.facts.input.query like "a*"', "search"),
        ('context.facts.graphql.fields.contains("viewer") && context.facts.graphql.depth < 9', "viewer.read"),
        ("context.facts.graphql.persisted", "graphql.mutation"),
        ('context.facts.grpc.service == "shop.v1.Cart"', "pay"),
        ('context.facts.aws.action == "GetItem"', "items"),
        ('context.facts.llm.model == "m" && context.facts.llm.max_tokens < 100', "chat"),
        ("context.budgets.hourly.used < context.budgets.spend.limit", "http.read"),
        ('context.task.scopes.contains("x") && context.approved', "http.read"),
    ],
)
def test_what_each_action_has_is_typed(condition, name):
    assert problems(condition, schema_text([API]), f'action == Action::"api.{name}"') == []
    assert (
        problems(condition, schema_text([API]), 'action == Action::"http.read"') != [] or "task" in condition
    )


@pytest.mark.parametrize(
    "condition",
    [
        "context.facts.mcp.batch",
        "context.facts.body.milestone > 1",
        'context.facts.query.title == "x"',
        "context.budgets.daily.used > 1",
        'resource.path == "/"',
        "context.facts.path.owner > 1",
    ],
)
def test_what_is_not_there_is_an_error_of_validation(condition):
    assert problems(condition, schema_text([API]), 'action == Action::"api.issues.close"') != []


def test_rules_for_many_actions_ask_first_what_there_is():
    schema = schema_text([API, OTHER])
    assert problems('context.facts has mcp && context.facts.mcp.tool == "x"', schema) == []
    assert (
        problems("context has budgets && context.budgets has hourly", schema, 'action in Action::"api"') == []
    )
    assert problems('context.request.path like "/admin/*"', schema) == []


def test_every_action_is_in_its_group_and_in_its_service():
    schema = schema_text([API, OTHER])
    assert 'in ["delete", "api"]' in action(schema, "api.issues.close")
    assert 'in ["admin", "other"]' in action(schema, "other.http.admin")
    assert 'in ["read"]' in action(schema, "http.read")
    named = set(re.findall(r'^action "(.*?)"', schema, re.MULTILINE))
    assert named == {"api", "other"} | {
        operation.id for service in (API, OTHER) for operation in service.all_operations
    } | {"http.read", "http.write", "http.delete", "http.admin"}


def test_the_order_of_services_does_not_matter():
    assert schema_text([API, OTHER]) == schema_text([OTHER, API])


def everywhere(service, needs):
    """The same for every action there."""
    return {operation.id: needs for operation in operations_of(service)}


def test_actions_of_one_service_can_be_told_different_things():
    schema = schema_text([API], {"api.search": SOME, "api.issues.close": NOTHING, "http.read": EVERYTHING})
    assert "approved: Bool" in action(schema, "api.search")
    assert "approved" not in action(schema, "api.issues.close")
    assert "facts" not in action(schema, "api.issues.close")
    assert "approved: Bool" in action(schema, "http.read")
    assert cedarpy.Schema.from_str(schema)


def test_what_no_rule_reads_is_left_out():
    schema = schema_text([API, OTHER], everywhere(API, SOME))
    assert "approved" not in action(schema, "http.read")
    assert "facts" not in action(schema, "other.http.read")
    assert "approved: Bool" in action(schema, "api.search")
    assert "facts: {mcp: Mcp}" in action(schema, "api.search")
    assert "facts: {body: {title" in action(schema, "api.issues.close")
    assert "type Llm" not in schema
    assert "type Mcp" in schema
    assert re.findall(r"type (Request\d*) = {\n(.*?)};", schema, re.DOTALL) == [
        ("Request", ""),
        ("Request1", "  method: String,\n"),
    ]
    assert cedarpy.Schema.from_str(schema)


def test_everything_is_what_is_needed_by_default():
    every = schema_text([API], everywhere(API, EVERYTHING) | everywhere(None, EVERYTHING))
    assert schema_text([API]) == every
    members = re.search(r"type Request = {\n(.*?)};", every, re.DOTALL)[1]
    assert set(re.findall(r"^  (\w+): ", members, re.MULTILINE)) == REQUEST


def test_the_schema_of_one_service_has_the_same_actions_and_no_others():
    some = everywhere(API, SOME)
    whole = schema_text([API, OTHER], some)
    slices = [service_schema(service, some) for service in (API, OTHER, None)]
    for part in slices:
        assert cedarpy.Schema.from_str(part)
    lines = [line for part in slices for line in part.splitlines() if line.startswith('action "')]
    assert {
        re.sub(r"Request\d", "Request", line) for line in whole.splitlines() if line.startswith('action "')
    } == set(lines)
    assert len(lines) == len(set(lines))


CONTEXT = {
    "task": {"type": "Task", "id": "t"},
    "request": {"method": "POST"},
    "approved": False,
    "budgets": {name: {"limit": 5, "used": 1} for name in ("hourly", "spend")},
}
TASK = {
    "uid": {"type": "Task", "id": "t"},
    "attrs": {
        "id": "t", "purpose": "p", "scopes": ["s"], "environment": "development", "on_behalf_of": "", "ticket": "",
        "approver": "", "delegated": False,
    },
    "parents": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [service_schema(API, everywhere(API, SOME)), schema_text([API, OTHER], everywhere(API, SOME))],
)
@pytest.mark.parametrize(
    ("facts", "allowed"),
    [
        ({"mcp": {"method": "tools/call", "tool": "x", "uri": "", "batch": False}}, True),
        ({"mcp": {"method": "tools/call", "tool": "y", "uri": "", "batch": False}}, False),
        ({"mcp": {"method": "tools/call", "tool": "x", "uri": ""}}, False),
        ({}, False),
    ],
)
def test_both_pruned_schemas_evaluate_alike(schema, facts, allowed):
    policy = """permit(principal, action in [Action::"read", Action::"elsewhere"], resource)
        when { context.facts has mcp && context.facts.mcp.tool == "x" && context.task.scopes.contains("s") };"""
    loaded = cedarpy.Schema.from_str(schema)
    entities = cedarpy.Entities.from_json_str("[]", loaded).with_added_json_str(dumps([TASK]), loaded)
    request = {"principal": 'Agent::"a"', "action": 'Action::"api.mcp.list"', "resource": 'Endpoint::"e"'}
    context = CONTEXT | {"facts": facts}
    answer = cedarpy.is_authorized(request | {"context": context}, policy, entities, loaded)
    assert answer.allowed is allowed
