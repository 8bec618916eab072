"""A recorded decision taken again, from the log alone: the same rule set, the same input, the same engine.

``MATCH`` means: (1) the rule set is the one that the record names, by its digest; (2) the engine is the one
that decided; (3) everybody in the chain has been asked about, and every input has the digest that the record
gives it, and says of the call what the record says beside it: who, under which task, where to, in which way;
(4) the engine, given all that, says what the record says: the rules that spoke, the errors, the hold; (5) the
effect is one that these rulings have. What cannot be checked is ``UNREPLAYABLE``, never a match.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import cedarpy
import orjson

from proxy.credential.placeholder import redact
from proxy.policy.bundle import digest
from proxy.policy.cedar import ENGINE, POLICIES_FILE, SCHEMA_FILE
from proxy.policy.document import canonical
from proxy.policy.recorded import OF_RULES, Object, RecordedCall, Said, obj, shortened
from proxy.policy.verdict import Effect, Verdict, judge

_ASKED = OF_RULES - {"service_not_granted"} | {"approval_required", "approval_denied", "approvals_full"}


class Class(StrEnum):
    """What taking a decision again came to."""

    MATCH = "MATCH"
    MISMATCH = "MISMATCH"
    UNREPLAYABLE = "UNREPLAYABLE"


class Judged(NamedTuple):
    """The class, and why it is not MATCH."""

    kind: Class
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A stored rule set with this digest, ready to be evaluated."""

    sha256: str
    policies: cedarpy.PolicySet
    schema: cedarpy.Schema


def open_bundle(files: Mapping[str, bytes] | None, named: str) -> Opened | Judged:
    """(1): the rule set with the digest ``named``; ``files`` None: it is not kept beside the log."""
    if files is None:
        return Judged(Class.UNREPLAYABLE, f"the rule set {named[:12]} is not kept beside the log")
    try:
        found = digest(files)
    except ValueError as error:
        return Judged(Class.UNREPLAYABLE, f"the rule set {named[:12]} cannot be read: {error}")
    if found != named:
        return Judged(
            Class.UNREPLAYABLE, f"what is kept as the rule set {named[:12]} is another: {found[:12]}"
        )
    if POLICIES_FILE not in files or SCHEMA_FILE not in files:
        return Judged(Class.UNREPLAYABLE, f"the rule set {named[:12]} has no policies or no schema")
    try:
        policies = cedarpy.PolicySet.from_json_str(files[POLICIES_FILE].decode("utf-8"))
        schema = cedarpy.Schema.from_str(files[SCHEMA_FILE].decode("utf-8"))
    except ValueError as error:
        return Judged(Class.UNREPLAYABLE, f"the rule set {named[:12]} cannot be read: {_line(error)}")
    return Opened(found, policies, schema)


def again(call: RecordedCall, bundle: Opened | Judged) -> Judged:
    """(2) to (5). Never raises."""
    if call.observed:
        return _observed(call)
    if isinstance(bundle, Judged):
        return bundle
    if call.ruleset_sha256 != bundle.sha256:
        return Judged(Class.UNREPLAYABLE, f"it names another rule set: {call.ruleset_sha256[:12]}")
    if call.engine != ENGINE:
        return Judged(Class.UNREPLAYABLE, f"decided by {call.engine or 'nobody known'}, and this is {ENGINE}")
    if not _whole(call):
        return Judged(Class.MISMATCH, "it does not say of everybody in the chain what was ruled")
    effects = []
    for said in [said for link in call.links for said in link.rulings]:
        effect = _about(call, said) or _ruled(said, bundle)
        if isinstance(effect, Judged):
            return effect
        effects.append(effect)
    return _effect(call, effects)


def _ruled(said: Said, bundle: Opened) -> Effect | Judged:
    """(4): what the engine says now, if it is what was recorded."""
    try:
        verdict = _evaluate(said, bundle)
    except (ValueError, KeyError, TypeError) as error:
        return Judged(Class.MISMATCH, f"the input cannot be evaluated: {_line(error)}")
    return _compare(said, verdict) or verdict.effect


def _whole(call: RecordedCall) -> bool:
    """(3): whether there are rulings on everybody in the chain, and on nobody else."""
    asked = {(said.agent, said.task) for link in call.links for said in link.rulings}
    return not call.chain or asked == {*call.chain}


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _observed(call: RecordedCall) -> Judged:
    """Without rules everything is allowed: there is nothing to evaluate, and the inputs have to be whole."""
    for said in call.caller.rulings:
        wrong = _about(call, said)
        if wrong is not None:
            return wrong
    return Judged(Class.MATCH) if call.effect == "allow" or call.code not in _ASKED else _refused()


