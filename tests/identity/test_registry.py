"""rules/agents.yaml: every agent has owners, every problem a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.principal import Agent
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
  - id: spiffe://example.org/agents/build-7
    environment: production
    tier: '2'
    business_owner: ada
    data_owner: grace
"""
CODER = Agent("coder", "development", "low", "Ada <ada@example.org>", "grace@example.org", "fixes issues")


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
    assert registry.get("Coder") is None


def test_the_sole_agent_is_the_default_one_of_two_is_not():
    assert Registry.of([CODER]).sole() == CODER
    assert parse_agents(GOOD, "agents.yaml").sole() is None
    assert parse_agents(b"agents: []\n", "agents.yaml").sole() is None


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b"    data_owner: grace@example.org\n", b"", 2),
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
        (b"id: coder", b"id: spiffe://example.org/agents/build-7", 8),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_problem_names_its_line(old, new, line):
    assert GOOD.count(old) >= 1
    assert lines(GOOD.replace(old, new, 1)) == [line]


def test_every_problem_is_told():
    assert lines(
        GOOD.replace(b"tier: low", b"tier: 2").replace(b"'2'", b"''").replace(b"ada\n", b"''\n")
    ) == [4, 10, 11]


@pytest.mark.parametrize(
    "data", [b"", b"agents:", b"[]", b"agents: {}", b"agents: []\nagent: []", b"\xff", b"a: [", b"- x"]
)
def test_what_is_not_a_registry(data):
    assert problems(data)


@given(
    st.binary(max_size=80)
    | st.text(max_size=80).map(lambda text: ("agents: " + text).encode("utf-8", "replace"))
)
def test_anything_gets_an_answer(data):
    assert isinstance(parse_agents(data, "agents.yaml"), Registry | list)
