"""Every decision of a log, taken again by a build of Cedar that shares no binding with the one that took it.

A sidecar is asked for all that rules can be about; then npm's ``@cedar-policy/cedar-wasm`` is given what the log
says was decided on, and the rule sets that are kept beside it.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from proxy.audit.canonical import encode
from proxy.audit.record import Record, parse
from tests.support import from_npm
from tests.support.second_cedar import Rules, SecondCedar, kept, opinion, rulings, second_opinion, started
from tests.system.varied import POLICIES, SHADOW, Caller, ask_everything, tool, varied, with_shadow

pytestmark = pytest.mark.skipif(from_npm.missing() is not None, reason=from_npm.missing() or "")


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondCedar]:
    yield from started(tmp_path_factory)


async def test_another_build_of_cedar_agrees_with_every_decision_of_a_log(tmp_path, second):
    policy = {"reload": 60, "shadow": str(tmp_path / "shadow")}
    made = with_shadow(tmp_path / "shadow")
    async with varied(tmp_path, services=made, follow=True, policy=policy) as w:
        await ask_everything(w)
    found = second_opinion(w.state / "log", second)
    assert found.problems == ()
    assert len({said.ruleset for said, _ in found.compared}) == 2
    for place, effects in {
        "input": {"allow", "deny", "hold", "error"},
        "batch": {"allow", "deny"},
        "above": {"allow", "deny", "hold"},
        "shadow": {"allow", "deny", "hold", "error"},
    }.items():
        assert found.effects(place) >= effects, place
    spoke = {rule for said, _ in found.compared for rule in said.rules}
    assert spoke >= set(re.findall(r'@id\("(.*?)"\)', POLICIES + SHADOW)) - {"pay.overflows", "shadow.fails"}
    assert spoke >= {"gatepass.environment", "gatepass.method_override", "gatepass.budget.meter.few"}
    assert {error for said, _ in found.compared for error in said.errors} >= {"pay.overflows"}


# -- and it would tell --


AMOUNT = ("input", "context", "facts", "body", "amount")
PATHS: Mapping[str, tuple[int, tuple[str | int, ...], object]] = {  # by what it is: which record, where, what
    "it would have waited": (0, AMOUNT, 101),
    "it would have been allowed": (1, AMOUNT, 100),
    "it could be evaluated": (2, AMOUNT, 1),
    "no such amount": (0, AMOUNT, "1"),
    "another agent": (0, ("input", "principal", "id"), "lead"),
    "another rule": (0, ("rules",), ["pay.held"]),
    "no rule": (0, ("rules",), []),
    "not allowed": (2, ("effect",), "allow"),
    "not held": (1, ("held",), False),
    "no error": (2, ("errors",), []),
    "the batch was denied": (3, ("batch", 0, "effect"), "deny"),
    "the batch was no such": (3, ("batch", 0, "input", "context", "facts", "input", "query"), "secret"),
}
POLICY: Mapping[str, tuple[int, str, Mapping[str, object]]] = {
    "it forbids": (0, "pay.small", {"effect": "forbid"}),
    "it permits all": (1, "pay.held", {"conditions": []}),
    "it does not fail": (2, "pay.overflows", {"conditions": []}),
    "it permits another": (
        3,
        "tools.search",
        {"principal": {"op": "==", "entity": {"type": "Agent", "id": "lead"}}},
    ),
}


def renamed(record: Record, name: str, where: tuple[str | int, ...], to: object) -> Record:
    """The record under another id, with one value in ``why`` replaced."""
    raw: Any = copy.deepcopy(dict(record.raw))
    place = raw["why"]
    for step in where[:-1]:
        place = place[step]
    assert place[where[-1]] != to
    place[where[-1]] = to
    return parse(encode({**raw, "id": name}))


def turned(rules: Rules, policy: str, parts: Mapping[str, object]) -> Rules:
    """The rules with parts of one policy replaced."""
    policies = copy.deepcopy(dict(rules.policies))
    policies["staticPolicies"][policy] |= parts
    return Rules(rules.schema, policies)


async def test_what_somebody_has_changed_is_found(tmp_path, second):
    async with varied(tmp_path) as w:
        call = Caller(w, w.started.token)
        for amount in (1, 500, 5000):
            await call("api", "/pay", {"amount": amount})
        await call("tools", "/mcp", [tool("search", 1, query="a"), tool("search", 2, query="b")])
        await w.settled()
    records = w.decisions
    (name,) = {said.ruleset for record in records for said in rulings(record)}
    sets = {name: kept(w.state / "log", name)}
    changed = [renamed(records[index], words, where, to) for words, (index, where, to) in PATHS.items()]
    for words, (index, policy, parts) in POLICY.items():
        sets[words] = turned(sets[name], policy, parts)
        changed.append(renamed(records[index], words, ("ruleset_sha256",), words))
    problems = opinion([*records, *changed], sets, second).problems
    found = {words for words in (*PATHS, *POLICY) if any(f"record {words}" in told for told in problems)}
    assert found == {*PATHS, *POLICY}
    assert not any(f"record {record.id}" in told for record in records for told in problems)

    archive = w.state / "log" / "policy" / name
    archive.write_bytes(archive.read_bytes().replace(b"<= 100 ", b"<= 101 "))
    with pytest.raises(AssertionError, match="is another rule set"):
        kept(w.state / "log", name)
