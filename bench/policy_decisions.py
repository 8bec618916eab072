"""What decisions and classifications cost, in microseconds of processor time of one thread, this one.

Each decision is timed by itself and is about a call that was not decided before; the median counts, and the
99th of a hundred. The rest is timed in batches.
"""

import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice

from bench import policy_rules
from bench.machine import Failed
from bench.policy_calls import LIMIT, Asked, agreed, chat, facts, graphql, mcp, question, rest, usual
from bench.policy_rules import SERVICES
from bench.systems import Bed
from bench.tokens import at_once
from proxy.engine.panel import Panel
from proxy.http.canonical import Target
from proxy.identity.budget import Spending
from proxy.identity.principal import Agent, Evidence, Link, Method, Principal, Right, Task
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.classify import classify
from proxy.policy.content import Act, Classified
from proxy.policy.decision import Question
from proxy.policy.window import Windows

_DIALECTS = {"rest": rest, "graphql": graphql, "llm": chat, "mcp": mcp}


@dataclass(frozen=True, slots=True)
class Pace:
    """``decisions`` a round, each timed; ``calls`` a batch; of ``rounds`` of either the quietest counts."""

    decisions: int
    calls: int
    rounds: int


def measure(bed: Bed, pace: Pace) -> dict[str, float]:
    """Every row."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, bed.cores.proxy)
    try:
        return _measure(pace)
    finally:
        gc.unfreeze()
        os.sched_setaffinity(0, before)


def _measure(pace: Pace) -> dict[str, float]:
    rules, budgeted = loaded(budgets=False), loaded(budgets=True)
    gc.collect()
    gc.freeze()  # as a sidecar does once it has its rules
    principal = chained(policy_rules.agents()[-1:])
    questions = _questions(rules, principal, usual(count()))
    for one in islice(questions, 20 * SERVICES):
        rules.decide(one)  # once at each service: what is known of it stays
    rounds = [_each(rules, list(islice(questions, pace.decisions))) for _ in range(pace.rounds)]
    numbers = {
        "decide_p50_us": min(found[len(found) // 2] for found in rounds),
        "decide_p99_us": min(found[len(found) * 99 // 100] for found in rounds),
        "decide_cached_us": _cached(rules, list(islice(questions, 10)), pace),
        "decide_3_us": _panel(rules, chained(policy_rules.agents()), pace),
        "decide_budgets_us": _panel(budgeted, principal, pace),
    }
    for name, make in _DIALECTS.items():
        numbers[f"classify_{name}_us"] = _classified(rules, make, pace)
    return numbers | {"mcp_us": _mcp(rules, principal, pace)}


def loaded(*, budgets: bool) -> RuleSet:
    """1,000 policies over 100 services."""
    found = load_rules(policy_rules.files(budgets=budgets), policy_rules.agents())
    if not isinstance(found, RuleSet):
        raise Failed(f"the rules are wrong: {found[:3]}")
    return found


def chained(agents: Iterable[Agent]) -> Principal:
    """The last of these agents, for whom the others act."""
    links: list[Link] = []
    for number, agent in enumerate(agents):
        parent = links[-1].task.id if links else None
        task = Task(
            f"t-{number:026}", agent.id, "see to the orders", ("issues", "read"), "development", 0,
            2_000_000_000, "0" * 64, None, parent=parent,
        )  # fmt: skip
        right = Right(frozenset(task.scopes), None, task.environment, task.expires_at)
        links.append(Link(agent, task, right))
    return Principal(tuple(links), (Evidence(Method.SESSION, "bench"),))


def _questions(rules: RuleSet, principal: Principal, calls: Iterator[Asked]) -> Iterator[Question]:
    link = principal.chain[-1]
    return (question(asked, rules, link.agent, link.task, link.right) for asked in calls)


def _each(rules: RuleSet, questions: Iterable[Question]) -> list[float]:
    """The microseconds of each decision, the shortest first."""
    spent = []
    for one in questions:
        began = time.thread_time_ns()
        rules.decide(one)
        spent.append((time.thread_time_ns() - began) / 1000)
    return sorted(spent)


def _cached(rules: RuleSet, questions: list[Question], pace: Pace) -> float:
    for one in questions:
        rules.decide(one)
    return _micros(lambda: [rules.decide(one) for one in questions], len(questions), pace)


def _panel(rules: RuleSet, principal: Principal, pace: Pace) -> float:
    """A call to read, as the engine asks for it: for every link of the chain, with what budgets leave."""
    panel, numbers = Panel(Spending(), Windows()), count()

    async def ask(calls: list[tuple[Asked, Target, tuple[Act, ...]]]) -> None:
        for asked, target, acts in calls:
            service = rules.site(target.origin).service
            verdict = await panel.judge(rules, service, principal, "GET", target, facts(asked), acts)
            if verdict.refusal is not None:
                raise Failed(f"not allowed: {verdict.refusal}")

    def once() -> float:
        calls = []
        for number in islice(numbers, pace.calls):
            asked = Asked("GET", f"https://{policy_rules.host(number % SERVICES)}/repos/acme/team-{number}")
            target = asked.target()
            calls.append((asked, target, agreed(asked, rules, target)))
        began = time.thread_time_ns()
        at_once(ask(calls))
        return (time.thread_time_ns() - began) / pace.calls / 1000

    return min(once() for _ in range(pace.rounds))


def _classified(rules: RuleSet, make: Callable[[int], Asked], pace: Pace) -> float:
    """What a call of 4 KiB does."""
    prepared = []
    for number in range(pace.calls):
        asked = make(number)
        target = asked.target()
        agreed(asked, rules, target)
        site = rules.site(target.origin)
        prepared.append((asked.call(target), site.service, site.needs))
    return _micros(lambda: [classify(*one, LIMIT) for one in prepared], pace.calls, pace)


def _mcp(rules: RuleSet, principal: Principal, pace: Pace) -> float:
    """A tool called with 4 KiB: what the call does, and whether it may; no two alike."""
    link, numbers = principal.chain[-1], count(1_000_000)

    def once() -> float:
        calls = [(asked, asked.target()) for asked in map(mcp, islice(numbers, pace.calls))]
        prepared = [(asked.call(target), target, facts(asked)) for asked, target in calls]
        began = time.thread_time_ns()
        for call, target, request in prepared:
            site = rules.site(target.origin)
            found = classify(call, site.service, site.needs, LIMIT)
            assert isinstance(found, Classified)
            (act,) = found.acts
            rules.decide(Question(link.agent, link.task, link.right, "POST", target, request, act))
        return (time.thread_time_ns() - began) / pace.calls / 1000

    return min(once() for _ in range(pace.rounds))


def _micros(batch: Callable[[], object], calls: int, pace: Pace) -> float:
    spent = []
    for _ in range(pace.rounds):
        began = time.thread_time_ns()
        batch()
        spent.append((time.thread_time_ns() - began) / calls / 1000)
    return min(spent)
