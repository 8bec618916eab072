"""A call to every operation that ships, as octets; and what gatepass makes of octets.

``judged`` goes the way of the engine: the head is parsed and guarded, the target made canonical, the call
classified, and the rules asked. Nothing is sent.
"""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from proxy.engine.head import parse_request
from proxy.errors import Code, Refusal
from proxy.http.canonical import Origin, Target, parse_host, parse_target, query_pairs
from proxy.http.guard import Guarded, guard_request
from proxy.http.message import NoBody, RequestHead, first, values
from proxy.policy.catalogue import Service
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.classify import classify
from proxy.policy.content import Call, NeedBody
from proxy.policy.decision import Allow, Question, RequestFacts
from proxy.policy.fact import FactType, Place, Protocol
from proxy.policy.operation import Operation
from tests.policy import reference
from tests.policy.worlds import AGENTS, CODER, right, task

RULES = Path(__file__).parents[2] / "rules"
LIMIT = 1_048_576
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
Pairs = tuple[tuple[str, str], ...]


MORE = b"""\
name: more
hosts: [more.example.org]
owner: o@example.org
data_owner: d@example.org
sensitivity: internal
environments: [development]
endpoints: {"/aws": aws-json, "/shop.v1.Cart/{method}": grpc, "/{what*}": rest}
operations:
  get: {group: read, grpc: "shop.v1.Cart/Get*"}
  pay: {group: write, grpc: shop.v1.Cart/Pay}
  all: {group: admin, grpc: "shop.v1.Cart/GetAll"}
  item: {group: read, aws: "DynamoDB_20120810.Get*"}
  drop: {group: delete, aws: DynamoDB_20120810.DeleteTable, facts: {body: {TableName: string}}}
  close: {group: delete, method: POST, path: "/issues/{n}", when: {body: {state: [closed, gone], "a.b": ~}}}
  change: {group: write, method: POST, path: "/issues/{n}", when: {body: {state: ~}}}
  touch: {group: admin, method: [POST, PUT], path: "/issues/{n}"}
"""


def files(folder: str) -> dict[str, bytes]:
    """The shipped files of a folder, by their names under ``rules/``."""
    return {f"{folder}/{path.name}": path.read_bytes() for path in sorted((RULES / folder).iterdir())}


def services() -> dict[str, bytes]:
    """The files of services: those that ship, and one that speaks what none of them speaks."""
    return files("services") | {"services/more.yaml": MORE}


@lru_cache(maxsize=2)
def shipped(*, everything: bool) -> RuleSet:
    """The services with the rules that ship; with ``everything``, with one that reads all there is."""
    curious = {
        "policies/all.cedar": b'@id("all") permit(principal, action, resource) when { context == context };'
    }
    loaded = load_rules(services() | (curious if everything else files("policies")), AGENTS)
    assert isinstance(loaded, RuleSet), [str(problem) for problem in loaded]
    return loaded


# -- octets --


class Made(NamedTuple):
    """A request, as a client makes it. ``path`` and ``query`` are as they stand in the target."""

    method: str
    origin: Origin
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None

    @property
    def target(self) -> str:
        """In origin-form."""
        return f"{self.path}?{self.query}" if self.query else self.path


def octets(made: Made, target: str = "", host: str = "") -> bytes:
    """The head of the request; ``target`` and ``host`` replace its own."""
    lines = [f"{made.method} {target or made.target} HTTP/1.1", f"Host: {host or made.origin.authority}"]
    lines += [f"{name}: {value}" for name, value in made.headers]
    lines += [] if made.body is None else [f"Content-Length: {len(made.body)}"]
    return "\r\n".join([*lines, "", ""]).encode("utf-8")


class Judged(NamedTuple):
    """What was made of a request: its acts, what is sent, the documents that were decided on, and the effect."""

    actions: tuple[reference.Does, ...]
    documents: tuple[bytes, ...]
    allowed: bool
    target: Target
    guarded: Guarded

    def sent(self, method: str, body: bytes | None) -> reference.Sent:
        """The request as it arrives at the server."""
        origin = self.target.origin
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in self.guarded.forward}
        target = self.target.request_target.decode()
        return reference.Sent(
            method, origin.scheme, origin.host.name, origin.port, target, headers, body or b""
        )


def judged(
    rules: RuleSet, head: bytes, body: bytes | None, tunnel: Origin | None, scopes: tuple[str, ...] = ()
) -> Judged | Refusal:
    """What gatepass makes of a request whose content is ``body``; ``tunnel``: where its connection leads."""
    parsed = parse_request(head)
    guarded = parsed if isinstance(parsed, Refusal) else guard_request(parsed)
    if isinstance(parsed, Refusal) or isinstance(guarded, Refusal):
        return parsed if isinstance(parsed, Refusal) else guarded
    target = _target(rules, parsed, tunnel)
    pairs = target if isinstance(target, Refusal) else query_pairs(target.query)
    if isinstance(target, Refusal) or isinstance(pairs, Refusal):
        return target if isinstance(target, Refusal) else pairs
    site = rules.site(target.origin)
    has_body = not isinstance(guarded.framing, NoBody)
    call = Call(parsed.method, target.path.text, pairs, guarded.forward, has_body, None)
    found = classify(call, site.service, site.needs, LIMIT)
    if isinstance(found, NeedBody):
        found = classify(call._replace(body=body or b""), site.service, site.needs, LIMIT)
    if isinstance(found, Refusal):
        return found
    assert not isinstance(found, NeedBody)
    kind = (first(guarded.forward, b"content-type") or b"").partition(b";")[0].strip().lower().decode("ascii")
    facts = RequestFacts(has_body, kind, tuple(name for name, _ in pairs), guarded.upgrade, 1_700_000_000)
    of = task(scopes=scopes, behalf="ada@example.org")
    rulings = [
        rules.decide(Question(CODER, of, right(of, *scopes), parsed.method, target, facts, act))
        for act in found.acts
    ]
    return Judged(
        tuple(reference.Does(act.operation.id, act.operation.group) for act in found.acts),
        tuple(ruling.input for ruling in rulings),
        all(isinstance(ruling.decision, Allow) for ruling in rulings),
        target,
        guarded,
    )


