"""The Access Evaluation API of AuthZEN (openid.net/specs/authorization-api-1_0, section 6).

``{"subject", "action", "resource", "context"}`` is answered by ``{"decision": bool, "context": {}}``. What
entities have are their ``properties``; the task stands in ``context.task`` with its attributes. What the
answer's context says is recorded, and its ``reason`` or ``reason_user`` is told; of ``obligations`` nobody
here knows how to meet them, so an allow that has some is refused.
"""

import orjson

from proxy.broker.answer import Answer, shorten
from proxy.identity.i_json import parse_object

_Uid = tuple[object, object]


def encode(document: bytes) -> bytes:
    """What is sent for a document (see ``policy.document``).

    :raises KeyError: if it is no such document.
    """
    asked = orjson.loads(document)
    entities = {_uid(entity["uid"]): entity for entity in asked["entities"]}
    context = asked["context"]
    task = entities[_uid(context["task"]["__entity"])]
    return orjson.dumps(
        {
            "subject": _entity(entities[_uid(asked["principal"])]),
            "action": {"name": asked["action"]["id"]},
            "resource": _entity(entities[_uid(asked["resource"])]),
            "context": context | {"task": task["attrs"]},
        },
        option=orjson.OPT_SORT_KEYS,
    )


def read(body: bytes) -> Answer | str:
    """The answer, or what is wrong with it."""
    said = parse_object(body)
    if said is None:
        return "the answer is not a JSON object, or repeats a name"
    decision, context = said.get("decision"), said.get("context", {})
    if not isinstance(decision, bool):
        return "the answer has no decision that is true or false"
    if not isinstance(context, dict):
        return "the answer's context is not an object"
    unmet = decision and bool(context.get("obligations"))
    return Answer(decision, (), _reason(context), unmet)


def _uid(named: dict[str, object]) -> _Uid:
    return named["type"], named["id"]


def _entity(entity: dict[str, dict[str, object]]) -> dict[str, object]:
    uid = entity["uid"]
    return {"type": uid["type"], "id": uid["id"], "properties": entity["attrs"]}


def _reason(context: dict[str, object]) -> str:
    """Words for the agent: ``reason``, or the first of ``reason_user``, which is by language."""
    told = context.get("reason_user")
    by_language = next(iter(told.values()), None) if isinstance(told, dict) else told
    found = (words for words in (context.get("reason"), by_language) if isinstance(words, str))
    return shorten(next(found, ""))
