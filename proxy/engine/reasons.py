"""The member ``why`` of a decision record: what was decided, and what it takes to decide it again."""

from orjson import Fragment

from proxy.audit.canonical import Json
from proxy.credential.placeholder import redact
from proxy.engine.seen import Seen, shown
from proxy.errors import Refusal
from proxy.identity.principal import Link
from proxy.policy.approval import Approval
from proxy.policy.decision import Allow, Deny, Hold, Ruling
from proxy.policy.obligation import Obligations

DESK_RULE = "gatepass.desk"
_EFFECT = {Allow: "allow", Deny: "deny", Hold: "hold"}


def why(seen: Seen, refusal: Refusal | None) -> dict[str, Json]:
    """Why it was allowed (``refusal`` is None) or refused, and the PDP's input to decide it again."""
    ruling = seen.ruling
    verdict: dict[str, Json] = {
        "effect": "allow" if refusal is None else "deny",
        "code": None if refusal is None else refusal.code.value,
        "detail": None if refusal is None else shown(refusal.detail),
        "status": None if refusal is None else refusal.status,
        "rule": None if refusal is None else refusal.rule,
    }
    if seen.desk:
        verdict["rule"] = DESK_RULE
    if ruling is None:
        return verdict
    decision = ruling.decision
    if refusal is None and decision.rules:
        verdict["rule"] = decision.rules[0]
    verdict |= {
        "rules": list(decision.rules),
        "errors": list(decision.errors) if isinstance(decision, Deny) else [],
        "action": ruling.action,
        "service": None if ruling.service is None else ruling.service.name,
        "engine": ruling.engine,
        "ruleset_sha256": ruling.ruleset_sha256,
        "observed": ruling.observed,
        "input": Fragment(ruling.input),
        "input_sha256": ruling.input_sha256,
    }
    return verdict | _more(seen, ruling, refusal)


def _more(seen: Seen, ruling: Ruling, refusal: Refusal | None) -> dict[str, Json]:
    """What only some decisions have."""
    verdict: dict[str, Json] = {}
    if isinstance(ruling.decision, Hold):
        verdict["held"] = True
    if any(seen.told):
        told = [Fragment(one or b"{}") for one in seen.told]
        verdict["facts"] = told[0] if len(told) == 1 else list[Json](told)
    if seen.batch:
        verdict["batch"] = [_one(ruling) | {"action": ruling.action} for ruling in seen.batch]
    if seen.above:
        verdict["above"] = [_above(link, one) for link, one in seen.above]
    if seen.approval is not None:
        verdict["approval"] = _approval(seen.approval)
    if seen.obligations is not None and refusal is None:
        verdict["obligations"] = _obligations(seen.obligations)
    if ruling.answer is not None:
        verdict["answer"] = redact(ruling.answer.decode("utf-8", "backslashreplace"))
    if (shadow := _shadow(seen)) is not None:
        verdict["shadow"] = shadow
    return verdict


def _one(ruling: Ruling) -> dict[str, Json]:
    """One more ruling: what it takes to rule again."""
    decision = ruling.decision
    return {
        "effect": _EFFECT[type(decision)],
        "rules": list(decision.rules),
        "errors": list(decision.errors) if isinstance(decision, Deny) else [],
        "input": Fragment(ruling.input),
        "input_sha256": ruling.input_sha256,
    }


def _above(link: Link, ruling: Ruling) -> dict[str, Json]:
    """The ruling on one whom the caller acts for."""
    return {"agent": link.agent.id, "task": link.task.id, "action": ruling.action} | _one(ruling)


def _approval(approval: Approval) -> dict[str, Json]:
    """Whose word let it through. The request's digest is what that word was given for."""
    return {
        "id": approval.id,
        "approver": approval.approver,
        "request_sha256": approval.request_sha256,
        "granted_at": approval.granted_at,
        "expires_at": approval.expires_at,
        "use": approval.use,
        "uses": approval.uses,
    }


def _obligations(duties: Obligations) -> dict[str, Json]:
    """What was done to the call because a rule wanted it; parts without meaning here are left out."""
    told: dict[str, Json] = {
        name: sorted(names)
        for name, names in (
            ("drop_headers", duties.drop_headers),
            ("redact_headers", duties.redact_headers),
            ("drop_fields", duties.drop_fields),
            ("redact_fields", duties.redact_fields),
        )
        if names
    }
    if duties.max_response is not None:
        told["max_response"] = duties.max_response
    if duties.interception:
        told["interception"] = True
    return told


def _shadow(seen: Seen) -> Json:
    """What the rules in the shadow would have said, where that differs: of the first ruling that differs."""
    own = seen.ruling
    if own is not None and own.shadow is None and not seen.batch and not seen.above:
        return None  # the usual case
    rulings = [own, *seen.batch, *[ruling for _, ruling in seen.above]]
    differing = [one.shadow for one in rulings if one is not None and one.shadow is not None]
    if not differing:
        return None
    found = differing[0]
    return {
        "ruleset_sha256": found.ruleset_sha256,
        "effect": found.effect,
        "code": found.code,
        "rules": list(found.rules),
        "input": Fragment(found.input),
    }
