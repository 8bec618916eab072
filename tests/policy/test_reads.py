"""What a policy can read is told conservatively: never less than it reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.needs import EVERYTHING, FACTS, NOTHING, REQUEST
from proxy.policy.reads import needs, reads
from proxy.policy.statement import Policy, parse_policies


def policy(conditions, notes=""):
    (found,) = parse_policies(
        f'@id("a") {notes} permit (principal, action, resource) {conditions};'.encode(), "f"
    )
    assert isinstance(found, Policy), found
    return found


@pytest.mark.parametrize(
    ("conditions", "paths"),
    [
        ("", set()),
        ("when { principal.tier == resource.service }", set()),
        ("when { context.approved }", {("approved",)}),
        ("unless { context.task.scopes.contains(context.request.method) }",
         {("task", "scopes"), ("request", "method")}),
        ("when { context has facts.body.title }",
         {("facts",), ("facts", "body"), ("facts", "body", "title")}),
        ('when { context["facts"]["body"]["a.b"] like "x*" }', {("facts", "body", "a.b")}),
        ("when { context.facts == {a: 1} }", {("facts",)}),
        ("when { {a: context}.a.approved }", {()}),
        ("when { {Var: context.request.path} has Var }", {("request", "path")}),
        ("when { [context.request].containsAny([]) }", {("request",)}),
        ("when { if context.approved then context.facts.mcp.batch else (context.request.time > 1) }",
         {("approved",), ("facts", "mcp", "batch"), ("request", "time")}),
        ("when { (if true then context else context).approved }", {()}),
        ("when { ip(context.request.path).isLoopback() }", {("request", "path")}),
    ],
)  # fmt: skip
def test_paths(conditions, paths):
    assert reads(policy(conditions)) == paths


def test_needs_are_members_groups_and_duties():
    found = needs([policy("when { context.request.path == context.facts.query.q && context.approved }")])
    assert (found.request, found.facts) == (frozenset({"path"}), frozenset({"query"}))
    assert found.approval
    assert not found.content
    assert needs([]) == needs([policy("")]) == NOTHING
    assert needs([policy("", '@drop_fields("/a")')]).content
    assert needs([policy("", '@redact_fields("/a")')]).content
    assert not needs([policy("", '@drop_headers("a") @max_response("1") @require("interception")')]).content


def test_a_whole_value_is_everything_in_it():
    assert needs([policy("when { context == context }", '@drop_fields("/a")')]) == EVERYTHING
    assert needs([policy("when { context.request == context.request }")]).request == REQUEST
    assert needs([policy("when { context has facts }")]).facts == FACTS


@given(st.lists(st.sampled_from(sorted(REQUEST)), min_size=1), st.lists(st.sampled_from(sorted(FACTS))))
def test_every_access_is_found_wherever_it_stands(members, groups):
    texts = [f"context.request.{name} == 1" for name in members] + [
        f"context has facts.{name}" if index % 2 else f"{{a: [context.facts.{name}.x]}}.a == []"
        for index, name in enumerate(groups)
    ]
    expression = texts[0]
    for index, text in enumerate(texts[1:]):
        expression = f"({expression} {('&&', '||')[index % 2]} !({text}))"
    found = needs([policy(f"when {{ {expression} }}")])
    assert found.request == set(members)
    assert found.facts >= set(groups)
