"""Running the rules' own tests: each case is judged as a call would be, and held against what it expects.

``coverage`` says which rules no case would miss: a rule needs a case in which it speaks, and one that it only
just does not speak of (a near miss), or nobody would notice if it were wider.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from proxy.errors import Refusal
from proxy.identity.known import KnownAgents
from proxy.identity.principal import Agent, Task
from proxy.identity.rights import own
from proxy.policy.builtin import PREFIX
from proxy.policy.case_file import Case
from proxy.policy.conditions import parts
from proxy.policy.decision import Pdp
from proxy.policy.explain import Looked
from proxy.policy.statement import Policy
from proxy.policy.trial import Asker, Outcome, Sent, Trial, decide, put

_LIFE = 3_600  # seconds, of a case's task


@dataclass(frozen=True, slots=True)
class Ran:
    """One case and what became of it. ``trial`` None: it was refused before the rules were asked.

    ``failures`` are what is not as expected, a line each; none: it passed.
    """

    case: Case
    trial: Trial | None
    effect: str
    rules: tuple[str, ...]
    actions: tuple[str, ...]
    code: str
    detail: str
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.failures


def run(case: Case, pdp: Pdp, agents: KnownAgents, rules: Iterable[str]) -> Ran:
    """Judge one case. ``rules`` are the ids of all that there are."""
    known = agents.get(case.agent)
    agent = case.made_up or known
    if agent is None or (case.made_up and known):
        words = f"there is no agent {case.agent} in agents.yaml"
        if known:
            words = f"the agent {case.agent} is in agents.yaml; make up one with another name"
        return Ran(case, None, "", (), (), "", words, (words,))
    trial = put(
        pdp,
        _asker(case, agent),
        Sent(case.method, case.url, case.headers, case.body),
        case.time,
        case.budgets,
    )
    if isinstance(trial, Refusal):
        return _compared(case, None, Outcome("deny", (), trial, ()), rules)
    return _compared(case, trial, decide(pdp, trial), rules)


def _asker(case: Case, agent: Agent) -> Asker:
    task = task_of(case, agent)
    return Asker(agent, task, own(agent, task), case.approved)


def task_of(case: Case, agent: Agent) -> Task:
    """The task that a case describes. It is none that ever was: its id says nothing of a manifest."""
    given = case.task
    name = sha256(f"{case.file}\0{case.name}".encode()).hexdigest()
    return Task(
        id=f"case-{name[:16]}",
        agent=agent.id,
        purpose=given.purpose,
        scopes=given.scopes,
        environment=given.environment or agent.environment,
        issued_at=case.time,
        expires_at=case.time + _LIFE,
        manifest_sha256=name,
        on_behalf_of=given.on_behalf_of,
        services=given.services,
        ticket=given.ticket,
        approver=given.approver,
        parent=f"case-{name[16:32]}" if given.delegated else None,
    )


def _compared(case: Case, trial: Trial | None, outcome: Outcome, rules: Iterable[str]) -> Ran:
    refusal = outcome.refusal
    actions = () if trial is None else trial.actions
    code = "" if refusal is None else refusal.code.value
    failures = []
    if outcome.effect != case.expect:
        failures.append(f"expected {case.expect}, it is {outcome.effect}")
    known = set(rules)
    for rule in case.rules:
        if rule not in known:
            failures.append(f"there is no rule {rule}")
        elif rule not in outcome.rules:
            failures.append(f"expected the rule {rule} to speak; {_spoke(outcome.rules)}")
    failures += [
        f"expected the action {action}; it is {', '.join(actions) or 'refused before it is classified'}"
        for action in case.actions
        if action not in actions
    ]
    if case.code is not None and code != case.code:
        failures.append(f"expected the code {case.code}, it is {code or 'allowed'}")
    detail = "" if refusal is None else refusal.detail
    return Ran(case, trial, outcome.effect, outcome.rules, actions, code, detail, tuple(failures))


def _spoke(rules: Sequence[str]) -> str:
    return f"it was {', '.join(rules)}" if rules else "none spoke"


class Covered(NamedTuple):
    """How many cases a rule speaks in, and how many just miss it. ``missable``: it demands anything."""

    rule: str
    spoke: int
    near: int
    missable: bool

    @property
    def complete(self) -> bool:
        """Whether it would be noticed if the rule were narrower, and if it were wider."""
        return self.spoke > 0 and (self.near > 0 or not self.missable)


def just_missed(ran: Ran, looked: Iterable[Looked]) -> frozenset[str]:
    """The rules of which the case is a near miss: one part more, and it would have come out otherwise."""
    other = "forbid" if ran.effect == "allow" else "permit"
    return frozenset(policy.id for one in looked for policy in one.near if policy.effect == other)


def coverage(ran: Sequence[tuple[Ran, frozenset[str]]], policies: Iterable[Policy]) -> list[Covered]:
    """Of each rule but gatepass's own; with each case stands what it just missed."""
    return [
        Covered(
            policy.id,
            sum(policy.id in one.rules for one, _ in ran),
            sum(policy.id in missed for _, missed in ran),
            missable=bool(parts(policy)),
        )
        for policy in policies
        if not policy.id.startswith(PREFIX)
    ]
