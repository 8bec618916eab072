"""GraphQL over HTTP (draft of the GraphQL foundation): the requests that one call carries.

``POST`` of ``application/json`` (one request, or an array of them) or ``application/graphql``, and ``GET``
with the same names as parameters. A request names its document by ``query``, by
``extensions.persistedQuery`` (Apollo), or by ``id``, ``documentId`` or ``doc_id``; if by several, they have
to agree, because servers differ in which of them they take. The draft forbids other members than these.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.policy import strict_json
from proxy.policy.content import MAX_ACTS, Call
from proxy.policy.media import media_type
from proxy.policy.spelling import lookalike
from proxy.policy.strict_json import Json

MAX_TEXT = 65_536  # characters of all queries of one call together

_IDS = ("id", "documentId", "doc_id")
MEMBERS = ("query", "operationName", "variables", "extensions", *_IDS)
_JSON, _TEXT = "application/json", "application/graphql"
_PERSISTED = ("version", "sha256Hash")
_HASH = re.compile(r"[0-9a-f]{64}")


class Request(NamedTuple):
    """One request with the text of its document. ``persisted``: the service's file lists that text."""

    text: str
    operation_name: str | None
    variables: Mapping[str, Json]
    persisted: bool


def requests(call: Call, persisted: Mapping[str, str]) -> list[Request] | Refusal:
    """Every request of a call, at least one and at most MAX_ACTS.

    ``persisted`` are the documents that may be called without their text, by the SHA-256 of it.
    """
    documents = _documents(call)
    if isinstance(documents, Refusal):
        return documents
    found = []
    for document in documents:
        request = _request(document, persisted)
        if isinstance(request, Refusal):
            return request
        found.append(request)
    if sum(len(request.text) for request in found) > MAX_TEXT:
        return Refusal(Code.BODY_TOO_LARGE, f"the queries have more than {MAX_TEXT} characters; send less")
    return found


def _ambiguous(why: str) -> Refusal:
    return Refusal(Code.AMBIGUOUS_INPUT, why)


def _documents(call: Call) -> list[dict[str, Json]] | Refusal:
    """The call's requests as JSON objects, wherever they stand."""
    parameters = [name for name, _ in call.query]
    refusal = lookalike(parameters, MEMBERS)
    if refusal is not None:
        return refusal
    if call.method in ("GET", "HEAD"):
        return _ambiguous("GET has content; send POST") if call.has_body else _parameters(call)
    if call.method != "POST":
        return Refusal(
            Code.CONTENT_UNSUPPORTED, f"{call.method} is not how GraphQL is asked; send POST or GET"
        )
    stray = next((name for name in parameters if name in MEMBERS), None)
    if stray is not None:
        return _ambiguous(f"{stray} stands in the URL of a POST; put it into the content only")
    kind = media_type(call, (_JSON, _TEXT))
    if isinstance(kind, Refusal):
        return kind
    body = call.body or b""
    if kind == _TEXT:
        try:
            return [{"query": body.decode("utf-8")}]
        except UnicodeDecodeError:
            return _ambiguous("the query is not UTF-8")
    return _batch(strict_json.parse(body))


def _parameters(call: Call) -> list[dict[str, Json]] | Refusal:
    """The parameters of a URL; ``variables`` and ``extensions`` are JSON texts there."""
    document: dict[str, Json] = {}
    for name, text in call.query:
        if name not in MEMBERS:
            continue
        if name in document:
            return _ambiguous(f"{name} stands twice in the URL; send it once")
        value: Json | Refusal = text
        if name in ("variables", "extensions") and text:
            value = strict_json.parse(text.encode("utf-8"))
        if isinstance(value, Refusal):
            return _ambiguous(f"{name} in the URL: {value.detail}")
        document[name] = value or None
    return [document]


def _batch(document: Json | Refusal) -> list[dict[str, Json]] | Refusal:
    if isinstance(document, Refusal):
        return document
    members = document if isinstance(document, list) else [document]
    if not members:
        return _ambiguous("the batch is empty; send at least one request")
    if len(members) > MAX_ACTS:
        return Refusal(Code.BODY_TOO_LARGE, f"the batch has {len(members)} requests; send {MAX_ACTS} at most")
    found = []
    for member in members:
        if not isinstance(member, dict):
            return _ambiguous("a GraphQL request is a JSON object with a query; send that")
        strange = lookalike(member, MEMBERS) or _unknown(member, MEMBERS, "a GraphQL request")
        if strange is not None:
            return strange
        found.append(member)
    return found


def _unknown(members: Mapping[str, Json], known: tuple[str, ...], what: str) -> Refusal | None:
    for name in members:
        if name not in known:
            return _ambiguous(f"{what} has no member {name[:80]!r}; leave it out, or use extensions")
    return None


def _request(document: Mapping[str, Json], persisted: Mapping[str, str]) -> Request | Refusal:
    text, name, variables = (document.get(key) for key in ("query", "operationName", "variables"))
    if not isinstance(text, str | None) or not isinstance(name, str | None):
        return _ambiguous("query and operationName are strings; send strings")
    if not isinstance(variables, dict | None):
        return _ambiguous("variables is an object; send an object")
    hashes = _hashes(document)
    if isinstance(hashes, Refusal):
        return hashes
    if not text:
        if not hashes:
            return _ambiguous("there is no query; send its text")
        listed = _listed(hashes, persisted)
        return (
            listed if isinstance(listed, Refusal) else Request(listed, name, variables or {}, persisted=True)
        )
    own = sha256(text.encode("utf-8")).hexdigest()
    if any(value != own for value in hashes):
        return _ambiguous("the hash is not the SHA-256 of the query; send the right hash, or the query alone")
    return Request(text, name, variables or {}, persisted=persisted.get(own) == text)


def _listed(hashes: list[str], persisted: Mapping[str, str]) -> str | Refusal:
    if len(set(hashes)) > 1:
        return _ambiguous("the request names different persisted queries; name one")
    text = persisted.get(hashes[0])
    if text is None:
        why = f"{hashes[0][:80]!r} is not among the persisted_queries of the service"
        return Refusal(Code.PERSISTED_QUERY_UNKNOWN, why)
    return text


def _hashes(document: Mapping[str, Json]) -> list[str] | Refusal:
    """Every name of a persisted document that the request gives."""
    extensions = document.get("extensions")
    if not isinstance(extensions, dict | None):
        return _ambiguous("extensions is an object; send an object")
    strange = lookalike(extensions or {}, ("persistedQuery",))
    if strange is not None:
        return strange
    found: list[str] = []
    apollo = None if extensions is None else extensions.get("persistedQuery")
    if apollo is not None:
        value = _apollo(apollo)
        if isinstance(value, Refusal):
            return value
        found.append(value)
    for key in _IDS:
        name = document.get(key)
        if not isinstance(name, str | None):
            return _ambiguous(f"{key} is a string; send the hash as a string")
        if name:
            plain = name.removeprefix("sha256:")
            found.append(plain if _HASH.fullmatch(plain) else name)
    return found


def _apollo(value: Json) -> str | Refusal:
    if not isinstance(value, dict):
        return _ambiguous("extensions.persistedQuery is an object; send version and sha256Hash")
    strange = _unknown(value, _PERSISTED, "extensions.persistedQuery")
    if strange is not None:
        return strange
    digest = value.get("sha256Hash")
    if not isinstance(digest, str) or _HASH.fullmatch(digest) is None:
        return _ambiguous("extensions.persistedQuery.sha256Hash is 64 lower-case hexadecimal digits")
    return digest
