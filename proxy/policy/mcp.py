"""What an MCP call does (Model Context Protocol 2025-03-26 to 2026-07-28, streamable HTTP; JSON-RPC 2.0).

POST carries one JSON-RPC message, or a batch of them: requests, notifications, and responses to what the
server asked. GET opens a stream and DELETE ends the session. A tool is an operation of its own
(``tool:NAME``), any other method may be one (``rpc:METHOD``); the rest has the built-in operations. A batch
is all of its messages' acts: one that is denied denies all.

A message has no members but those that JSON-RPC gives it, and ``params`` none that a lax reader could take
for the ones read here. Headers that repeat the method or the name (Mcp-Method, Mcp-Name) have to agree with
the message, because servers may route by them.
"""

from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeGuard

from proxy.errors import Code, Refusal
from proxy.http.message import values
from proxy.policy import strict_json
from proxy.policy.catalogue import Service
from proxy.policy.content import MAX_ACTS, Act, Call, Classified, Watch
from proxy.policy.document import canonical
from proxy.policy.fact import Place, Protocol
from proxy.policy.fields import Facts, from_document
from proxy.policy.media import media_type
from proxy.policy.needs import Needs
from proxy.policy.operation import Operation
from proxy.policy.spelling import lookalike
from proxy.policy.strict_json import Json

_JSON = ("application/json",)
_CALL = "tools/call"
_BUILTIN = {
    "initialize": "mcp.session",
    "server/discover": "mcp.session",  # since 2026-07-28, as is subscriptions/listen
    "ping": "mcp.session",
    "logging/setLevel": "mcp.session",
    "completion/complete": "mcp.session",
    "tools/list": "mcp.list",
    "resources/list": "mcp.list",
    "resources/templates/list": "mcp.list",
    "prompts/list": "mcp.list",
    "resources/read": "mcp.read",
    "resources/subscribe": "mcp.read",
    "resources/unsubscribe": "mcp.read",
    "prompts/get": "mcp.read",
    "subscriptions/listen": "mcp.read",
    _CALL: "mcp.call",
}
_FOLDED = {method.casefold(): method for method in _BUILTIN}
_NOTIFICATION = "notifications/"
_NO_TOOLS = (_BUILTIN.keys() - {"tools/list"}) | {""}  # what is answered without a list of tools
_NAME = {
    _CALL: "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "resources/subscribe": "uri",
    "resources/unsubscribe": "uri",
}
_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_READ = ("name", "arguments", "uri")


class Message(NamedTuple):
    """One JSON-RPC message; ``method`` is "" for a response.

    ``id`` is None for a notification. ``name`` is what the message is about: the name of a tool or of a
    prompt, or a URI; else "". ``arguments`` are those of a tool.
    """

    method: str
    id: str | int | None
    name: str = ""
    arguments: Mapping[str, Json] = MappingProxyType({})


def classify(call: Call, service: Service, needs: Needs) -> Classified | Refusal:
    """The acts of a call to a path where ``service`` speaks MCP; its content has been read. Never raises."""
    if call.method == "POST":
        return _post(call, service, needs)
    if call.body:
        return _refuse(f"{call.method} has no content at MCP; send messages with POST")
    name = "mcp.session" if call.method in ("GET", "DELETE") else "mcp.other"
    act = _act(service.builtin(name), Message("", None), needs, batch=False)
    # A stream that is resumed repeats answers, and the older HTTP+SSE transport has all of them there.
    return (
        act if isinstance(act, Refusal) else Classified((act,), Watch.MCP if call.method == "GET" else None)
    )


def _post(call: Call, service: Service, needs: Needs) -> Classified | Refusal:
    kind = media_type(call, _JSON)
    document = kind if isinstance(kind, Refusal) else strict_json.parse(call.body or b"")
    messages = document if isinstance(document, Refusal) else _messages(document)
    if isinstance(messages, Refusal):
        return messages
    refusal = _contradiction(call, messages)
    if refusal is not None:
        return refusal
    acts = []
    for message in messages:
        act = _act(_operation(service, message), message, needs, batch=isinstance(document, list))
        if isinstance(act, Refusal):
            return act
        acts.append(act)
    return Classified(tuple(acts), Watch.MCP if any(map(_may_list, messages)) else None)


def _messages(document: Json) -> list[Message] | Refusal:
    """All messages of a POST."""
    if not isinstance(document, list):
        message = _message(document)
        return message if isinstance(message, Refusal) else [message]
    if not document:
        return _refuse("the batch is empty; send at least one message")
    if len(document) > MAX_ACTS:
        return Refusal(
            Code.BODY_TOO_LARGE, f"the batch has {len(document)} messages; send {MAX_ACTS} at most"
        )
    messages = []
    for member in document:
        message = _message(member)
        if isinstance(message, Refusal):
            return message
        if message.method == "initialize":
            return _refuse("initialize may not be part of a batch; send it alone")
        messages.append(message)
    # Requests and responses have ids of their own; 1 and "1" are two, but not to every reader.
    ids = [(bool(message.method), str(message.id)) for message in messages if message.id is not None]
    if len(set(ids)) != len(ids):
        return _refuse("two messages of the batch have the same id; give each its own")
    return messages


