"""One thing about a call that might be otherwise, as a function from question to question, and in words."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson

from proxy.identity.principal import Agent, Task
from proxy.policy.compared import Compared, Kind, Literal
from proxy.policy.decision import Question

_Holder = TypeVar("_Holder", Agent, Task)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that might be otherwise. ``about``: of two changes about the same thing one is enough.

    ``weight`` is how many things it is, if it is several at once (scopes).
    """

    words: str
    about: str
    apply: Callable[[Question], Question]
    weight: int = 1


def texts(one: Compared) -> list[str]:
    """The texts that would make the comparison come out one way, and one that it is not about."""
    named = [literal for literal in one.literals if isinstance(literal, str)]
    return [*named, "" if named and named[0] else "someone"]


def numbers(one: Compared) -> list[int]:
    """The numbers of the comparison and their neighbours: one of them is on the other side."""
    named = [literal for literal in one.literals if type(literal) is int]
    return [near for number in named for near in (number - 1, number, number + 1)]


def approved(question: Question) -> Question:
    """As if a person had approved it."""
    return question._replace(approved=True)


def undelegated(question: Question) -> Question:
    """As if no other task stood above."""
    return question._replace(task=replace(question.task, parent=None))


def all_services(question: Question) -> Question:
    """As if the task were given every service."""
    return question._replace(right=replace(question.right, services=None))


def environment(name: str) -> Change:
    """Another environment, of agent and task alike."""

    def apply(question: Question) -> Question:
        return question._replace(
            agent=replace(question.agent, environment=name),
            task=replace(question.task, environment=name),
            right=replace(question.right, environment=name),
        )

    return Change(f"agent and task are of the environment {name}", "environment", apply)


def tier(name: str) -> Change:
    """Another level of trust."""
    return Change(
        f"the agent is of the tier {name}",
        "tier",
        lambda question: question._replace(agent=replace(question.agent, tier=name)),
    )


def agent(entity: str, agents: Mapping[str, Agent]) -> Iterator[Change]:
    """Another agent, or another tier, by the name of the entity."""
    kind, _, name = entity.partition("::")
    if kind == "Tier":
        yield tier(name)
    elif kind == "Agent" and name in agents:
        other = agents[name]
        yield Change(
            f"the agent is {name}",
            "agent",
            lambda question: question._replace(agent=other, task=replace(question.task, agent=name)),
        )


def agent_text(attribute: str, text: str) -> Change:
    """Another owner of the agent."""
    return Change(
        f"the agent's {attribute} is {text or 'nobody'}",
        attribute,
        lambda question: question._replace(agent=_with_text(question.agent, attribute, text)),
    )


def task_text(attribute: str, text: str) -> Change:
    """Another text in the task's manifest."""
    return Change(
        f"the task's {attribute} is {text or 'left out'}",
        attribute,
        lambda question: question._replace(task=_with_text(question.task, attribute, text)),
    )


def _with_text(holder: _Holder, attribute: str, text: str) -> _Holder:
    """The agent or task with another text in one of its fields."""
    changes: dict[str, Any] = {attribute: text}  # the name of a field that is a text
    return replace(holder, **changes)


def scopes(one: Compared, question: Question) -> Iterator[Change]:
    """Scopes that are added to the task, or taken away."""
    names = frozenset(str(literal) for literal in one.literals)
    have = question.right.scopes
    if not names:
        return
    listed = f"the scope{'s' if len(names) > 1 else ''} {', '.join(sorted(names))}"
    if not names <= have:
        more = names

        def add(question: Question) -> Question:
            right = question.right
            return question._replace(right=replace(right, scopes=right.scopes | more))

        yield Change(f"the task has {listed}", f"scope {listed}", add, len(names - have))
    if names & have:

        def remove(question: Question) -> Question:
            right = question.right
            return question._replace(right=replace(right, scopes=right.scopes - names))

        yield Change(f"the task has not {listed}", f"scope {listed}", remove, len(names & have))


def without_key(name: str) -> Change:
    """The query without one of its parameters."""

    def apply(question: Question) -> Question:
        keys = tuple(key for key in question.request.query_keys if key != name)
        return question._replace(request=question.request._replace(query_keys=keys))

    return Change(f"the query has no parameter {name}", "query_keys", apply)


def time(seconds: int) -> Change:
    """Another time."""
    return Change(
        f"the time is {seconds} (POSIX seconds)",
        "time",
        lambda question: question._replace(request=question.request._replace(time=seconds)),
    )


def content_type(text: str) -> Change:
    """Another content type."""
    return Change(
        f"the content type is {text or 'left out'}",
        "content_type",
        lambda question: question._replace(request=question.request._replace(content_type=text)),
    )


def unused(name: str) -> Callable[[Question], Question]:
    """As if nothing of a budget had been used."""

    def apply(question: Question) -> Question:
        budgets: dict[str, dict[str, int]] = orjson.loads(question.budgets)
        budgets[name]["used"] = 0
        return question._replace(budgets=orjson.dumps(budgets, option=orjson.OPT_SORT_KEYS))

    return apply


def facts(path: Sequence[str], one: Compared, question: Question) -> Iterator[Change]:
    """Another value of a fact that is there, of the type it has."""
    present = _get(orjson.loads(question.act.facts), path)
    values: list[Literal | list[str]] = []
    if isinstance(present, bool):
        values = [not present]
    elif isinstance(present, int):
        values = [*numbers(one)]
    elif isinstance(present, list):
        names = sorted(str(literal) for literal in one.literals)
        values = [sorted({*present, *names}), sorted(set(present) - set(names))]
    elif isinstance(present, str):
        values = [*one.literals] if one.kind is Kind.PATTERN else [*texts(one)]
    elif present is None:  # an optional one; of another type than declared it would not be allowed
        values = [*one.literals]
    for value in values:
        if value != present:
            name = ".".join(("context", "facts", *path))
            yield Change(f"{name} is {orjson.dumps(value).decode()}", name, _setter(path, value))


def _get(facts: object, path: Sequence[str]) -> object:
    for name in path:
        facts = facts.get(name) if isinstance(facts, dict) else None
    return facts


def _setter(path: Sequence[str], value: Literal | list[str]) -> Callable[[Question], Question]:
    def apply(question: Question) -> Question:
        facts = orjson.loads(question.act.facts)
        holder = _get(facts, path[:-1])
        if not isinstance(holder, dict):
            return question  # another act of the same call
        holder[path[-1]] = value
        text = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)
        return question._replace(act=question.act._replace(facts=text))

    return apply
