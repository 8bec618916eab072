"""Two builds of Cedar on rule sets and questions that nobody thought of: they decide alike, and validate alike."""

from collections.abc import Iterator

import cedarpy
import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from proxy.errors import Code
from proxy.policy.cedar import RuleSet
from proxy.policy.decision import Allow, Deny, Hold
from tests.policy.made_up import Asked, asked, loaded, policy, question, whole_schema
from tests.support import from_npm
from tests.support.second_cedar import Rules, Said, SecondCedar, bundled, compare, started

pytestmark = pytest.mark.skipif(from_npm.missing() is not None, reason=from_npm.missing() or "")


def said(ruleset: RuleSet, one: Asked) -> Said:
    """What cedarpy decided, as a record would tell it."""
    ruling = ruleset.decide(question(one, ruleset))
    decision = ruling.decision
    effect = {Allow: "allow", Hold: "hold", Deny: "deny"}[type(decision)]
    errors: set[str] = set()
    if isinstance(decision, Deny):
        # Validation has excluded every other error, with what is pruned from questions left out.
        assert all("overflow" in error for error in decision.errors), decision.errors
        errors = {error.partition("policy `")[2].partition("`")[0] for error in decision.errors} - {""}
        effect = "error" if decision.refusal.code is Code.POLICY_ERROR else effect
    document = orjson.loads(ruling.input)
    name = f"of {one.operation}"
    return Said(name, "input", ruling.ruleset_sha256, effect, decision.rules, tuple(sorted(errors)), document)


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondCedar]:
    yield from started(tmp_path_factory)


QUICK = settings(max_examples=20, deadline=None, phases=set(Phase) - {Phase.explain})


@QUICK
@given(st.lists(policy(), min_size=2, max_size=12), st.lists(asked(), min_size=8, max_size=24))
def test_both_decide_alike(second, policies, questions):
    ruleset = loaded(policies)
    sets = {ruleset.sha256: bundled(ruleset.bundle)}
    assert compare([said(ruleset, one) for one in questions], sets, second).problems == ()


WRONG = [
    *("context.request.nothing == 1", "principal.tier > 3", "context.facts.body.amount == 7"),
    *("context.approved < 1", 'context.task.scopes == "a"', "[].isEmpty()", 'resource in Agent::"coder"'),
    *(
        'context.request.path like "a" && 1',
        "resource.environments.contains(1)",
        "context.budgets.calls.used > 1",
    ),
]


@QUICK
@given(st.lists(st.tuples(policy(), st.sampled_from(["", "", *WRONG])), min_size=1, max_size=16))
def test_both_find_the_same_policies_invalid(second, drawn):
    text = "\n".join(f"{text[:-1]} when {{ {wrong} }};" if wrong else text for text, wrong in drawn)
    schema = whole_schema()
    ours = {error.policy_id for error in cedarpy.validate_policies(text, schema).errors}
    theirs = second.validate(Rules(schema, {"staticPolicies": text}))
    assert {error.partition(":")[0] for error in theirs} == ours