def _message(value: Json) -> Message | Refusal:
    if not isinstance(value, dict):
        return _refuse("a JSON-RPC message is an object; send one, or an array of them")
    if not value.keys() <= _MEMBERS:
        name = next(name for name in value if name not in _MEMBERS)
        return _refuse(f"a JSON-RPC message has no member {name[:80]!r}; leave it out")
    if value.get("jsonrpc") != "2.0":
        return _refuse('jsonrpc has to be "2.0"')
    answers = sorted(value.keys() & {"result", "error"})
    if "method" not in value:
        return _response(value, answers)
    method, known = value["method"], value.get("id", "")
    if answers:
        return _refuse(f"a message with a method has no {answers[0]}; send a request or a response")
    if not isinstance(method, str) or not method:
        return _refuse("method has to be a string that is not empty")
    if method not in _BUILTIN and method.strip().casefold() in _FOLDED:
        return _refuse(
            f"{method[:80]!r} can be taken for {_FOLDED[method.strip().casefold()]!r}; spell it so"
        )
    if not _is_id(known):
        return _refuse("the id of a request has to be a string or a whole number; a notification has none")
    params = value.get("params", {})
    if not isinstance(params, dict):
        return _refuse("params has to be an object; leave it out if there are none")
    return lookalike(params, _READ) or _about(method, known if "id" in value else None, params)


def _response(value: Mapping[str, Json], answers: list[str]) -> Message | Refusal:
    known = value.get("id")
    if len(answers) != 1 or "params" in value:
        return _refuse("a message has a method, or else exactly one of result and error")
    if not _is_id(known) and not (known is None and "id" in value and answers == ["error"]):
        return _refuse("the id of a response has to be that of the request: a string or a whole number")
    return Message("", known)


def _is_id(value: Json) -> TypeGuard[str | int]:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _about(method: str, known: str | int | None, params: Mapping[str, Json]) -> Message | Refusal:
    """A request or notification, with what it is about."""
    member = _NAME.get(method, "")
    name = params.get(member or "uri", None if member else "")
    if not isinstance(name, str) or (member and not name):
        return _refuse(f"params.{member or 'uri'} of {method[:80]!r} has to be a string that is not empty")
    if method != _CALL:
        return Message(method, known, name)
    arguments = params.get("arguments")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return _refuse("params.arguments has to be an object; leave it out if there are none")
    return Message(method, known, name, arguments)


def _contradiction(call: Call, messages: list[Message]) -> Refusal | None:
    """Headers that say something else than the message (or anything about a batch) are refused."""
    first = messages[0]
    for header, said in ((b"Mcp-Method", first.method), (b"Mcp-Name", first.name)):
        given = values(call.headers, header.lower())
        if given and (len(messages) > 1 or given != [_mirrored(said, given[0])]):
            return _refuse(f"the header {header.decode('ascii')} contradicts the message; leave it out")
    return None


def _mirrored(text: str, given: bytes) -> bytes:
    """How ``text`` stands in a header: as it is, or in Base64 where ``given`` uses that form (SEP-2243)."""
    plain = text.encode("utf-8")
    return b"=?base64?" + b64encode(plain) + b"?=" if given.startswith(b"=?base64?") else plain


def _may_list(message: Message) -> bool:
    """Whether the answer may hold a list of tools."""
    return message.method not in _NO_TOOLS and not message.method.startswith(_NOTIFICATION)


def _operation(service: Service, message: Message) -> Operation:
    method = message.method
    if not method:
        return service.builtin("mcp.reply")
    # What a tool does only its name says: a prefix of methods never names tools.
    key = f"tool:{message.name}" if method == _CALL else f"rpc:{method}"
    builtin = _BUILTIN.get(method, "mcp.session" if method.startswith(_NOTIFICATION) else "mcp.other")
    return service.select(Protocol.MCP, key) or service.builtin(builtin)


def _act(operation: Operation, message: Message, needs: Needs, *, batch: bool) -> Act | Refusal:
    wanted = needs.facts & operation.fact_groups
    tool, uri = (message.name, "") if message.method == _CALL else ("", message.name)
    whole: Facts = {"mcp": {"batch": batch, "method": message.method, "tool": tool, "uri": uri}}
    told = canonical(whole) if message.method else b""
    if not wanted:
        return Act(operation, told=told)
    facts = dict(whole) if "mcp" in wanted else {}
    if Place.INPUT in wanted:
        fields = [field for field in operation.facts if field.place is Place.INPUT]
        given = from_document(fields, dict(message.arguments))
        if isinstance(given, Refusal):
            return given
        facts["input"] = given
    return Act(operation, canonical(facts), told)


def _refuse(why: str) -> Refusal:
    return Refusal(Code.AMBIGUOUS_INPUT, why)
