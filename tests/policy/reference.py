"""What a call does, told by the slowest and plainest reading of the service files: every entry is tried.

It shares nothing with ``proxy.policy`` but the files themselves. It reads what is *sent*, as a server would, and
leniently, in whichever way a ``Reader`` says: whether something had to be refused is not its business.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from graphql.language import (
    FieldNode,
    FragmentDefinitionNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    parse,
)
from ruamel.yaml import YAML

Document = Any
Pairs = list[tuple[str, str]]

_READ, _WRITE = ("GET", "HEAD", "OPTIONS"), ("POST", "PUT", "PATCH")
_METHODS = dict.fromkeys(_READ, "read") | dict.fromkeys(_WRITE, "write") | {"DELETE": "delete"}
_MCP = {
    **dict.fromkeys(("initialize", "server/discover", "ping"), "session"),
    **dict.fromkeys(("logging/setLevel", "completion/complete"), "session"),
    **dict.fromkeys(("tools/list", "resources/list", "resources/templates/list", "prompts/list"), "list"),
    **dict.fromkeys(("resources/read", "resources/subscribe", "resources/unsubscribe"), "read"),
    **dict.fromkeys(("prompts/get", "subscriptions/listen"), "read"),
}
_MCP_GROUP = {"session": "read", "list": "read", "read": "read", "reply": "write"}
_KEYS = {"graphql": "graphql", "grpc": "grpc", "aws-query": "aws", "aws-json": "aws"}  # names of selectors


class Sent(NamedTuple):
    """A request as it arrives at the server. ``target`` is in origin-form; names of headers are in lower case."""

    method: str
    scheme: str
    host: str
    port: int
    target: str
    headers: Mapping[str, str]
    body: bytes


class _Folded(dict[str, Any]):
    """An object whose names are read without regard to case."""

    def __init__(self, pairs: Pairs) -> None:
        super().__init__((name.casefold(), value) for name, value in pairs)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).casefold())

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.casefold())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.casefold(), default)


class Reader(NamedTuple):
    """How a server reads what stands twice or is spelled oddly.

    ``members`` makes an object of JSON members; ``last`` or the first of the values of a parameter counts.
    """

    members: Callable[[Pairs], Mapping[str, Any]] = dict
    last: bool = False
    folded: bool = False

    def values(self, name: str, pairs: Pairs) -> list[str]:
        """The one value that counts, or none."""
        same = str.casefold if self.folded else str
        found = [value for key, value in pairs if same(key) == same(name)]
        return found[-1:] if self.last else found[:1]

    def json(self, body: bytes) -> Document:
        """What the content says.

        :raises Unreadable: if it is no JSON.
        """
        try:
            return json.loads(body, object_pairs_hook=self.members)
        except ValueError as error:
            raise Unreadable(str(error)) from None


PLAIN = Reader()
READERS = (
    PLAIN,
    Reader(members=lambda pairs: dict(reversed(pairs)), last=True),
    Reader(members=_Folded, folded=True),
    Reader(members=lambda pairs: _Folded([*reversed(pairs)]), last=True, folded=True),
)


class Does(NamedTuple):
    """One thing that a request does."""

    action: str
    group: str


class Unreadable(Exception):
    """No server could make anything of it."""


def read_services(files: Iterable[bytes]) -> list[Document]:
    """Service files as they are written."""
    yaml = YAML(typ="safe", pure=True)
    return [yaml.load(data) for data in files]


def does(services: Sequence[Document], sent: Sent, reader: Reader = PLAIN) -> list[Does]:
    """Everything that the request does.

    :raises Unreadable: if there is no telling.
    """
    service = _service(services, sent)
    path, _, query = sent.target.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    if service is None:
        return [_by_method("", sent.method)]
    spoken = _spoken(service, path)
    if spoken == "rest":
        return [_rest(service, sent, path, pairs, reader)]
    if spoken == "mcp":
        return list(_mcp(service, sent, reader))
    if spoken == "graphql":
        return list(_graphql(service, sent, pairs, reader))
    if spoken == "grpc":
        return [_keyed(service, spoken, path.removeprefix("/"), "grpc.call", "admin")]
    form = pairs + parse_qsl(sent.body.decode("latin-1"), keep_blank_values=True)
    key = (
        "".join(reader.values("Action", form))
        if spoken == "aws-query"
        else sent.headers.get("x-amz-target", "")
    )
    return [_keyed(service, spoken, key, "aws.call", "admin")]


def _service(services: Sequence[Document], sent: Sent) -> Document:
    def fit(pattern: str) -> int:
        """How many characters of the host the pattern names; -1 if it is another host."""
        if pattern.startswith("*."):
            return len(pattern) - 1 if sent.host.endswith(pattern[1:]) else -1
        return len(sent.host) + 1 if pattern == sent.host else -1

    there = [
        (max(map(fit, service["hosts"])), service)
        for service in services
        if sent.scheme in service.get("schemes", ["https"])
        and sent.port in service.get("ports", [80 if sent.scheme == "http" else 443])
    ]
    best = max(there, key=lambda pair: pair[0], default=(-1, None))
    return best[1] if best[0] >= 0 else None


def _by_method(prefix: str, method: str) -> Does:
    group = _METHODS.get(method, "admin")
    return Does(f"{prefix}http.{group}", group)


# -- paths --


def _matches(template: str, path: str) -> bool:
    words = [
        ".*" if re.fullmatch(r"\{\w+\*\}", part) else "[^/]+" if part.startswith("{") else re.escape(part)
        for part in template.split("/")
    ]
    return re.fullmatch("/".join(words), path, re.DOTALL) is not None


def _vague(template: str) -> list[int]:
    """Of each segment how vague it is: smaller lists are of more specific templates."""
    return [2 if part.endswith("*}") else 1 if part.startswith("{") else 0 for part in template.split("/")]


def _spoken(service: Document, path: str) -> str:
    endpoints = service.get("endpoints", {})
    there = [(_vague(one), endpoints[one]) for one in endpoints if _matches(one, path)]
    if not there:  # with a slash at its end or without one it is the same place, unless it speaks REST
        other = path.removesuffix("/") if path.endswith("/") else f"{path}/"
        there = [(_vague(one), endpoints[one]) for one in endpoints if _matches(one, other)]
        there = [found for found in there if found[1] != "rest"]
    return str(min(there, default=([], service.get("protocol", "rest")))[1])


# -- REST --


def _text(value: Document) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _rest(service: Document, sent: Sent, path: str, query: Pairs, reader: Reader) -> Does:
    fitting = []
    for name, entry in service.get("operations", {}).items():
        methods = [entry["method"]] if isinstance(entry.get("method"), str) else entry.get("method", [])
        spelled = {*methods, "HEAD"} if "GET" in methods else methods
        if sent.method in spelled and _matches(entry["path"], path):
            when = entry.get("when", {})
            count = sum(len(conditions) for conditions in when.values())
            if all(_holds(place, when[place], query, sent, reader) for place in when):
                fitting.append((_vague(entry["path"]), -count, name, entry["group"]))
    if not fitting:
        return _by_method(f"{service['name']}.", sent.method)
    return Does(f"{service['name']}.{min(fitting)[2]}", min(fitting)[3])


def _holds(place: str, conditions: Document, query: Pairs, sent: Sent, reader: Reader) -> bool:
    for name, wanted in conditions.items():
        values = reader.values(name, query) if place == "query" else _inside(name, sent, reader)
        texts = [_text(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
        if not values or not (wanted is None or values[0] in texts):
            return False
    return True


def _inside(name: str, sent: Sent, reader: Reader) -> list[str]:
    """The value of a field of the content, if it is there: a form, or else JSON."""
    if "form" in sent.headers.get("content-type", ""):
        return reader.values(name, parse_qsl(sent.body.decode("latin-1"), keep_blank_values=True))
    value = reader.json(sent.body) if sent.body else None
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return []
        value = value[part]
    return [_text(value)]


# -- what a key names --


def _keyed(service: Document, spoken: str, key: str, otherwise: str, group: str) -> Does:
    """The operation with this very key, else the one with the longest prefix of it, else the built-in one."""
    fitting = []
    for name, entry in service.get("operations", {}).items():
        kind = next((kind for kind in ("tool", "rpc") if kind in entry), "")
        pattern = f"{kind}:{entry[kind]}" if kind else entry.get(_KEYS.get(spoken, ""), "")
        if pattern and (pattern == key or (pattern.endswith("*") and key.startswith(pattern[:-1]))):
            fitting.append((pattern == key, len(pattern), name, entry["group"]))
    if not fitting:
        return Does(f"{service['name']}.{otherwise}", group)
    _, _, name, group = max(fitting)
    return Does(f"{service['name']}.{name}", group)


def _mcp(service: Document, sent: Sent, reader: Reader) -> Iterator[Does]:
    if sent.method != "POST":
        told = "session" if sent.method in ("GET", "DELETE") else "other"
        yield Does(f"{service['name']}.mcp.{told}", _MCP_GROUP.get(told, "admin"))
        return
    document = reader.json(sent.body)
    for message in document if isinstance(document, list) else [document]:
        if not isinstance(message, Mapping):
            raise Unreadable("no message")
        method = message.get("method")
        if method is None:
            yield Does(f"{service['name']}.mcp.reply", "write")
        elif method == "tools/call":
            tool = (message.get("params") or {}).get("name")
            yield _keyed(service, "mcp", f"tool:{tool}", "mcp.call", "admin")
        else:
            told = "session" if str(method).startswith("notifications/") else _MCP.get(str(method), "other")
            yield _keyed(service, "mcp", f"rpc:{method}", f"mcp.{told}", _MCP_GROUP.get(told, "admin"))


def _graphql(service: Document, sent: Sent, query: Pairs, reader: Reader) -> Iterator[Does]:
    if sent.method in ("GET", "HEAD"):
        documents: Document = dict(query)
    else:
        documents = reader.json(sent.body)
    for document in documents if isinstance(documents, list) else [documents]:
        whole = parse(document["query"])
        operations = [one for one in whole.definitions if isinstance(one, OperationDefinitionNode)]
        wanted = document.get("operationName")
        run = next(one for one in operations if not wanted or (one.name and one.name.value == wanted))
        fragments = {
            one.name.value: one for one in whole.definitions if isinstance(one, FragmentDefinitionNode)
        }
        kind = run.operation.value
        for field in _roots(run, fragments):
            group = "write" if kind == "mutation" else "read"
            if field.startswith("__"):
                yield Does(f"{service['name']}.graphql.query", "read")
            else:
                yield _keyed(service, "graphql", f"{kind}.{field}", f"graphql.{kind}", group)


def _roots(node: Any, fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[str]:
    for selection in node.selection_set.selections:
        if isinstance(selection, FieldNode):
            yield selection.name.value
        elif isinstance(selection, InlineFragmentNode):
            yield from _roots(selection, fragments)
        else:
            yield from _roots(fragments[selection.name.value], fragments)
