"""What the engine evaluates, as canonical JSON (RFC 8785 subset): the same bytes the log stores.

The document is ``{"action", "context", "entities", "principal", "resource"}``; with the schema and the
policies of the rule set it is all that is needed to take a decision again. It holds no secret: a
placeholder that strayed into a path, a parameter's name or a media type is redacted *before* the
decision, so that what is decided is what is recorded.
"""

from typing import NamedTuple

import orjson

from proxy.credential.placeholder import redact
from proxy.http.canonical import Origin
from proxy.identity.principal import Agent
from proxy.policy.catalogue import Service
from proxy.policy.decision import Question

Uid = dict[str, str]


def canonical(value: object) -> bytes:
    """JSON with sorted keys, no white space and UTF-8."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def uid(kind: str, name: str) -> Uid:
    """The name of an entity in Cedar's JSON."""
    return {"type": kind, "id": name}


class Parts(NamedTuple):
    """The two entities of a request, as Cedar wants them and as they are recorded."""

    principal: Uid
    resource: Uid
    agent: bytes
    endpoint: bytes

    def document(self, action: Uid, context: bytes) -> bytes:
        """The whole document; the keys of its parts are in order already."""
        names = canonical({"principal": self.principal, "resource": self.resource})
        entities = b"%s,%s" % (self.agent, self.endpoint)
        return b'{"action":%s,"context":%s,"entities":[%s],%s' % (
            canonical(action),
            context,
            entities,
            names[1:],
        )


def agent_entity(agent: Agent) -> bytes:
    """The agent as an entity; its parent is its tier."""
    attributes = {
        "environment": agent.environment,
        "tier": agent.tier,
        "business_owner": agent.business_owner,
        "data_owner": agent.data_owner,
    }
    return canonical(
        {"uid": uid("Agent", agent.id), "attrs": attributes, "parents": [uid("Tier", agent.tier)]}
    )


def endpoint_name(origin: Origin, path: str) -> str:
    """The id of the endpoint: its URL without query, redacted."""
    return f"{origin}{redact(path)}"


def endpoint_entity(origin: Origin, path: str, service: Service | None, pattern: str) -> bytes:
    """The endpoint as an entity; its parents are its host, the host's ``pattern`` and its service."""
    parents = [uid("Host", name) for name in dict.fromkeys((origin.host.name, pattern))]
    if service is not None:
        parents.append(uid("Service", service.name))
    attributes = {
        "scheme": origin.scheme,
        "host": origin.host.name,
        "port": origin.port,
        "path": redact(path),
        "service": "" if service is None else service.name,
        "catalogued": service is not None,
        "sensitivity": "" if service is None else service.sensitivity,
        "environments": [] if service is None else sorted(set(service.environments)),
    }
    return canonical(
        {"uid": uid("Endpoint", endpoint_name(origin, path)), "attrs": attributes, "parents": parents}
    )


def parts(agent: Agent, origin: Origin, path: str, service: Service | None, pattern: str) -> Parts:
    """Both entities of a request."""
    return Parts(
        uid("Agent", agent.id),
        uid("Endpoint", endpoint_name(origin, path)),
        agent_entity(agent),
        endpoint_entity(origin, path, service, pattern),
    )


def context(question: Question) -> bytes:
    """The context of a request. ``approved`` is false until a held request is approved.

    The scopes are those of the right, not of the task's manifest: what a parent did not have, and what
    an agent's ceiling cuts off, no policy sees.
    """
    task, facts = question.task, question.request
    return canonical(
        {
            "approved": question.approved,
            "request": {
                "content_type": redact(facts.content_type),
                "has_body": facts.has_body,
                "method": question.method,
                "query_keys": sorted({redact(key) for key in facts.query_keys}),
                "time": facts.time,
                "upgrade": facts.upgrade,
            },
            "task": {
                "approver": task.approver or "",
                "delegated": task.parent is not None,
                "environment": task.environment,
                "id": task.id,
                "on_behalf_of": task.on_behalf_of or "",
                "purpose": task.purpose,
                "scopes": sorted(question.right.scopes),
                "ticket": task.ticket or "",
            },
        }
    )