def _about(call: RecordedCall, said: Said) -> Judged | None:
    """(3): the input is whole, and is about this agent, this action and this place."""
    if not said.input or "context" not in said.input:
        return Judged(Class.UNREPLAYABLE, "the record does not hold the input; it was too long for it")
    if sha256(said.document).hexdigest() != said.input_sha256:
        if shortened(said.input):
            return Judged(
                Class.UNREPLAYABLE, "the record does not hold all of the input; it was too long for it"
            )
        return Judged(Class.MISMATCH, "the input is not the one whose digest stands beside it")
    named = {name: obj(said.input.get(name)).get("id") for name in ("principal", "action", "resource")}
    origin = call.url.removesuffix(call.path)
    if named["principal"] != said.agent or named["action"] != said.action:
        return Judged(Class.MISMATCH, "the input is about another agent or action than the record")
    if named["resource"] not in (origin, call.url):  # older records have the path with it
        return Judged(Class.MISMATCH, "the input is about another place than the record")
    other = _other(call, said)
    return (
        None
        if other is None
        else Judged(Class.MISMATCH, f"the input is about another {other} than the record")
    )


def _other(call: RecordedCall, said: Said) -> str | None:
    """(3): what the input says otherwise than the rest of the record; what that does not tell agrees."""
    request, context = obj(said.context.get("request")), said.context
    beside = {
        "method": call.method,
        "path": call.path,
        "query_keys": sorted(set(call.query_keys)) if call.query_keys or not call.query else None,
        "has_body": call.has_body,
        "content_type": None if call.has_body is None else call.content_type,
        "upgrade": call.upgrade,
    }
    for name, told in beside.items():
        if told not in (None, request.get(name, told)):
            return name
    named = obj(context.get("task"))
    if obj(named.get("__entity")).get("id", named.get("id", said.task)) != said.task:
        return "task"
    if context.get("approved") is True and not call.approved:
        return "approval"
    return _other_right(call, said) if said in call.caller.rulings else None


def _other_right(call: RecordedCall, said: Said) -> str | None:
    agent, scopes = said.entity("Agent"), said.entity("Task").get("scopes")
    if any(value != call.agent.get(name, value) for name, value in agent.items()):
        return "standing of the agent"
    if call.scopes is not None and isinstance(scopes, list) and call.scopes != set(map(str, scopes)):
        return "right"
    return None


def _evaluate(said: Said, bundle: Opened) -> Verdict:
    """(4), as the engine did it: what is denied is asked again as if it were approved."""
    context = dict(said.context)
    verdict = _ask(said, context, bundle)
    if verdict.effect is Effect.DENY and not verdict.errors and context.get("approved") is False:
        second = _ask(said, context | {"approved": True}, bundle)
        if second.effect is Effect.ALLOW:
            return Verdict(Effect.HOLD, second.rules, ())
    return verdict


def _ask(said: Said, context: Object, bundle: Opened) -> Verdict:
    entities = cedarpy.Entities.from_json_str(
        canonical(said.input["entities"]).decode("utf-8"), bundle.schema
    )
    request = {name: said.input[name] for name in ("principal", "action", "resource")}
    request["context"] = orjson.dumps(context).decode("utf-8")
    return judge(cedarpy.is_authorized(request, bundle.policies, entities, bundle.schema))


def _compare(said: Said, verdict: Verdict) -> Judged | None:
    held = verdict.effect is Effect.HOLD
    if set(verdict.rules) != set(said.rules) or held != (said.effect == "hold"):
        now = ", ".join(verdict.rules) or "no rule"
        was = ", ".join(said.rules) or "no rule"
        return Judged(Class.MISMATCH, f"{now} {'would have it held' if held else 'spoke'}; recorded is {was}")
    if set(verdict.errors) != {redact(error) for error in said.errors}:
        return Judged(Class.MISMATCH, "the errors are others than those recorded")
    return None


def _effect(call: RecordedCall, effects: list[Effect]) -> Judged:
    """(5): an allow has nothing but allows; a refusal by rules has something else."""
    allowed = all(effect is Effect.ALLOW for effect in effects)
    if call.effect == "allow" and not allowed:
        return Judged(Class.MISMATCH, "it was allowed, and the rules refuse it")
    if (call.effect == "allow") != (not call.code):
        return Judged(Class.MISMATCH, "a refusal has a reason code, and nothing else has one")
    spent = call.code == "rate_limited" and allowed  # another call took the last of it meanwhile
    return _refused() if call.code in _ASKED and allowed and not spent else Judged(Class.MATCH)


def _refused() -> Judged:
    return Judged(Class.MISMATCH, "it was refused by rules, and the rules allow it")
