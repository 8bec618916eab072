"""What a recorded call does by another catalogue, and the facts that other rules read of it.

What decides is looked for in this order: method and path; the catalogue that the call was recorded under, if
it describes the service alike; what the record says of the message. A fact that is not recorded is lacking.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proxy.policy.catalogue import Service
from proxy.policy.classify import classify
from proxy.policy.content import Act, Call, Classified
from proxy.policy.decision import Site
from proxy.policy.document import canonical
from proxy.policy.fact import Condition, FactField, Place, Protocol
from proxy.policy.matching import Candidate
from proxy.policy.needs import NOTHING
from proxy.policy.operation import Operation, by_method
from proxy.policy.recorded import Object, RecordedCall, Said, obj, shortened

_PLACES = {place.value: place for place in Place}
_TOOL = "tools/call"
_JSON = ((b"Content-Type", b"application/json"),)


class Lacking(NamedTuple):
    """What the rules read and the record does not hold."""

    what: str


class _Call(NamedTuple):
    """One act of a recorded call, and where it is looked up now."""

    call: RecordedCall
    said: Said
    path: str
    before: Service | None
    site: Site


def acts(
    call: RecordedCall, rulings: Sequence[Said], path: str, before: Service | None, site: Site
) -> list[Act] | Lacking:
    """The acts of a call at ``site``; ``before`` is the service it was recorded with, if that is kept."""
    found: dict[Act, None] = {}
    for said in rulings:
        one = _Call(call, said, path, before, site)
        chosen = _candidate(one)
        if isinstance(chosen, Lacking):
            return chosen
        facts = _facts(one, chosen)
        if isinstance(facts, Lacking):
            return facts
        found[Act(chosen.operation, facts)] = None
    return list(found)


def operations(
    call: RecordedCall, rulings: Sequence[Said], path: str, before: Service | None, site: Site
) -> list[Operation] | Lacking:
    """What a call does at ``site``, act by act, whatever rules read of it."""
    found: list[Operation] = []
    for said in rulings:
        chosen = _candidate(_Call(call, said, path, before, site))
        if isinstance(chosen, Lacking):
            return chosen
        found.append(chosen.operation)
    return found


def _candidate(one: _Call) -> Candidate | Lacking:
    service = one.site.service
    if service is None:
        return Candidate(by_method(one.call.method), {})
    if service.protocol_at(one.path) is Protocol.REST:
        return _rest(one, service)
    if _alike(one.before, service):
        known = _named(service, one.said.action)
        if known is not None:
            return Candidate(known, {})
    selected = _selected(one, service)
    return selected if isinstance(selected, Lacking) else Candidate(selected, {})


def _alike(one: Service | None, other: Service) -> bool:
    """Whether both read a call alike, so that it is the operation of the same name by both."""
    return one is not None and _shape(one) == _shape(other)


def _shape(service: Service) -> tuple[object, ...]:
    """Everything that decides which operation a call is."""
    named = [(each.id, each.methods, each.template, each.selector, each.when) for each in service.operations]
    return service.name, service.protocol, service.endpoints, service.persisted_queries, named


def _named(service: Service, action: str) -> Operation | None:
    return next((operation for operation in service.all_operations if operation.id == action), None)


# -- REST --


def _rest(one: _Call, service: Service) -> Candidate | Lacking:
    matched = service.rest_candidates(one.call.method, one.path)
    candidates = () if matched is None else matched.candidates
    alike = _alike(one.before, service)
    for candidate in candidates:
        if alike and candidate.operation.id == one.said.action:
            return candidate
        holds = _holds(candidate.operation.when, one)
        if isinstance(holds, Lacking) and not alike:
            return holds
        if holds is True:
            return candidate
    return Candidate(service.by_method(one.call.method), {})


def _holds(conditions: Sequence[Condition], one: _Call) -> bool | Lacking:
    unknown = None
    for condition in conditions:
        name = ".".join(condition.path)
        if condition.place is Place.QUERY:
            if name not in one.call.query_keys:
                return False
            if condition.values:
                unknown = unknown or Lacking(f"the value of the query parameter {name}")
        elif one.call.has_body is False:
            return False
        else:
            unknown = unknown or Lacking(f"the field {name} of the content")
    return unknown or True


# -- other protocols --


def _selected(one: _Call, service: Service) -> Operation | Lacking:
    """The operation that the recorded message names."""
    protocol = service.protocol_at(one.path)
    if protocol is Protocol.GRPC:
        return service.select(protocol, one.path[1:]) or service.builtin("grpc.call")
    if protocol is Protocol.MCP:
        return _mcp(one, service)
    key = _key(one, protocol)
    if key is None:
        return Lacking(f"what the {protocol} message asks for")
    builtin = f"graphql.{key.partition('.')[0]}" if protocol is Protocol.GRAPHQL else "aws.call"
    return service.select(protocol, key) or service.builtin(builtin)


def _key(one: _Call, protocol: Protocol) -> str | None:
    """What names an operation in this protocol: as recorded, or as the operation's own selector says."""
    facts = _recorded_facts(one)
    if protocol is Protocol.GRAPHQL:
        found = obj(facts.get("graphql"))
        fields = found.get("fields")
        if isinstance(fields, list) and len(fields) == 1:
            return f"{found.get('operation')}.{fields[0]}"
    if protocol is Protocol.AWS_QUERY and isinstance(action := obj(facts.get("aws")).get("action"), str):
        return action
    return _exact(one, protocol)


