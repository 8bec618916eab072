"""Finding one's way in an OpenAPI 3.0 or 3.1 document: references, servers, parameters, schemas.

Plain values in, plain values out; whatever has not the form that the specification gives it is absent.
Only references within the document are followed (``#/components/...``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from proxy.errors import Refusal
from proxy.http.canonical import DEFAULT_PORT, parse_authority, parse_path

Object: TypeAlias = Mapping[str, object]

METHODS = ("get", "head", "options", "post", "put", "patch", "delete")
NOT_RELAYED = ("trace", "query")
_MAX_REFERENCES = 16
_MAX_SERVERS = 64
_SIMPLE = {"string": "string", "integer": "long", "boolean": "bool"}


@dataclass(frozen=True, slots=True)
class Server:
    """One place where the API is: ``path`` is the canonical prefix of its paths, without a last slash."""

    scheme: str
    host: str
    port: int
    path: str


def obj(value: object) -> Object:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """The value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object) -> str:
    """The value if it is a string, else ``""``."""
    return value if isinstance(value, str) else ""


def resolve(document: Object, value: object) -> Object:
    """The object, behind its references (RFC 6901 pointers); empty if they lead nowhere or in a circle."""
    found = obj(value)
    for _ in range(_MAX_REFERENCES):
        reference = found.get("$ref")
        if not isinstance(reference, str):
            return found
        if not reference.startswith("#/"):
            return {}
        here: object = document
        for part in reference[2:].split("/"):
            here = obj(here).get(unquote(part).replace("~1", "/").replace("~0", "~"))
        found = obj(here)
    return {}


def servers(document: Object) -> tuple[list[Server], list[str]]:
    """The servers of the whole document, and what is wrong with the others. Variables take every value."""
    found: dict[Server, None] = {}
    problems = []
    for entry in map(obj, items(document.get("servers"))[:_MAX_SERVERS]):
        for url in _urls(entry):
            server = _server(url)
            if isinstance(server, Server):
                found[server] = None
            else:
                problems.append(f"server {url}: {server}")
    return list(found), problems


def _urls(entry: Object) -> Iterator[str]:
    """The URLs of one entry, its variables replaced by each of their values."""
    url, variables = text(entry.get("url")), obj(entry.get("variables"))
    names = [name for name in variables if f"{{{name}}}" in url]
    choices = []
    for name in names:
        variable = obj(variables[name])
        values = [value for value in items(variable.get("enum")) if isinstance(value, str)]
        choices.append(values or [text(variable.get("default"))])
    for number, chosen in enumerate(product(*choices)):
        if number >= _MAX_SERVERS:
            return
        filled = url
        for name, value in zip(names, chosen, strict=True):
            filled = filled.replace(f"{{{name}}}", value)
        yield filled


def _server(url: str) -> Server | str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "not a URL"
    if parts.scheme not in DEFAULT_PORT:
        return "not an http or https URL; say with --host where the API is"
    if "{" in url:
        return "it has variables without values"
    authority = parse_authority(parts.netloc.encode("utf-8"))
    if isinstance(authority, Refusal):
        return authority.detail
    path = parts.path.rstrip("/")
    canonical = parse_path((path or "/").encode("utf-8"))
    if isinstance(canonical, Refusal):
        return canonical.detail
    host, port = authority
    return Server(parts.scheme, host.name, port or DEFAULT_PORT[parts.scheme], canonical.text if path else "")


def simple_type(document: Object, schema: object) -> str | None:
    """The type that rules can read a field as, or None: string, long, bool or [string]; never nullable."""
    found = resolve(document, schema)
    kind = found.get("type")
    if isinstance(kind, list):  # 3.1
        kind = kind[0] if len(kind) == 1 else None
    if found.get("nullable") is True or not isinstance(kind, str):
        return None
    if kind == "array":
        return "[string]" if simple_type(document, found.get("items")) == "string" else None
    return _SIMPLE.get(kind)


def properties(document: Object, schema: object) -> tuple[dict[str, object], set[str]]:
    """The members that every object of this schema may have and must have; ``allOf`` is taken together."""
    members: dict[str, object] = {}
    required: set[str] = set()
    todo, seen = [schema], set[int]()
    while todo:
        found = resolve(document, todo.pop(0))
        if id(found) not in seen:  # each once: a document may refer in circles
            seen.add(id(found))
            members = {**obj(found.get("properties")), **members}
            required |= set(map(text, items(found.get("required"))))
            todo += items(found.get("allOf"))
    return members, required


def always_object(document: Object, schema: object) -> bool:
    """Whether every value of this schema is an object, and some of its members are named."""
    found = resolve(document, schema)
    said = found.get("type", "object")
    return (
        said in ("object", ["object"])
        and found.get("nullable") is not True
        and bool(properties(document, schema)[0])
    )


def parameters(document: Object, *holders: Object) -> dict[tuple[str, str], Object]:
    """The parameters of an operation by (in, name): its own before those of its path."""
    found: dict[tuple[str, str], Object] = {}
    for holder in holders:
        for entry in items(holder.get("parameters")):
            parameter = resolve(document, entry)
            key = text(parameter.get("in")), text(parameter.get("name"))
            found.setdefault(key, parameter)
    return found
