"""Why a call is allowed, refused or held: which policies were looked at, which spoke, what others lacked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxy.identity.principal import Agent
from proxy.policy.catalogue import Catalogue
from proxy.policy.change import Change
from proxy.policy.conditions import Held, hold
from proxy.policy.counterfactual import smallest
from proxy.policy.decision import Pdp, Ruling
from proxy.policy.fact import Condition, Protocol
from proxy.policy.operation import Operation
from proxy.policy.slices import Slice, Slices
from proxy.policy.statement import Policy
from proxy.policy.trial import Outcome, Trial, decide

_NEAR = 1  # parts that may be missing


@dataclass(frozen=True, slots=True)
class Looked:
    """One act of the call: how it was decided, and how each policy of its slice fared."""

    ruling: Ruling
    held: tuple[Held, ...]

    @property
    def near(self) -> tuple[Policy, ...]:
        """The policies that lacked exactly one of their parts."""
        return tuple(one.policy for one in self.held if len(one.fails) == _NEAR and not one.errors)


@dataclass(frozen=True, slots=True)
class Explanation:
    """``why``: what the call was classified as, and by what. Each of ``changes`` would have it allowed."""

    trial: Trial
    outcome: Outcome
    why: tuple[str, ...]
    acts: tuple[Looked, ...]
    changes: tuple[tuple[Change, ...], ...]


class Explainer:
    """Explains what one rule set decides."""

    def __init__(self, pdp: Pdp, catalogue: Catalogue, policies: Sequence[Policy]) -> None:
        self._pdp = pdp
        self._slices = Slices(catalogue, policies)

    def look(self, trial: Trial, outcome: Outcome) -> tuple[Looked, ...]:
        """How every policy of the slice fared, act by act."""
        where = self._slice(trial)
        return tuple(Looked(ruling, tuple(_hold(where, ruling))) for ruling in outcome.rulings)

    def explain(self, trial: Trial, agents: Iterable[Agent]) -> Explanation:
        """All there is to say about one call. ``agents`` are the registered ones."""
        outcome = decide(self._pdp, trial)
        policies = self._slice(trial).policies
        changes = [] if outcome.effect == "allow" else smallest(self._pdp, trial, policies, agents)
        why = tuple(classified(trial, question.act.operation) for question in trial.questions)
        return Explanation(trial, outcome, why, self.look(trial, outcome), tuple(changes))

    def _slice(self, trial: Trial) -> Slice:
        return self._slices.at(trial.service, trial.target.origin.host.name)


def _hold(where: Slice, ruling: Ruling) -> list[Held]:
    try:
        return hold(where.policies, ruling.input, where.schema)
    except (ValueError, KeyError, TypeError):  # the input could not even be written down
        return []


def classified(trial: Trial, operation: Operation) -> str:
    """Why a call is this operation, in words."""
    service, path = trial.service, trial.target.path.text
    name = f"{operation.id} ({operation.group})"
    if service is None:
        return f"{name}: no service is catalogued at {trial.target.origin}, so the method decides"
    if operation.selector is not None and operation.selector.pattern:
        return f"{name}: it asks for {operation.selector.pattern}"
    if operation.template is not None:
        when = "".join(f", {_condition(condition)}" for condition in operation.when)
        return f"{name}: {' '.join(operation.methods)} {operation.template.text}{when}"
    spoken = service.protocol_at(path)
    if spoken is not Protocol.REST and operation.selector is not None:
        return f"{name}: no operation of {service.name} names it, and {spoken} is spoken at {path}"
    return f"{name}: no operation of {service.name} matches, so the method decides"


def _condition(condition: Condition) -> str:
    name = f"{condition.place.value} {'.'.join(condition.path)}"
    return f"{name} is {' or '.join(condition.values)}" if condition.values else f"{name} is there"
