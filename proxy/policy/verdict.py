"""What Cedar said, as a value without words; and the words in which a question is answered.

A verdict is the same for equal input; words name the URL, and the input does not always.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import cedarpy

from proxy.credential.placeholder import redact
from proxy.errors import Code, Refusal
from proxy.policy.decision import Allow, Deny, Hold, Question
from proxy.policy.obligation import NO_OBLIGATIONS, Obligations, combine
from proxy.policy.statement import Policy

_MAX_SHOWN = 200


class Effect(StrEnum):
    """What a verdict comes to. ``ERROR``: the rules could not be evaluated, which is never an allow."""

    ALLOW = "allow"
    DENY = "deny"
    HOLD = "hold"
    ERROR = "error"


class Verdict(NamedTuple):
    """``rules`` are the determining ones (for HOLD: those that would permit it), ``errors`` Cedar's."""

    effect: Effect
    rules: tuple[str, ...]
    errors: tuple[str, ...]


def judge(answer: cedarpy.AuthzResult) -> Verdict:
    """Read Cedar's answer: Allow counts only with a reason and without any error."""
    said, decision = answer.diagnostics, answer.decision
    rules = tuple(sorted(said.reasons))
    errors = tuple(map(redact, said.errors))
    if decision is cedarpy.Decision.Allow and rules and not errors:
        return Verdict(Effect.ALLOW, rules, ())
    if decision is not cedarpy.Decision.Deny or (errors and not rules):
        return Verdict(Effect.ERROR, (), errors)
    return Verdict(Effect.DENY, rules, errors)


@dataclass(frozen=True, slots=True)
class Speaker:
    """Puts verdicts into words. ``windows`` are the budget rules, with their windows' lengths in seconds."""

    policies: Mapping[str, Policy]
    windows: Mapping[str, int]

    def say(self, verdict: Verdict, question: Question) -> Allow | Deny | Hold:
        """The decision on ``question``."""
        rules = verdict.rules
        if verdict.effect is Effect.ALLOW:
            return Allow(rules, self._obligations(rules))
        if verdict.effect is Effect.HOLD:
            detail = f"a person has to approve {_words(question)}, as the rule {rules[0]} wants"
            return Hold(Refusal(Code.APPROVAL_REQUIRED, detail, rules[0]), rules)
        if verdict.effect is Effect.ERROR:
            return unevaluated(question, verdict.errors)
        return Deny(self._refusal(rules, question), rules, verdict.errors)

    def _obligations(self, rules: tuple[str, ...]) -> Obligations:
        found = [self.policies[rule].obligations for rule in rules]
        for one in found:
            if one is not NO_OBLIGATIONS:
                return combine(found)
        return NO_OBLIGATIONS  # the usual case

    def _refusal(self, rules: tuple[str, ...], question: Question) -> Refusal:
        if not rules:
            who = f"no rule permits {question.act.operation.id} for agent {question.agent.id}"
            scopes = ", ".join(sorted(question.right.scopes)) or "none"
            return Refusal(Code.DEFAULT_DENY, f"{who}: {_words(question)} (scopes of the task: {scopes})")
        others = [rule for rule in rules if rule not in self.windows]
        if not others:
            return self._spent(rules, question)
        notes = self.policies[others[0]].notes
        detail = notes.reason or f"the rule {notes.id} forbids {_words(question)}"
        return Refusal(Code.POLICY_DENY, f"{detail} {notes.advice}".rstrip(), notes.id)

    def _spent(self, rules: tuple[str, ...], question: Question) -> Refusal:
        """Only budgets are in the way; it is over when the last of their windows is."""
        now = question.request.time
        wait = max(self.windows[rule] - now % self.windows[rule] for rule in rules)
        detail = f"{self.policies[rules[0]].reason} It counts anew in {wait} s."
        return Refusal(Code.RATE_LIMITED, detail, rules[0], wait)


def unevaluated(question: Question, errors: tuple[str, ...]) -> Deny:
    """The refusal for rules that could not be evaluated."""
    detail = f"the rules could not be evaluated for {_words(question)}"
    return Deny(Refusal(Code.POLICY_ERROR, detail), (), errors)


def _words(question: Question) -> str:
    """The request in plain words: method, host and path."""
    url = f"{question.target.origin}{redact(question.target.path.text)}"
    return f"{question.method} {url if len(url) <= _MAX_SHOWN else url[:_MAX_SHOWN] + '...'}"
