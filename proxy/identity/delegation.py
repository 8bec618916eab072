"""Delegation: a task handed to another agent, narrowed, and the chain of such tasks judged as one.

Every link is checked anew whenever a chain is made, by these rules, from the caller's task up to the root:

1. its agent is registered, and the task is open and not expired;
2. the task is of its agent's environment and of the environment of the task below it;
3. no agent holds two links, and there are at most ``MAX_CHAIN`` links;
4. a delegated task can be delegated on fewer times than its parent, ends no later, and acts for the same
   human or system;
5. its parent is known here: whoever cannot see a link cannot know that it holds.

What is left at a link is the intersection of every ``rights.own`` from the root down to it, so a link
that was wider than its parent (by a wrong manifest, or because a ceiling sank) still gives no more.
"""

from collections.abc import Collection, Sequence
from functools import reduce

from proxy.errors import Code, Refusal
from proxy.identity.claims import MAX_SESSION_S
from proxy.identity.known import KnownAgents, KnownTasks
from proxy.identity.principal import Agent, Budgets, Link, Right, Task, TaskState
from proxy.identity.rights import limits, meet, meet_budgets, own
from proxy.identity.task import MAX_DEPTH, Manifest, flaw
from proxy.identity.wanted import Wanted

__all__ = ["MAX_CHAIN", "Wanted", "chain", "fresh", "narrow"]

MAX_CHAIN = MAX_DEPTH + 1
_THIS = "this task"
_ABOVE = "a task that this one was delegated from"


def chain(task: Task, tasks: KnownTasks, agents: KnownAgents, now: int) -> tuple[Link, ...] | Refusal:
    """The chain that ends in ``task``, its root first; ``now`` is POSIX seconds.

    Refused with AGENT_UNKNOWN, TASK_ENDED, REVOKED, ENVIRONMENT_FOREIGN or CHAIN_INVALID: of several
    reasons the one nearest to the caller, and at one link in this order.
    """
    steps = _climb(task, tasks, agents, now)
    if isinstance(steps, Refusal):
        return steps
    links: list[Link] = []
    for agent, held in reversed(steps):
        right = own(agent, held)
        links.append(Link(agent, held, meet(links[-1].right, right) if links else right))
    return tuple(links)


def fresh(links: Sequence[Link], tasks: KnownTasks, agents: KnownAgents, now: int) -> bool:
    """Whether ``chain`` would still give these links: no task or agent has changed and none has expired."""
    if not links or links[-1].right.expires_at <= now:  # the last right ends when the first link does
        return False
    for link in links:
        if tasks.get(link.task.id) is not link.task or agents.get(link.agent.id) is not link.agent:
            return False
    return True


def narrow(
    links: Sequence[Link], wanted: Wanted, to: Agent | None, now: int, nonce: str
) -> Manifest | Refusal:
    """The manifest of the task that the last of ``links`` hands to the agent ``to``, or DELEGATION_REFUSED.

    ``links`` is a chain that holds at ``now`` (POSIX seconds); ``to`` is what the registry has for
    ``wanted.agent``; ``nonce`` is the manifest's. The child inherits environment, ticket and whom the task
    acts for; nobody has approved it. Budgets that are not asked for are the least of the chain. It lives no
    longer than the session token that speaks for it may.
    """
    parent, right = links[-1].task, links[-1].right
    if to is None or to.id != wanted.agent:
        return _no(f"the agent {wanted.agent!r} is not registered")
    allowed = reduce(meet_budgets, (limits(link.agent, link.task) for link in links))
    words = (
        _wrong_agent(links, to)
        or _too_deep(parent, wanted)
        or _too_wide(wanted, right, to)
        or _too_long(wanted, right, now)
        or _too_much(wanted.budgets, allowed)
    )
    if words:
        return _no(words)
    services = right.services if wanted.services is None else wanted.services
    manifest = Manifest(
        agent=to.id,
        purpose=wanted.purpose,
        scopes=tuple(sorted(right.scopes if wanted.scopes is None else wanted.scopes)),
        environment=parent.environment,
        issued_at=now,
        expires_at=min(right.expires_at, now + (MAX_SESSION_S if wanted.ttl_s is None else wanted.ttl_s)),
        on_behalf_of=parent.on_behalf_of,
        nonce=nonce,
        services=None if services is None else tuple(sorted(services)),
        budgets=meet_budgets(allowed, wanted.budgets),
        ticket=parent.ticket,
        parent=parent.id,
        depth=parent.depth - 1 if wanted.depth is None else wanted.depth,
    )
    words = flaw(manifest)
    return _no(words) if words else manifest


