"""Every recorded decision under other rules: what would be otherwise, grouped for whoever reviews the change.

What is compared is the end: allowed, refused, or held for a person, over the whole chain and every act, with
the grant of the task. What another part of gatepass refused (a budget of the task, a placeholder, an address)
stays refused whatever the rules say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from proxy.errors import Refusal
from proxy.identity.known import KnownAgents
from proxy.identity.rights import not_granted
from proxy.policy.builtin import PREFIX
from proxy.policy.decision import Pdp
from proxy.policy.rebuilt import Past, Rebuilt, rebuild
from proxy.policy.rebuilt_act import Lacking
from proxy.policy.recorded import OF_RULES, RecordedCall
from proxy.policy.trial import Outcome, decide

_WAITING = frozenset({"approval_required", "approval_denied", "approvals_full"})
_UNMET = "obligation_unmet"


class Effect(StrEnum):
    """What became, or would become, of a call."""

    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"


class Difference(StrEnum):
    """How the new end compares with the recorded one; the order is that of the table."""

    NEWLY_ALLOWED = "newly allowed"
    NEWLY_DENIED = "newly denied"
    NEWLY_HELD = "newly held"
    OTHER_RULE = "other rule"
    UNREPLAYABLE = "unreplayable"
    SAME = "same"


class Then(NamedTuple):
    """The end that a call would come to. ``why`` is a refusal's words, or what is lacking."""

    effect: Effect | None
    rules: tuple[str, ...]
    actions: tuple[str, ...]
    why: str


class Changed(NamedTuple):
    """One call, before and then."""

    difference: Difference
    call: RecordedCall
    then: Then


def under(call: RecordedCall, past: Past, pdp: Pdp, agents: KnownAgents) -> Changed:
    """What would become of one call."""
    then = _then(call, past, pdp, agents)
    return Changed(compare(call.effect, call.rules, then.effect, then.rules), call, then)


def compare(was: str, rules: Iterable[str], now: Effect | None, then_rules: Iterable[str]) -> Difference:
    """How two ends compare. ``now`` None: it cannot be known."""
    if now is None:
        return Difference.UNREPLAYABLE
    if was != now:
        return {
            Effect.ALLOW: Difference.NEWLY_ALLOWED,
            Effect.DENY: Difference.NEWLY_DENIED,
            Effect.HOLD: Difference.NEWLY_HELD,
        }[now]
    return Difference.SAME if set(rules) == set(then_rules) else Difference.OTHER_RULE


def _then(call: RecordedCall, past: Past, pdp: Pdp, agents: KnownAgents) -> Then:
    kept = _kept(call)
    if kept is not None:
        return kept
    rebuilt = rebuild(call, past, pdp, agents)
    if isinstance(rebuilt, Lacking):
        return Then(None, (), (), f"the record does not hold {rebuilt.what}")
    if isinstance(rebuilt, Refusal):
        return Then(Effect.DENY, (), (), rebuilt.detail)
    outcome = _decided(pdp, rebuilt)
    effect = Effect(outcome.effect)
    if effect is Effect.ALLOW and call.code == _UNMET:
        words = "whether the obligations can be met, which takes the content"
        return Then(None, (), (), f"the record does not hold {words}")
    detail = "" if outcome.refusal is None else outcome.refusal.detail
    return Then(effect, outcome.rules, rebuilt.trials[-1].actions, detail)


def _kept(call: RecordedCall) -> Then | None:
    """The end that no rules change."""
    known = not call.code or call.code in OF_RULES | _WAITING or call.code == _UNMET
    budget = f"{PREFIX}budget."
    spent = call.code == "rate_limited" and not any(rule.startswith(budget) for rule in call.rules)
    if call.effect == Effect.ALLOW or (known and not spent):
        remote = not call.observed and not call.engine.startswith("cedarpy/")
        return Then(None, (), (), f"{call.engine} decided, and its rules are not here") if remote else None
    return Then(Effect.DENY, call.rules, call.actions, f"refused with {call.code} whatever the rules say")


def _decided(pdp: Pdp, rebuilt: Rebuilt) -> Outcome:
    """A denial anywhere, the caller's own first; then the grant; then a hold; else it is allowed."""
    *above, own = [decide(pdp, trial) for trial in rebuilt.trials]
    every = [own, *above]
    denial = next((one for one in every if one.effect == "deny"), None)
    if denial is not None:
        return denial
    service = rebuilt.trials[-1].service
    missing = not_granted(rebuilt.right, None if service is None else service.name)
    if missing is not None:
        return Outcome("deny", (), missing, ())
    held = next((one for one in every if one.effect == "hold"), None)
    return held or own


# -- for people --


@dataclass(slots=True)
class Row:
    """Calls that change alike: how many, and one of them to look at."""

    difference: Difference
    agent: str
    actions: tuple[str, ...]
    was: str
    now: str
    count: int = 0
    example: str = ""
    url: str = ""
    why: str = ""


@dataclass(slots=True)
class Replayed:
    """Everything that was replayed. ``unjudged``: calls that were refused before rules were asked."""

    counts: dict[Difference, int] = field(default_factory=lambda: dict.fromkeys(Difference, 0))
    rows: dict[tuple[object, ...], Row] = field(default_factory=dict)
    unjudged: int = 0

    def add(self, changed: Changed) -> None:
        """Count one call; those that are the same are counted only."""
        self.counts[changed.difference] += 1
        if changed.difference is Difference.SAME:
            return
        call, then = changed.call, changed.then
        now = "" if then.effect is None else _words(then.effect, then.rules)
        was, actions = _words(call.effect, call.rules), then.actions or call.actions
        lacks = then.why if then.effect is None else ""
        key = (changed.difference, call.caller.agent, actions, was, now, lacks)
        row = self.rows.get(key)
        if row is None:
            row = Row(changed.difference, call.caller.agent, actions, was, now)
            row.example, row.url, row.why = call.id, call.url, then.why
            self.rows[key] = row
        row.count += 1

    def table(self) -> list[Row]:
        """The rows, what opens first, then the most frequent."""
        order = list(Difference)
        return sorted(
            self.rows.values(),
            key=lambda row: (order.index(row.difference), -row.count, row.agent, row.actions),
        )

    def summary(self) -> Mapping[str, int]:
        """How many calls of each kind."""
        return {kind.value: count for kind, count in self.counts.items()} | {"not asked": self.unjudged}


def _words(effect: str, rules: Iterable[str]) -> str:
    return f"{effect} {', '.join(rules)}".rstrip()
