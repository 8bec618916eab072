"""What a record says of a principal: the members of ``who`` that are the same for all its requests.

They are encoded once for each principal and kept as JSON: attribution hands out the same ``Principal``
as long as nothing about it changes.
"""

from orjson import Fragment

from proxy.audit.canonical import Json, encode_typed
from proxy.identity.attribution import Unfit
from proxy.identity.principal import Agent, Evidence, Link, Principal, Task

_SIZE = 1024
_kept: dict[int, tuple[Principal, dict[str, Json]]] = {}  # by id(); the principal is held, so it stays its


def subject(principal: Principal) -> dict[str, Json]:
    """``agent``, ``task``, ``auth``, ``chain``, ``right`` and ``actors``, ready to be encoded."""
    known = _kept.get(id(principal))
    if known is not None:
        return known[1]
    parts: dict[str, Json] = {name: Fragment(encode_typed(part)) for name, part in _parts(principal).items()}
    if len(_kept) >= _SIZE:
        del _kept[next(iter(_kept))]
    _kept[id(principal)] = principal, parts
    return parts


def unfit(who: Unfit) -> dict[str, Json]:
    """The same of somebody who was identified and has no right to call: no chain and no right."""
    return {
        "agent": None if who.agent is None else _agent(who.agent),
        "task": None if who.task is None else _task(who.task),
        "auth": [_evidence(evidence) for evidence in who.evidence],
    }


def _parts(principal: Principal) -> dict[str, Json]:
    right = principal.right
    parts: dict[str, Json] = {
        "agent": _agent(principal.agent),
        "task": _task(principal.task),
        "auth": [_evidence(evidence) for evidence in principal.evidence],
        "chain": [_link(link) for link in principal.chain],
        "right": {
            "scopes": sorted(right.scopes),
            "services": None if right.services is None else sorted(right.services),
            "environment": right.environment,
            "expires_at": right.expires_at,
        },
    }
    if principal.actors:
        parts["actors"] = [{"sub": actor.subject, "iss": actor.issuer} for actor in principal.actors]
    return parts


def _agent(agent: Agent) -> dict[str, Json]:
    return {
        "id": agent.id,
        "environment": agent.environment,
        "tier": agent.tier,
        "business_owner": agent.business_owner,
        "data_owner": agent.data_owner,
    }


def _task(task: Task) -> dict[str, Json]:
    return {
        "id": task.id,
        "manifest_sha256": task.manifest_sha256,
        "expires_at": task.expires_at,
        "purpose": task.purpose,
        "scopes": list(task.scopes),
        "on_behalf_of": task.on_behalf_of,
        "ticket": task.ticket,
        "approver": task.approver,
    }


def _evidence(evidence: Evidence) -> dict[str, Json]:
    return {
        "method": evidence.method.value,
        "issuer": evidence.issuer,
        "key_id": evidence.key_id,
        "token_id": evidence.token_id,
        "token_sha256": evidence.token_sha256,
        "keys_sha256": evidence.keys_sha256,
    }


def _link(link: Link) -> dict[str, Json]:
    """A step of the chain with the digest of its grant: the manifest that the delegator agreed to."""
    return {"agent": link.agent.id, "task": link.task.id, "grant_sha256": link.task.manifest_sha256}