def _climb(
    task: Task, tasks: KnownTasks, agents: KnownAgents, now: int
) -> list[tuple[Agent, Task]] | Refusal:
    """The agents and tasks from ``task`` up to its root, or the first thing that is wrong on the way."""
    steps: list[tuple[Agent, Task]] = []
    current = task
    while True:
        which = _ABOVE if steps else _THIS
        agent = agents.get(current.agent)
        if agent is None:
            return Refusal(Code.AGENT_UNKNOWN, f"the agent of {which} is not in the registry")
        refusal = _unfit(agent, current, which, now) or (_unjoined(steps, agent, current) if steps else None)
        if refusal is not None:
            return refusal
        steps.append((agent, current))
        if current.parent is None:
            return steps
        if len(steps) == MAX_CHAIN:
            return Refusal(Code.CHAIN_INVALID, f"the chain has more than {MAX_CHAIN} tasks")
        above = tasks.get(current.parent)
        if above is None:
            return Refusal(Code.CHAIN_INVALID, f"{_ABOVE} is not known to this sidecar")
        current = above


def _unfit(agent: Agent, task: Task, which: str, now: int) -> Refusal | None:
    """What is wrong with one link by itself (rules 1 and 2)."""
    if task.state is not TaskState.OPEN:
        code = Code.REVOKED if task.state is TaskState.REVOKED else Code.TASK_ENDED
        return Refusal(code, f"{which} is {task.state.value}")
    if task.expires_at <= now:
        return Refusal(Code.TASK_ENDED, f"{which} has expired")
    if task.environment != agent.environment:
        words = f"{which} belongs to {task.environment}, its agent to {agent.environment}"
        return Refusal(Code.ENVIRONMENT_FOREIGN, words)
    return None


def _unjoined(steps: Sequence[tuple[Agent, Task]], agent: Agent, parent: Task) -> Refusal | None:
    """What is wrong between a parent and what is below it (rules 2, 3 and 4)."""
    child = steps[-1][1]
    if child.environment != parent.environment:
        words = f"a task of {parent.environment} was delegated to {child.environment}"
        return Refusal(Code.ENVIRONMENT_FOREIGN, words)
    words = ""
    if any(agent.id == below.id for below, _ in steps):
        words = f"the agent {agent.id} is in the chain twice"
    elif child.depth >= parent.depth:
        words = "a delegated task can be delegated on as often as its parent"
    elif child.expires_at > parent.expires_at:
        words = "a delegated task ends after its parent"
    elif child.on_behalf_of != parent.on_behalf_of:
        words = "a delegated task acts for somebody else than its parent"
    return Refusal(Code.CHAIN_INVALID, words) if words else None


def _no(words: str) -> Refusal:
    return Refusal(Code.DELEGATION_REFUSED, words)


def _wrong_agent(links: Sequence[Link], to: Agent) -> str | None:
    if to.environment != links[-1].task.environment:
        return f"the agent {to.id} is of another environment"
    if any(link.agent.id == to.id for link in links):
        return f"the agent {to.id} is already in the chain of this task"
    return None


def _too_deep(parent: Task, wanted: Wanted) -> str | None:
    if parent.depth == 0:
        return "this task may not be delegated any further"
    if wanted.depth is not None and wanted.depth >= parent.depth:
        return f"the depth {wanted.depth} is not smaller than the {parent.depth} of this task"
    return None


def _too_wide(wanted: Wanted, right: Right, to: Agent) -> str | None:
    whose = f"above the ceiling of the agent {to.id}"
    checks = (
        ("scope", wanted.scopes, right.scopes, "not one of this task"),
        ("service", wanted.services, right.services, "not one of this task"),
        ("scope", wanted.scopes, to.ceiling.scopes, whose),
        ("service", wanted.services, to.ceiling.services, whose),
    )
    for kind, asked, given, words in checks:
        beyond = _beyond(asked, given)
        if beyond is not None:
            return f"the {kind} {beyond!r} is {words}"
    return None


def _beyond(asked: Collection[str] | None, given: Collection[str] | None) -> str | None:
    """The first that is asked for and not given; None of either is no limit."""
    if asked is None or given is None:
        return None
    return next((name for name in asked if name not in given), None)


def _too_long(wanted: Wanted, right: Right, now: int) -> str | None:
    if right.expires_at <= now:
        return "this task has expired"
    left = right.expires_at - now
    if wanted.ttl_s is not None and wanted.ttl_s > left:
        return f"{wanted.ttl_s} s are longer than the {left} s that this task has left"
    if wanted.ttl_s is not None and wanted.ttl_s > MAX_SESSION_S:
        return f"{wanted.ttl_s} s are longer than the {MAX_SESSION_S} s that a token may live"
    return None


def _too_much(wanted: Budgets, allowed: Budgets) -> str | None:
    pairs = (
        ("requests", wanted.requests, allowed.requests),
        ("octets", wanted.octets, allowed.octets),
    )
    for kind, asked, given in pairs:
        if asked is not None and given is not None and asked > given:
            return f"a budget of {asked} {kind} is larger than the {given} of this task"
    return None
