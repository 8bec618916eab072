"""Rights and budgets as a lattice: what two sides have in common, and never more.

``meet`` is associative, commutative and idempotent, and within both its sides. Two environments have
nothing in common: their meet is ``NOWHERE``, without scopes and services, and stays so whatever it is met
with. So a chain across environments is empty even where nobody looked.
"""

from proxy.errors import Code, Refusal
from proxy.identity.principal import Agent, Budgets, Right, Task

NOWHERE = ""  # no environment has this name
_NOTHING: frozenset[str] = frozenset()


def own(agent: Agent, task: Task) -> Right:
    """What the task gives, within the agent's ceiling."""
    scopes, ceiling = frozenset(task.scopes), agent.ceiling
    services = None if task.services is None else frozenset(task.services)
    return Right(
        scopes=scopes if ceiling.scopes is None else scopes.intersection(ceiling.scopes),
        services=_common(services, None if ceiling.services is None else frozenset(ceiling.services)),
        environment=task.environment,
        expires_at=task.expires_at,
    )


def meet(one: Right, other: Right) -> Right:
    """What both rights allow, until the first of them ends."""
    expires_at = min(one.expires_at, other.expires_at)
    if one.environment != other.environment:
        return Right(_NOTHING, _NOTHING, NOWHERE, expires_at)
    services = _common(one.services, other.services)
    return Right(one.scopes & other.scopes, services, one.environment, expires_at)


def within(narrow: Right, wide: Right) -> bool:
    """Whether ``narrow`` allows nothing that ``wide`` does not."""
    return meet(narrow, wide) == narrow


def not_granted(right: Right, service: str | None) -> Refusal | None:
    """Why a service (None: a host that is none) may not be used, whatever rules say; or None."""
    if right.services is None or service in right.services:
        return None
    given = ", ".join(sorted(right.services)) or "none"
    what = f"the service {service}" if service else "a host that is no catalogued service"
    return Refusal(Code.SERVICE_NOT_GRANTED, f"this task was not given {what}; it was given: {given}")


def limits(agent: Agent, task: Task) -> Budgets:
    """How much the task may use: what its manifest says, within the agent's ceiling."""
    return meet_budgets(task.budgets, agent.ceiling.budgets)


def meet_budgets(one: Budgets, other: Budgets) -> Budgets:
    """The smaller of each budget."""
    return Budgets(_smaller(one.requests, other.requests), _smaller(one.octets, other.octets))


def within_budgets(narrow: Budgets, wide: Budgets) -> bool:
    """Whether ``narrow`` limits at least as much as ``wide``."""
    return meet_budgets(narrow, wide) == narrow


def _common(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None:
        return other
    return one if other is None else one & other


def _smaller(one: int | None, other: int | None) -> int | None:
    if one is None:
        return other
    return one if other is None else min(one, other)
