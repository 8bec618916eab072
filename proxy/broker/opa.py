"""The Data API of Open Policy Agent (openpolicyagent.org/docs/rest-api, "Get a Document (with Input)").

``POST /v1/data/PATH`` with ``{"input": DOCUMENT}`` is answered by ``{"result": R}``. R is ``true`` or
``false``, or ``{"allow": bool, "rules": ["name", ...], "reason": "words"}``, of which only ``allow`` has to
be there. Without ``result`` the rule is undefined, which is a denial. R may have no other members: a package
that is queried as a whole may say ``deny`` or ``violations`` beside ``allow``, and to skip them would be to
guess.
"""

from proxy.broker.answer import Answer, read_rules, shorten
from proxy.identity.i_json import parse_object

_MEMBERS = {"allow", "rules", "reason"}


def encode(document: bytes) -> bytes:
    """What is sent: the document (JSON) as ``input``."""
    return b'{"input":%s}' % document


def read(body: bytes) -> Answer | str:
    """The answer, or what is wrong with it."""
    said = parse_object(body)
    if said is None:
        return "the answer is not a JSON object, or repeats a name"
    if "result" not in said:
        return Answer(None)
    result = said["result"]
    if isinstance(result, bool):
        return Answer(result)
    if not isinstance(result, dict) or not isinstance(result.get("allow"), bool):
        return "the result is neither true, false nor an object with allow"
    if unknown := sorted(result.keys() - _MEMBERS):
        return f"the result has a member that gatepass does not know: {unknown[0][:40]!r}"
    rules, reason = read_rules(result.get("rules", [])), result.get("reason", "")
    if rules is None or not isinstance(reason, str):
        return "the result's rules are not a list of names, or its reason is no text"
    return Answer(result["allow"], rules, shorten(reason))
