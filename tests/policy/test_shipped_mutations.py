"""The cases that ship notice it if a rule that ships goes, or demands less.

Every policy is taken away, and of every policy each condition, and each member of a condition, in turn; some case
must then fail.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from proxy.identity.registry import Registry
from proxy.policy.builtin import PREFIX
from proxy.policy.case_file import Case
from proxy.policy.cases import run
from proxy.policy.cedar import RuleSet
from proxy.policy.load import LoadedRules, check_rules
from proxy.policy.statement import Policy
from tests.policy.test_shipped import FILES, cases

NOBODY = Registry.of(())
NO_CASE = {  # what no call could show, because the path says that it is MCP
    ("mcp.read", "unless"): "the example speaks MCP everywhere; the clause is for those who add paths to it",
}


@lru_cache(maxsize=1)
def shipped() -> LoadedRules:
    loaded = check_rules({**FILES, "agents.yaml": b"agents: []\n"}, ())
    assert isinstance(loaded, LoadedRules), [str(problem) for problem in loaded]
    return loaded


def policies() -> tuple[Policy, ...]:
    return tuple(policy for policy in shipped().policies if not policy.id.startswith(PREFIX))


@lru_cache(maxsize=1)
def every() -> list[Case]:
    return cases()


def noticed(changed: Policy, to: Policy | None) -> bool:
    """Whether some case fails with ``to`` (None: nothing) in the place of a policy."""
    others = [to if policy is changed else policy for policy in shipped().policies]
    rules = RuleSet(replace(shipped(), policies=tuple(policy for policy in others if policy is not None)))
    known = [policy.id for policy in shipped().policies]
    return any(run(case, rules, NOBODY, known).failures for case in every())


def weaker(policy: Policy) -> Iterator[tuple[str, Policy]]:
    """The policy with each part of its conditions left out; with each the kind of its clause."""
    conditions: Any = policy.json["conditions"]
    for index, clause in enumerate(conditions):
        for body in without_one(clause["body"], "&&" if clause["kind"] == "when" else "||"):
            left = [] if body is None else [{**clause, "body": body}]
            changed = [*conditions[:index], *left, *conditions[index + 1 :]]
            yield clause["kind"], replace(policy, json={**policy.json, "conditions": changed})


def without_one(body: Any, operator: str) -> Iterator[Any]:
    """The expression with one member of its chain left out; None: nothing is left."""
    if not isinstance(body, dict) or operator not in body:
        yield None
        return
    sides = body[operator]
    for side, other in (("left", "right"), ("right", "left")):
        for rest in without_one(sides[side], operator):
            yield sides[other] if rest is None else {operator: {**sides, side: rest}}


def names() -> list[str]:
    return [policy.id for policy in policies()]


def test_the_cases_pass_as_it_is():
    assert len(names()) > 40
    assert not noticed(policies()[0], policies()[0])


def test_no_rule_goes_unnoticed():
    assert [policy.id for policy in policies() if not noticed(policy, None)] == []


def test_no_condition_goes_unnoticed():
    unnoticed = [
        (policy.id, kind)
        for policy in policies()
        for kind, other in weaker(policy)
        if not noticed(policy, other)
    ]
    assert unnoticed == [*NO_CASE]
