"""The questions that other rules would be asked about a recorded call.

The call is classified anew by the catalogue of those rules, and its agents are those of their registry. What
they read and the record does not hold is ``Lacking``: nothing is taken for something it is not known to be.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.http.canonical import Target, parse_target
from proxy.identity.known import KnownAgents
from proxy.identity.principal import NO_CEILING, Agent, Ceiling, Right, Task
from proxy.policy.catalogue import Catalogue, Service
from proxy.policy.decision import Pdp, RequestFacts
from proxy.policy.needs import Needs
from proxy.policy.rebuilt_act import Lacking, acts
from proxy.policy.recorded import RecordedCall, RecordedLink, Said, obj
from proxy.policy.trial import Asker, Trial, questions

_REDACTED = "gp_[sha256:"


@dataclass(frozen=True, slots=True)
class Past:
    """The rules under which a call was recorded, as far as they are kept. ``agents`` None: not kept."""

    catalogue: Catalogue | None
    agents: KnownAgents | None


UNKNOWN_PAST = Past(None, None)


class Rebuilt(NamedTuple):
    """The questions of every link, the caller's last, and what the grant of the whole chain leaves."""

    trials: tuple[Trial, ...]
    right: Right


def rebuild(call: RecordedCall, past: Past, pdp: Pdp, agents: KnownAgents) -> Rebuilt | Refusal | Lacking:
    """The questions to ``pdp`` and its ``agents``. A refusal: they would not get as far as the rules."""
    target = _target(call)
    if isinstance(target, Lacking):
        return target
    site = pdp.site(target.origin)
    if "%2F" in target.path.text and not (site.service is not None and site.service.encoded_slash):
        return Refusal(Code.TARGET_MALFORMED, "the path has an encoded slash, and its service declares none")
    request = _request(call, site.needs)
    before = None if past.catalogue is None else past.catalogue.find(target.origin)
    used = _used(call.caller.rulings[0], site.service)
    for found in (request, used):
        if isinstance(found, Lacking):
            return found
    assert not isinstance(request, Lacking), "just looked"
    assert not isinstance(used, Lacking), "just looked"
    trials, right = [], None
    for link in call.links:
        made = acts(call, link.rulings, target.path.text, before, site)
        who = _asker(call, link, past, agents)
        if isinstance(who, Refusal | Lacking):
            return who
        if isinstance(made, Lacking):
            return made
        trials.append(questions(who, call.method, target, site.service, request, made, used))
        right = who.right
    assert right is not None, "there is always a caller"
    return Rebuilt(tuple(trials), right)


def _target(call: RecordedCall) -> Target | Lacking:
    if _REDACTED in call.path:
        return Lacking("the path: a placeholder stood in it")
    url = call.url if call.path != "*" else call.url.removesuffix("*")
    target = parse_target(
        call.method, url.encode("utf-8"), tunnel=None, hosts=(), version="1.0", encoded_slash=True
    )
    if isinstance(target, Refusal) or target.path.text != call.path:
        return Lacking("the URL in canonical form")
    return target


def _request(call: RecordedCall, needs: Needs) -> RequestFacts | Lacking:
    known = obj(call.caller.rulings[0].context.get("request"))
    has_body, content_type, upgrade = call.has_body, call.content_type, call.upgrade
    if has_body is None:  # in older records only the input tells
        has_body = told if isinstance(told := known.get("has_body"), bool) else None
        content_type = str(known.get("content_type", ""))
        upgrade = str(known["upgrade"]) if "upgrade" in known else None
    if has_body is None and "has_body" in needs.request:
        return Lacking("whether there was content")
    if upgrade is None and needs.request & {"upgrade", "content_type"}:
        return Lacking("the content type, and whether an upgrade was asked for")
    time = known.get("time")
    return RequestFacts(
        has_body=bool(has_body),
        content_type=content_type,
        query_keys=call.query_keys,
        upgrade=upgrade or "",
        time=time if isinstance(time, int) else call.seconds,
    )


def _used(said: Said, service: Service | None) -> dict[str, int] | Lacking:
    """What was used of the service's budgets: of those that there were."""
    counted = obj(said.context.get("budgets"))
    found = {}
    for budget in () if service is None else service.budgets:
        used = obj(counted.get(budget.name)).get("used")
        if not isinstance(used, int):
            return Lacking(f"what was used of the budget {budget.name}")
        found[budget.name] = used
    return found


def _asker(
    call: RecordedCall, link: RecordedLink, past: Past, agents: KnownAgents
) -> Asker | Refusal | Lacking:
    agent = agents.get(link.agent)
    if agent is None:
        return Refusal(Code.AGENT_UNKNOWN, f"agents.yaml has no agent {link.agent}")
    if agent.unowned:
        return Refusal(Code.AGENT_UNOWNED, f"nobody answers for the agent {link.agent}")
    said = link.rulings[0]
    task = _task(said, agent, call)
    if isinstance(task, Lacking):
        return task
    if task.environment != agent.environment:
        words = f"the task is of {task.environment}, and agents.yaml has {agent.id} in {agent.environment}"
        return Refusal(Code.ENVIRONMENT_FOREIGN, words)
    right = Right(frozenset(task.scopes), call.services, task.environment, task.expires_at)
    for above in call.links:
        narrowed = _narrowed(right, above.agent, past, agents)
        if isinstance(narrowed, Lacking):
            return narrowed
        right = narrowed
    return Asker(agent, task, right, approved=call.approved or said.context.get("approved") is True)


def _task(said: Said, agent: Agent, call: RecordedCall) -> Task | Lacking:
    """The task as policies saw it: its scopes are those that the chain had left of them."""
    seen = said.entity("Task") or obj(said.context.get("task"))
    scopes = seen.get("scopes")
    if not isinstance(scopes, list):
        return Lacking("the task; the input was too long for the record")
    expires_at = call.task.get("expires_at")
    texts = {name: str(seen.get(name, "")) for name in ("id", "purpose", "environment", "ticket", "approver")}
    return Task(
        id=texts["id"],
        agent=agent.id,
        purpose=texts["purpose"],
        scopes=tuple(map(str, scopes)),
        environment=texts["environment"],
        issued_at=call.seconds,
        expires_at=expires_at if isinstance(expires_at, int) else call.seconds,
        manifest_sha256=str(call.task.get("manifest_sha256", "")),
        on_behalf_of=str(seen.get("on_behalf_of", "")) or None,
        ticket=texts["ticket"] or None,
        approver=texts["approver"] or None,
        parent="" if seen.get("delegated") is True else None,
    )


def _narrowed(right: Right, name: str, past: Past, agents: KnownAgents) -> Right | Lacking:
    """The right under the ceiling that the agent has now, where that is another than it had."""
    agent, was = agents.get(name), None if past.agents is None else past.agents.get(name)
    now = NO_CEILING if agent is None else agent.ceiling
    if was is not None and (was.ceiling.scopes, was.ceiling.services) == (now.scopes, now.services):
        return right
    if was is not None and not _within(now, was.ceiling):
        return Lacking(f"what the task of {name} asked for: agents.yaml gives the agent a wider ceiling now")
    scopes = right.scopes if now.scopes is None else right.scopes.intersection(now.scopes)
    services = right.services
    if now.services is not None:
        services = frozenset(now.services) if services is None else services.intersection(now.services)
    return replace(right, scopes=scopes, services=services)


def _within(now: Ceiling, was: Ceiling) -> bool:
    pairs = ((now.scopes, was.scopes), (now.services, was.services))
    return all(wide is None or (narrow is not None and set(narrow) <= set(wide)) for narrow, wide in pairs)
