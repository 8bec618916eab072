"""What a call to AWS does where the path does not say it: the action of the query and JSON protocols.

Query: ``Action`` and ``Version``, in a form or in the URL of a GET. JSON: the header ``X-Amz-Target``, such
as ``DynamoDB_20120810.GetItem``. (The REST protocols, S3 among them, are method and path.) The service's name
is that of the signing scope (Signature Version 4), if the call is signed.
"""

import re

from proxy.errors import Code, Refusal
from proxy.http.message import values
from proxy.policy import strict_json
from proxy.policy.catalogue import Service
from proxy.policy.content import Act, Call, Classified
from proxy.policy.document import canonical
from proxy.policy.fact import FactField, Place, Protocol
from proxy.policy.fields import Facts, from_document, from_pairs
from proxy.policy.media import FORM, Pairs, form, media_type
from proxy.policy.needs import Needs
from proxy.policy.operation import Operation
from proxy.policy.spelling import lookalike

_TARGET = b"x-amz-target"
_JSON = ("application/x-amz-json-1.0", "application/x-amz-json-1.1")
_NAMES = {
    "Action": re.compile(r"[A-Za-z][A-Za-z0-9]{0,127}"),
    "Version": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
}
_PLACES = (Place.QUERY, Place.BODY)
_QUALIFIED = re.compile(r"([A-Za-z][A-Za-z0-9_.]*)\.([A-Za-z][A-Za-z0-9]*)")
_DATED = re.compile(r"[_V](20[0-9]{2})([0-9]{2})([0-9]{2})$")
_MAX_TARGET = 256
_SCOPE = r"[^/, ]+/[0-9]{8}(?:/[a-z0-9-]+)?/([a-z0-9-]+)/aws4_request"  # without a region in Version 4A
_SIGNED = re.compile(rf"AWS4-[A-Z0-9-]+ +(?:[^=, ]+=[^, ]+, *)*?Credential={_SCOPE}(?:, *[^=, ]+=[^, ]+)*")
_CREDENTIAL = re.compile(_SCOPE)


def classify(call: Call, service: Service, needs: Needs) -> Classified | Refusal:
    """The act of a call to a path where ``service`` speaks an AWS protocol. Never raises.

    The content is needed by the query protocol, and by the JSON protocol if ``body`` is among the facts.
    """
    scope = _scope(call)
    if isinstance(scope, Refusal):
        return scope
    if service.protocol_at(call.path) is Protocol.AWS_QUERY:
        return _query(call, service, needs, scope)
    return _json(call, service, needs, scope)


def _ambiguous(why: str) -> Refusal:
    return Refusal(Code.AMBIGUOUS_INPUT, why)


def _scope(call: Call) -> str | Refusal:
    """The service that a signature is for; "" without one."""
    headers = values(call.headers, b"authorization")
    parameters = [value for name, value in call.query if name == "X-Amz-Credential"]
    signed = [value.decode("latin-1") for value in headers if value.startswith(b"AWS4-")]
    if len(headers) > 1 or len(signed) + len(parameters) > 1:
        return _ambiguous("the call is signed more than once; sign it once")
    if parameters:
        found = _CREDENTIAL.fullmatch(parameters[0])
    elif signed:
        found = _SIGNED.fullmatch(signed[0])
        found = None if signed[0].count("Credential=") > 1 else found
    else:
        return ""
    if found is None:
        return _ambiguous("the Credential of the signature is not KEY/DATE/REGION/SERVICE/aws4_request")
    return found[1]


def _query(call: Call, service: Service, needs: Needs, scope: str) -> Classified | Refusal:
    if values(call.headers, _TARGET):
        return _ambiguous("X-Amz-Target names a second action here; leave it out")
    pairs = _pairs(call)
    if isinstance(pairs, Refusal):
        return pairs
    strange = lookalike((name for name, _ in pairs), _NAMES)
    if strange is not None:
        return strange
    found = {name: [value for key, value in pairs if key == name] for name in _NAMES}
    for name, grammar in _NAMES.items():
        if len(found[name]) != 1 or grammar.fullmatch(found[name][0]) is None:
            return _ambiguous(f"there must be exactly one {name}, well-formed; send it once")
    action, version = found["Action"][0], found["Version"][0]
    operation = service.select(Protocol.AWS_QUERY, action) or service.builtin("aws.call")
    whole: Facts = {"action": action, "service": scope, "version": version}
    facts = _facts(operation, needs, whole)
    for place in _PLACES:  # the parameters of an action may stand in either
        fields = _fields(operation, needs, place)
        if fields:
            read = from_pairs(fields, pairs)
            if isinstance(read, Refusal):
                return read
            facts[place.value] = read
    return Classified((Act(operation, canonical(facts), canonical({"aws": whole})),))


def _pairs(call: Call) -> Pairs | Refusal:
    """All parameters of a query-protocol call; they stand in one place."""
    if call.method in ("GET", "HEAD"):
        return _ambiguous("GET has content; send POST") if call.has_body else call.query
    if call.method != "POST":
        return Refusal(Code.CONTENT_UNSUPPORTED, f"{call.method} is not how AWS is asked here; send POST")
    if call.query:
        return _ambiguous("the URL of a POST has parameters; put them into the form only")
    kind = media_type(call, (FORM,))
    return kind if isinstance(kind, Refusal) else form(call.body or b"")


def _json(call: Call, service: Service, needs: Needs, scope: str) -> Classified | Refusal:
    if call.method != "POST":
        return Refusal(Code.CONTENT_UNSUPPORTED, f"{call.method} is not how AWS is asked here; send POST")
    if call.query:
        return _ambiguous("a call of the JSON protocol has no query; leave it out")
    targets = values(call.headers, _TARGET)
    target = targets[0].decode("latin-1") if len(targets) == 1 else ""
    named = _QUALIFIED.fullmatch(target)
    if named is None or len(target) > _MAX_TARGET:
        return _ambiguous("there must be exactly one X-Amz-Target: PREFIX.ACTION; send it once")
    operation = service.select(Protocol.AWS_JSON, target) or service.builtin("aws.call")
    dated = _DATED.search(named[1])
    version = "" if dated is None else "-".join(dated.groups())
    whole: Facts = {"action": named[2], "service": scope, "version": version}
    facts = _facts(operation, needs, whole)
    wanted = {place: _fields(operation, needs, place) for place in _PLACES}
    kind = media_type(call, _JSON, coded=not wanted[Place.BODY])
    if isinstance(kind, Refusal):
        return kind
    for place, fields in wanted.items():
        if fields:  # there is no query, so that one which has to be there is refused
            read = _members(fields, call.body or b"" if place is Place.BODY else b"{}")
            if isinstance(read, Refusal):
                return read
            facts[place.value] = read
    return Classified((Act(operation, canonical(facts), canonical({"aws": whole})),))


def _members(fields: list[FactField], content: bytes) -> Facts | Refusal:
    document = strict_json.parse(content)
    return document if isinstance(document, Refusal) else from_document(fields, document)


def _facts(operation: Operation, needs: Needs, aws: Facts) -> Facts:
    return {"aws": aws} if "aws" in needs.facts & operation.fact_groups else {}


def _fields(operation: Operation, needs: Needs, place: Place) -> list[FactField]:
    return [field for field in operation.facts if field.place is place and place in needs.facts]
