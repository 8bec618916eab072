"""For a refusal: the smallest change of what the rules see that would have it allowed.

What might be changed is taken from the rules themselves (``compared``): the scopes they name, the values they
compare with. One change is tried, then two; each answer has been decided again by the same engine, so what is
said here is so. What makes the call another call (its method, its path, its tool) is not changed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import orjson

from proxy.identity.principal import Agent
from proxy.policy import change
from proxy.policy.change import Change
from proxy.policy.compared import Compared, compared
from proxy.policy.decision import Pdp, Question
from proxy.policy.statement import Policy
from proxy.policy.trial import Trial, decide

MAX_TRIED = 4_000  # decisions
_MAX_SHOWN = 12
_OWN = frozenset({("mcp",), ("grpc",), ("aws",), ("graphql",)})  # groups that say what the call is
_KEPT = frozenset({("graphql", "depth"), ("aws", "version")})


def smallest(
    pdp: Pdp, trial: Trial, policies: Sequence[Policy], agents: Iterable[Agent]
) -> list[tuple[Change, ...]]:
    """The smallest changes that would have the call allowed, each alone; empty if none was found.

    ``policies`` are those of the slice, ``agents`` those that there are.
    """
    changes = list(_changes(trial, policies, {agent.id: agent for agent in agents}))
    chosen = [(change,) for change in changes] + [
        pair for pair in combinations(changes, 2) if pair[0].about != pair[1].about
    ]
    chosen.sort(key=_weight)  # stable: the likeliest stays first
    found: list[tuple[Change, ...]] = []
    for some in chosen[:MAX_TRIED]:
        if found and _weight(some) > _weight(found[0]):
            break
        if decide(pdp, _with(trial, some)).effect == "allow":
            found.append(some)
    return found[:_MAX_SHOWN]


def _weight(changes: Sequence[Change]) -> int:
    return sum(change.weight for change in changes)


def _with(trial: Trial, changes: Iterable[Change]) -> Trial:
    questions = trial.questions
    for each in changes:
        questions = tuple(map(each.apply, questions))
    return replace(trial, questions=questions)


def _changes(trial: Trial, policies: Sequence[Policy], agents: Mapping[str, Agent]) -> Iterator[Change]:
    """Every change worth trying, the likeliest first; none twice."""
    question = trial.questions[0]
    seen = set()
    for one_change in (
        *_usual(trial, question),
        *(found for one in sorted(compared(policies), key=repr) for found in _of(one, question, agents)),
    ):
        if one_change.words not in seen:
            seen.add(one_change.words)
            yield one_change


def _usual(trial: Trial, question: Question) -> Iterator[Change]:
    """What does not depend on what the policies compare."""
    if not question.approved:
        yield Change("a person approves it (context.approved)", "approved", change.approved)
    service = trial.service
    given = question.right.services
    if given is not None and (service is None or service.name not in given):
        what = "hosts that are no catalogued service" if service is None else f"the service {service.name}"
        yield Change(f"the task is given {what}", "services", change.all_services)
    for environment in () if service is None else service.environments:
        yield change.environment(environment)
    used: dict[str, dict[str, int]] = orjson.loads(question.budgets)
    for name, figures in used.items():
        if figures["used"]:
            yield Change(
                f"the window of the budget {name} begins anew", f"budget {name}", change.unused(name)
            )


def _of(one: Compared, question: Question, agents: Mapping[str, Agent]) -> Iterator[Change]:
    """The changes that one comparison of a policy suggests."""
    match one.path:
        case ("principal", *rest):
            yield from _principal(rest, one, agents)
        case ("context", "task", attribute):
            yield from _task(attribute, one, question)
        case ("context", "request", attribute):
            yield from _request(attribute, one, question)
        case ("context", "facts", group, *rest) if (group,) not in _OWN or (group, *rest) in _KEPT:
            yield from change.facts((group, *rest), one, question)


def _principal(rest: Sequence[str], one: Compared, agents: Mapping[str, Agent]) -> Iterator[Change]:
    match rest:
        case []:
            yield from (found for literal in one.literals for found in change.agent(str(literal), agents))
        case ["tier"]:
            yield from map(change.tier, change.texts(one))
        case ["environment"]:
            yield from map(change.environment, filter(None, change.texts(one)))
        case ["business_owner" | "data_owner" as attribute]:
            yield from (change.agent_text(attribute, text) for text in change.texts(one))


def _task(attribute: str, one: Compared, question: Question) -> Iterator[Change]:
    match attribute:
        case "environment":
            yield from map(change.environment, filter(None, change.texts(one)))
        case "scopes":
            yield from change.scopes(one, question)
        case "delegated":
            yield Change("the task is one that was not delegated", "delegated", change.undelegated)
        case "purpose" | "on_behalf_of" | "ticket" | "approver":
            yield from (change.task_text(attribute, text) for text in change.texts(one))


def _request(attribute: str, one: Compared, question: Question) -> Iterator[Change]:
    match attribute:
        case "query_keys":
            present = [str(key) for key in one.literals if key in question.request.query_keys]
            yield from map(change.without_key, present)
        case "time":
            yield from map(change.time, change.numbers(one))
        case "content_type":
            yield from map(change.content_type, change.texts(one))