def _target(rules: RuleSet, head: RequestHead, tunnel: Origin | None) -> Target | Refusal:
    hosts = values(head.headers, b"host")
    target = parse_target(
        head.method, head.target, tunnel=tunnel, hosts=hosts, version=head.version, encoded_slash=True
    )
    if isinstance(target, Refusal) or "%2F" not in target.path.text:
        return target
    service = rules.site(target.origin).service
    if service is None or not service.encoded_slash:
        return Refusal(Code.TARGET_MALFORMED, "an encoded slash")
    return target


# -- a call to every operation --

_VALUES: Mapping[FactType, object] = {
    FactType.STRING: "zq", FactType.LONG: 7, FactType.BOOL: True, FactType.STRINGS: ["zq"]
}  # fmt: skip


def calls() -> Iterator[tuple[Operation, Made]]:
    """For every operation and method of the shipped services a request that is one."""
    for service in shipped(everything=True).catalogue.services:
        for operation in service.operations:
            for method in operation.methods or ("POST",):
                yield operation, _call(service, operation, method)


def _call(service: Service, operation: Operation, method: str) -> Made:
    host = parse_host(service.hosts[0].replace("*", "zq").encode())
    assert not isinstance(host, Refusal)
    origin = Origin(service.schemes[0], host, service.ports[0])
    if operation.selector is not None:
        return _selected(service, operation, origin)
    assert operation.template is not None
    query = {**_conditions(operation, Place.QUERY), **_required(operation, Place.QUERY)}
    body = _nested(_conditions(operation, Place.BODY)) | _body(operation)
    if operation.llm is not None:
        body |= {"model": "zq"}
    headers, data = ((("Content-Type", JSON),), _json(body)) if body else ((), None)
    return Made(method, origin, _fill(operation.template.text), urlencode(query), headers, data)


def _fill(template: str) -> str:
    parts = template.split("/")
    return "/".join(
        "zq/zr" if part.endswith("*}") else "zq" if part.startswith("{") else part for part in parts
    )


def _conditions(operation: Operation, place: Place) -> dict[str, object]:
    return {
        ".".join(one.path): one.values[0] if one.values else "zq"
        for one in operation.when
        if one.place is place
    }


def _required(operation: Operation, place: Place) -> dict[str, str]:
    texts = {FactType.LONG: "7", FactType.BOOL: "true"}
    fields = (field for field in operation.facts if field.place is place and field.required)
    return {".".join(field.path): texts.get(field.type, "zq") for field in fields}


def _nested(flat: Mapping[str, object]) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, value in flat.items():
        *outer, last = name.split(".")
        place = made
        for part in outer:
            inner = place.setdefault(part, {})
            assert isinstance(inner, dict)
            place = inner
        place[last] = value
    return made


def _body(operation: Operation, place: Place = Place.BODY) -> dict[str, object]:
    fields = [field for field in operation.facts if field.place is place and field.required]
    return _nested({".".join(field.path): _VALUES[field.type] for field in fields})


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _selected(service: Service, operation: Operation, origin: Origin) -> Made:
    selector = operation.selector
    assert selector is not None
    path = next((_fill(one.text) for one, spoken in service.endpoints if spoken is selector.protocol), "/")
    name = selector.pattern.replace("*", "zq")
    given = _body(operation, Place.INPUT)
    headers: tuple[tuple[str, str], ...] = (("Content-Type", JSON),)
    if selector.protocol is Protocol.MCP:
        kind, _, key = name.partition(":")
        params = {"name": key, "arguments": given} if kind == "tool" else {"uri": "zq", "name": "zq"}
        method = "tools/call" if kind == "tool" else key
        body = _json({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    elif selector.protocol is Protocol.GRAPHQL:
        kind, _, field = name.partition(".")
        arguments = f"({_literal(given)[1:-1]})" if given else ""
        body = _json({"query": f"{kind} {{ {field}{arguments} {{ id }} }}"})
    elif selector.protocol is Protocol.GRPC:
        headers, path, body = (("Content-Type", "application/grpc"),), f"/{name}", b"\0\0\0\0\0"
    elif selector.protocol is Protocol.AWS_QUERY:
        form = {"Action": name, "Version": "2011-06-15", **_required(operation, Place.BODY)}
        headers, body = (("Content-Type", FORM),), urlencode(form).encode()
    else:
        headers = (("Content-Type", "application/x-amz-json-1.0"), ("X-Amz-Target", name))
        body = _json(_body(operation))
    return Made("POST", origin, path, "", headers, body)


def _literal(value: object) -> str:
    """A value as it is written into GraphQL."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_literal(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)
