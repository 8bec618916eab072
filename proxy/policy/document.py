"""What the engine evaluates, as canonical JSON (RFC 8785 subset): the same bytes the log stores.

The document is ``{"action", "context", "entities", "principal", "resource"}``; with the schema and the
policies of the rule set it is all that is needed to take a decision again. It holds no secret: a
placeholder that strayed into a path, a parameter's name, a media type or a fact is redacted *before* the
decision, so that what is decided is what is recorded.

Decided: what stays the same from call to call (agent, task, endpoint) are entities, parsed once, because
Cedar parses and types the context anew for every decision.
"""

from typing import NamedTuple

import orjson

from proxy.credential.placeholder import redact
from proxy.http.canonical import Origin
from proxy.identity.principal import Agent, Right, Task
from proxy.policy.catalogue import Service
from proxy.policy.decision import Question
from proxy.policy.needs import Needs

Uid = dict[str, str]


def canonical(value: object) -> bytes:
    """JSON with sorted keys, no white space and UTF-8."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def uid(kind: str, name: str) -> Uid:
    """The name of an entity in Cedar's JSON."""
    return {"type": kind, "id": name}


class Subject(NamedTuple):
    """The entities of a request: who, under which task, where to.

    ``task`` is how the context names it, ``names`` are principal and resource as members of an object.
    """

    principal: Uid
    resource: Uid
    task: bytes
    entities: bytes
    names: bytes

    def document(self, action: Uid, context: bytes) -> bytes:
        """The whole document; the keys of its parts are in order already."""
        written = canonical(action), context, self.entities, self.names
        return b'{"action":%s,"context":%s,"entities":%s,%s}' % written


def agent_entity(agent: Agent) -> dict[str, object]:
    """The agent as an entity; its parent is its tier."""
    attributes = {
        "environment": agent.environment,
        "tier": agent.tier,
        "business_owner": agent.business_owner,
        "data_owner": agent.data_owner,
    }
    return {"uid": uid("Agent", agent.id), "attrs": attributes, "parents": [uid("Tier", agent.tier)]}


def task_entity(task: Task, right: Right) -> dict[str, object]:
    """The task as an entity.

    The scopes are those of the right, not of the task's manifest: what a parent did not have, and what
    an agent's ceiling cuts off, no policy sees.
    """
    attributes = {
        "approver": task.approver or "",
        "delegated": task.parent is not None,
        "environment": task.environment,
        "id": task.id,
        "on_behalf_of": task.on_behalf_of or "",
        "purpose": task.purpose,
        "scopes": sorted(right.scopes),
        "ticket": task.ticket or "",
    }
    return {"uid": uid("Task", task.id), "attrs": attributes, "parents": []}


def endpoint_entity(origin: Origin, service: Service | None, pattern: str) -> dict[str, object]:
    """The endpoint as an entity; its parents are its host, the host's ``pattern`` and its service."""
    parents = [uid("Host", name) for name in dict.fromkeys((origin.host.name, pattern))]
    if service is not None:
        parents.append(uid("Service", service.name))
    attributes = {
        "scheme": origin.scheme,
        "host": origin.host.name,
        "port": origin.port,
        "service": "" if service is None else service.name,
        "catalogued": service is not None,
        "sensitivity": "" if service is None else service.sensitivity,
        "environments": [] if service is None else sorted(set(service.environments)),
    }
    return {"uid": uid("Endpoint", str(origin)), "attrs": attributes, "parents": parents}


def subject(
    agent: Agent, task: Task, right: Right, origin: Origin, service: Service | None, pattern: str
) -> Subject:
    """The entities of a request, as Cedar wants them and as they are recorded."""
    entities = [agent_entity(agent), endpoint_entity(origin, service, pattern), task_entity(task, right)]
    principal, resource = uid("Agent", agent.id), uid("Endpoint", str(origin))
    return Subject(
        principal,
        resource,
        canonical({"__entity": uid("Task", task.id)}),
        canonical(entities),
        canonical({"principal": principal, "resource": resource})[1:-1],
    )


def context(question: Question, needs: Needs, task: bytes, *, facts: bool, budgets: bool) -> bytes:
    """The context of a request: of it and its content what ``needs`` says, and the task as ``task`` names it.

    ``facts``: the action has some that are needed; ``budgets``: its service has some.
    """
    approved = b'"approved":%s,' % (b"true" if question.approved else b"false") if needs.approval else b""
    known = _redacted(question.act.facts) if facts else b"{}"
    return b'{%s%s%s"request":%s,"task":%s}' % (
        approved,
        b'"budgets":%s,' % question.budgets if budgets else b"",
        b'"facts":%s,' % known if needs.facts else b"",
        canonical(_request(question, needs.request)),
        task,
    )


def _request(question: Question, members: frozenset[str]) -> dict[str, object]:
    facts = question.request
    found: dict[str, object] = {}
    if "content_type" in members:
        found["content_type"] = redact(facts.content_type)
    if "has_body" in members:
        found["has_body"] = facts.has_body
    if "method" in members:
        found["method"] = question.method
    if "path" in members:
        found["path"] = redact(question.target.path.text)
    if "query_keys" in members:
        found["query_keys"] = sorted({redact(key) for key in facts.query_keys})
    if "time" in members:
        found["time"] = facts.time
    if "upgrade" in members:
        found["upgrade"] = facts.upgrade
    return found


def _redacted(facts: bytes) -> bytes:
    """Canonical JSON without placeholders: they need no escapes, so they stand there as they are."""
    return redact(facts.decode("utf-8")).encode("utf-8") if b"gp_" in facts else facts