def _exact(one: _Call, protocol: Protocol) -> str | None:
    """The selector of the operation it was then, if it selects one thing only."""
    named = None if one.before is None else _named(one.before, one.said.action)
    selector = None if named is None else named.selector
    if selector is None or selector.protocol is not protocol or selector.pattern.endswith("*"):
        return None
    return selector.pattern or None


def _mcp(one: _Call, service: Service) -> Operation | Lacking:
    """The operation of an MCP message: the classifier is given one that names the same."""
    found = obj(_recorded_facts(one).get("mcp"))
    method, name = found.get("method"), found.get("tool") or found.get("uri")
    if not isinstance(method, str):
        kind, _, rest = (_exact(one, Protocol.MCP) or "").partition(":")
        method, name = (_TOOL, rest) if kind == "tool" else (rest, None)
        if not kind and one.call.method == "POST":
            return Lacking("what the mcp message asks for")
    message: dict[str, object] = {"jsonrpc": "2.0", "id": 1}
    if method:
        about = str(name or "x")  # where a message is about nothing, it does not matter what it is about
        message |= {"method": method, "params": {"name": about, "uri": about}}
    else:
        message["result"] = {}
    body = canonical(message) if one.call.method == "POST" else b""
    call = Call(one.call.method, one.path, (), _JSON, has_body=bool(body), body=body)
    classified = classify(call, service, NOTHING, len(body))
    if not isinstance(classified, Classified):
        return Lacking("an MCP message that can be read")
    return classified.acts[0].operation


# -- facts --


def _recorded_facts(one: _Call) -> Mapping[str, object]:
    """What the record holds of the message: with the input, and beside it."""
    beside = one.call.facts if len(one.call.caller.rulings) == 1 else {}
    return {**beside, **obj(one.said.context.get("facts"))}


def _facts(one: _Call, chosen: Candidate) -> bytes | Lacking:
    operation = chosen.operation
    recorded = _recorded_facts(one)
    if shortened(recorded):
        return Lacking("all of the facts; they were too long for it")
    found: dict[str, object] = {}
    for group in sorted(operation.fact_groups & one.site.needs.facts):
        place = _PLACES.get(group)
        if group == "path":
            found[group] = chosen.path
        elif group == "grpc":
            name, _, method = one.path[1:].partition("/")
            found[group] = {"service": name, "method": method}
        elif place is not None:
            declared = _declared(one, operation, place, obj(recorded.get(group)), known=group in recorded)
            if isinstance(declared, Lacking):
                return declared
            found[group] = declared
        elif group in recorded:
            found[group] = recorded[group]
        else:
            return Lacking(f"context.facts.{group}")
    return canonical(found)


def _declared(
    one: _Call, operation: Operation, place: Place, recorded: Object, *, known: bool
) -> dict[str, object] | Lacking:
    """The declared fields of one place, as far as they are recorded or known to be absent."""
    before = None if one.before is None else _named(one.before, one.said.action)
    fields = {
        field.path: field for field in (before.facts if before is not None else ()) if field.place is place
    }
    found: dict[str, object] = {}
    for field in operation.facts:
        if field.place is not place:
            continue
        value = _value(recorded, field.path)
        if value is not None and (field.path not in fields or fields[field.path].type is field.type):
            _put(found, field.path, value)
        elif not _absent(one, field, looked=known and field.path in fields and value is None):
            return Lacking(f"context.facts.{place.value}.{'.'.join(field.path)}")
    return found


def _absent(one: _Call, field: FactField, *, looked: bool) -> bool:
    """Whether an optional field is known not to have been there. ``looked``: it was looked for then."""
    if field.required:
        return False
    if field.place is Place.QUERY and ".".join(field.path) not in one.call.query_keys:
        return True
    return looked or (field.place is Place.BODY and one.call.has_body is False)


def _value(holder: object, path: Sequence[str]) -> object:
    for name in path:
        holder = obj(holder).get(name)
    return holder


def _put(holder: dict[str, object], path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        inner = holder.setdefault(name, {})
        assert isinstance(inner, dict), "no field is part of another"
        holder = inner
    holder[path[-1]] = value
