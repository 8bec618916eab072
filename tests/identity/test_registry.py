"""rules/agents.yaml: every agent as it is written, every problem with its line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity import ways
from proxy.identity.principal import Agent, Budgets, Ceiling, Method
from proxy.identity.registry import Registry, parse_agents
from proxy.problems import Problem

GOOD = b"""\
agents:
  - id: coder
    environment: development
    tier: low
    business_owner: Ada <ada@example.org>
    data_owner: grace@example.org
    purpose: fixes issues
    ceiling:
      scopes: [issues:read]
      services: [github]
      budgets:
        requests: 1000
        octets: 0
  - id: spiffe://example.org/agents/build-7
    environment: production
    tier: '2'
    business_owner: ada
    data_owner: grace
"""
CODER = Agent(
    "coder", "development", "low", "Ada <ada@example.org>", "grace@example.org", "fixes issues",
    Ceiling(("issues:read",), ("github",), Budgets(1000, 0)),
)  # fmt: skip


def problems(data: bytes) -> list[Problem]:
    result = parse_agents(data, "agents.yaml")
    assert isinstance(result, list)
    assert all(problem.file == "agents.yaml" for problem in result)
    return result


def lines(data: bytes) -> list[int | None]:
    return [problem.line for problem in problems(data)]


def test_agents_in_the_order_of_the_file():
    registry = parse_agents(GOOD, "agents.yaml")
    assert [agent.id for agent in registry] == ["coder", "spiffe://example.org/agents/build-7"]
    assert len(registry) == 2
    assert registry.get("coder") == CODER
    assert registry.get("spiffe://example.org/agents/build-7").purpose == ""
    assert registry.get("spiffe://example.org/agents/build-7").ceiling == Ceiling()
    assert registry.get("Coder") is None


def test_an_empty_ceiling_is_nothing_an_absent_one_no_limit():
    for text, ceiling in (
        (b"{}", Ceiling()),
        (b"{scopes: []}", Ceiling(scopes=())),
        (b"{services: [], budgets: {}}", Ceiling(services=())),
        (b"{budgets: {requests: 0}}", Ceiling(budgets=Budgets(requests=0))),
    ):
        entry = b"{id: a, environment: qa, tier: low, ceiling: " + text + b"}"
        registry = parse_agents(b"agents: [" + entry + b"]", "agents.yaml")
        assert registry.get("a").ceiling == ceiling


@pytest.mark.parametrize("value", [b"", b" ", b"[]", b"null"])
def test_a_ceiling_is_not_left_empty_by_mistake(value):
    data = b"agents:\n  - id: a\n    environment: qa\n    tier: low\n    ceiling: " + value
    assert lines(data) == [5]


def test_a_registry_of_values():
    registry = Registry.of(
        [CODER, Agent("other", "qa", "low", "", "")], {"other": [ways.process(7, "")], "stranger": []}
    )
    assert registry.by_process(7, "/x") == (registry.get("other"),)
    assert registry.may_use("coder", Method.LISTENER)
    assert not registry.may_use("other", Method.LISTENER)
    assert [registry.external(name) for name in ("coder", "other", "stranger")] == [False, True, False]


def test_the_sole_agent_is_the_default_one_of_two_is_not():
    assert Registry.of([CODER]).sole() == CODER
    assert parse_agents(GOOD, "agents.yaml").sole() is None
    assert parse_agents(b"agents: []\n", "agents.yaml").sole() is None


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b"    tier: low\n", b"", 2),
        (b"business_owner: Ada <ada@example.org>", b"business_owner: ' '", 5),
        (b"purpose: fixes issues", b"purpose:", 7),
        (b"scopes: [issues:read]", b"scopes:", 9),
        (b"scopes: [issues:read]", b"scopes: ['a b']", 9),
        (b"scopes: [issues:read]", b"scopes: all", 9),
        (b"services: [github]", b"services:", 10),
        (b"services: [github]", b"services: [GitHub]", 10),
        (b"services: [github]", b"service: [github]", 10),
        (b"requests: 1000", b"requests:", 12),
        (b"requests: 1000", b"requests: -1", 12),
        (b"requests: 1000", b"requests: 1.5", 12),
        (b"requests: 1000", b"requests: 9007199254740992", 12),
        (b"requests: 1000", b"calls: 1000", 12),
        (b"octets: 0", b"octets: true", 13),
        (b"business_owner: Ada <ada@example.org>", b"business_owner: ''", 5),
        (b"business_owner: Ada <ada@example.org>", b"business_owner:", 5),
        (b"tier: low", b"tier: 2", 4),
        (b"tier: low", b"tier: low\n    admin: true", 5),
        (b"environment: development", b"environment: Development", 3),
        (b"purpose: fixes issues", b'purpose: "a\\nb"', 7),
        (b"id: coder", b"id: Coder", 2),
        (b"id: coder", b"id: ''", 2),
        (b"id: coder", b"id: -coder", 2),
        (b"id: coder", b"id: " + b"a" * 64, 2),
        (b"id: coder", b'id: "coder\\n"', 2),
        (b"id: coder", b"id: spiffe://example.org", 2),
        (b"id: coder", b"id: spiffe://example.org/agents/build-7", 14),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_problem_names_its_line(old, new, line):
    assert GOOD.count(old) >= 1
    assert lines(GOOD.replace(old, new, 1)) == [line]


def test_every_problem_is_told():
    assert lines(
        GOOD.replace(b"tier: low", b"tier: 2").replace(b"'2'", b"''").replace(b"ada\n", b"''\n")
    ) == [4, 16, 17]


@pytest.mark.parametrize(
    "data", [b"", b"agents:", b"[]", b"agents: {}", b"agents: []\nagent: []", b"\xff", b"a: [", b"- x"]
)
def test_what_is_not_a_registry(data):
    assert problems(data)


TOKENS = st.sampled_from(
    ["agents:", "- id: a", "  id: b", "environment: qa", "tier: x", "ceiling:", "  scopes: []", "authenticate:",
     "- method: oidc", "  issuer: g", "  subject: s", "  claims: {a: 1}", "- method: unix", "  uid: 1", "- session",
     "  claims: {a: {}}", "null", "[]", "{}", 'id: "\\ud800"']
)  # fmt: skip
TEXTS = st.lists(st.tuples(st.integers(0, 4), TOKENS), max_size=12).map(
    lambda rows: "\n".join("  " * depth + row for depth, row in rows)
)


@given(
    st.binary(max_size=80)
    | st.text(max_size=80).map(lambda text: ("agents: " + text).encode("utf-8", "replace"))
    | TEXTS.map(str.encode)
)
def test_anything_gets_an_answer(data):
    assert isinstance(parse_agents(data, "agents.yaml"), Registry | list)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
)
KEYS = st.sampled_from(["method", "issuer", "subject", "claims", "id", "uid", "executable", "x"])
ENTRY = st.dictionaries(KEYS, st.sampled_from([method.value for method in Method]) | ANYTHING, max_size=4)


@given(st.dictionaries(
    st.sampled_from(["business_owner", "data_owner", "purpose", "ceiling", "authenticate", "x"]),
    ANYTHING | st.lists(ENTRY, max_size=3) | st.dictionaries(st.sampled_from(["scopes", "services", "budgets"]), ANYTHING),
    max_size=3,
))  # fmt: skip
def test_any_entry_gets_an_answer_and_every_problem_a_line(more):
    entry = {"id": "a", "environment": "qa", "tier": "x", **more}
    answer = parse_agents(json.dumps({"agents": [entry]}).encode(), "agents.yaml")
    if isinstance(answer, list):
        assert all(problem.line == 1 for problem in answer)
    else:
        assert [agent.id for agent in answer] == ["a"]
