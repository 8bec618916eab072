"""A service file out of an OpenAPI document (OpenAPI Specification 3.0 and 3.1).

(1) servers become hosts; (2) every path becomes a template, or is reported; (3) ``operationId`` becomes
the name; (4) ``x-gatepass-group`` or the method becomes the group; (5) required fields of simple types
become facts; (6) what would match the same requests as an operation before it is left out and reported.
Nothing of the document is trusted: the result is text for a person to review, and reads as a service.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from proxy.policy import openapi_document as openapi
from proxy.policy.matching import ambiguous
from proxy.policy.openapi_document import Object, Server, obj, resolve, text
from proxy.policy.operation import Group, Operation
from proxy.policy.path_shape import name_of, operation_name, unique
from proxy.policy.service_text import Plain, one_line, service_text
from proxy.policy.template import parse_template

UNNAMED = "to be named"
_GROUPS = {"get": Group.READ, "head": Group.READ, "options": Group.READ, "delete": Group.DELETE}
_BRACES = re.compile(r"\{([^{}]*)\}")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATOR = re.compile(r"[^A-Za-z0-9]*[/.][^A-Za-z0-9]*")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_CONTENT = ("application/json", "application/x-www-form-urlencoded")
_MAX_DEPTH = 3  # of nested objects that are looked into for fields
_MAX_NAME = 64
_TAKEN = frozenset({*Group, "http", "gatepass"})  # names that no service may have


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the document does not say. ``name`` None: from its title; ``hosts`` empty: from its servers.

    ``groups`` are (pattern of operation names, group); the first that fits wins over everything else.
    """

    name: str | None = None
    owner: str | None = None
    data_owner: str | None = None
    sensitivity: str = "internal"
    environments: tuple[str, ...] = ("development",)
    hosts: tuple[str, ...] = ()
    groups: tuple[tuple[str, Group], ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """A service file, how many operations it has, and what was left out of it, a line each."""

    name: str
    text: str
    operations: int
    skipped: tuple[str, ...]


@dataclass(slots=True)
class _Work:
    """What has been read so far."""

    document: Object
    wanted: Wanted
    entries: dict[str, Mapping[str, Plain]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    kept: dict[tuple[str, int], list[Operation]] = field(default_factory=dict)


def import_openapi(document: object, wanted: Wanted) -> Imported | str:
    """Make a service file, or say in words why there can be none. Never raises."""
    whole = obj(document)
    version = text(whole.get("openapi"))
    if not version.startswith(("3.0", "3.1")):
        found = f"it says {version or text(whole.get('swagger'))}" if version or "swagger" in whole else ""
        return "not an OpenAPI document of version 3.0 or 3.1" + (f": {found}" if found else "")
    work = _Work(whole, wanted)
    servers, problems = openapi.servers(whole)
    if not wanted.hosts:
        work.skipped += problems
    if not servers and not wanted.hosts:
        return "it names no server with a host; say with --host where the API is"
    prefix = _prefix(work, servers)
    for path, item in obj(whole.get("paths")).items():
        _path(work, prefix, str(path), resolve(whole, item))
    info = obj(whole.get("info"))
    name = wanted.name or _service_name(text(info.get("title")))
    entry = {**_head(work, name, servers, info), "operations": work.entries}
    head = (
        f"Imported from OpenAPI {version}: {one_line(text(info.get('title')))}. Review groups and owners.",
    )
    return Imported(name, service_text(entry, head=head), len(work.entries), tuple(work.skipped))


def _prefix(work: _Work, servers: Sequence[Server]) -> str:
    """The path that stands before every path: the first server's; servers with another are left out."""
    if not servers:
        return ""
    first = servers[0]
    for server in servers[1:]:
        if server.path != first.path:
            work.skipped.append(
                f"server {server.scheme}://{server.host}{server.path}: its paths begin with "
                f"{server.path or '/'}, those of the first server with {first.path or '/'}"
            )
    return first.path


def _head(work: _Work, name: str, servers: Sequence[Server], info: Object) -> dict[str, Plain]:
    """(1): everything above the operations."""
    wanted = work.wanted
    used = [server for server in servers if server.path == servers[0].path]
    contact = one_line(text(obj(info.get("contact")).get("email")))
    owner = wanted.owner or contact or UNNAMED
    entry: dict[str, Plain] = {"name": name, "hosts": wanted.hosts or _distinct(s.host for s in used)}
    if not wanted.hosts:
        schemes, ports = _distinct(s.scheme for s in used), sorted({s.port for s in used})
        if schemes != ["https"]:
            entry["schemes"] = schemes
        if ports != [443]:
            entry["ports"] = ports
    return entry | {
        "owner": owner,
        "data_owner": wanted.data_owner or owner,
        "sensitivity": wanted.sensitivity,
        "environments": wanted.environments,
    }


def _distinct(values: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _service_name(title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:_MAX_NAME].strip("-")
    if words.endswith("-api"):
        words = words.removesuffix("-api")
    free = words[:1].isalpha() and words not in _TAKEN
    return words if free else f"api-{words}"[:_MAX_NAME].rstrip("-")


def _path(work: _Work, prefix: str, path: str, item: Object) -> None:
    """All operations of one path."""
    for method in openapi.NOT_RELAYED:
        if method in item:
            work.skipped.append(f"{method.upper()} {path}: the method is not relayed")
    template = _template(prefix + path)
    for method in openapi.METHODS:
        operation = obj(item.get(method))
        if method not in item:
            continue
        what = f"{method.upper()} {path}"
        if template is None:
            work.skipped.append(f"{what}: a parameter shares its segment with other text")
        elif "servers" in item or "servers" in operation:
            work.skipped.append(f"{what}: it has servers of its own; give it a service of its own")
        else:
            _operation(work, method, template, item, operation, what)


def _template(path: str) -> str | None:
    """(2): the path with the names of its parameters as gatepass writes them; None if that cannot be."""
    segments, taken = [], set[str]()
    for segment in path.split("/"):
        match = _BRACES.fullmatch(segment)
        if match is None:
            if "{" in segment or "}" in segment:
                return None
            segments.append(segment)
            continue
        words = re.sub(r"[^a-z0-9_]+", "_", _CAMEL.sub("_", match[1]).lower()).strip("_")
        name = unique(words if words[:1].isalpha() else f"p_{words}".rstrip("_"), taken)
        taken.add(name)
        segments.append(f"{{{name}}}")
    return "/".join(segments)


def _operation(work: _Work, method: str, template: str, item: Object, operation: Object, what: str) -> None:
    """(3) to (6): one operation."""
    try:
        parsed = Operation(what, Group.READ, (method.upper(),), parse_template(template))
    except ValueError as error:
        work.skipped.append(f"{what}: {error}")
        return
    family = "get" if method == "head" else method
    others = work.kept.setdefault((family, template.count("/")), [])
    rival = next((other for other in others if ambiguous((other, parsed)) is not None), None)
    if rival is not None:
        work.skipped.append(f"{what}: it matches the same requests as {rival.id}")
        return
    others.append(parsed)
    name = unique(_name(operation, method, template), work.entries)
    facts = _facts(work, item, operation, what)
    entry: dict[str, Plain] = {"group": _group(work, name, method, item, operation, what)}
    entry |= {"method": method.upper(), "path": template}
    work.entries[name] = entry | ({"facts": facts} if facts else {})


def _name(operation: Object, method: str, template: str) -> str:
    """(3): ``repos/listForOrg`` becomes ``repos.list_for_org``; without an id, from path and method."""
    given = _SEPARATOR.sub(".", text(operation.get("operationId")))
    if not re.search(r"[A-Za-z]", given):
        return name_of(method, template)
    return operation_name(_CAMEL.sub("_", given))


def _group(work: _Work, name: str, method: str, item: Object, operation: Object, what: str) -> str:
    """(4)."""
    for pattern, group in work.wanted.groups:
        if fnmatchcase(name, pattern):
            return group.value
    for holder in (operation, item):
        said = holder.get("x-gatepass-group")
        if said in set(Group):
            return str(said)
        if said is not None:
            work.skipped.append(f"{what}: x-gatepass-group is none of {', '.join(Group)}")
    return _GROUPS.get(method, Group.WRITE).value


def _facts(work: _Work, item: Object, operation: Object, what: str) -> dict[str, Plain]:
    """(5)."""
    query: dict[str, Plain] = {}
    for (place, name), parameter in openapi.parameters(work.document, operation, item).items():
        if place == "query" and parameter.get("required") is True:
            kind = openapi.simple_type(work.document, parameter.get("schema"))
            if kind is None or _FIELD.fullmatch(name) is None:
                work.skipped.append(f"{what}: no fact for the query parameter {name!r}")
            else:
                query[name] = kind
    body = _body(work, operation, what)
    return {name: fields for name, fields in (("query", query), ("body", body)) if fields}


def _body(work: _Work, operation: Object, what: str) -> dict[str, Plain]:
    body = resolve(work.document, operation.get("requestBody"))
    content = obj(body.get("content"))
    schema = next((obj(content[kind]).get("schema") for kind in _CONTENT if kind in content), None)
    if schema is None or len(content) > 1:  # with a choice of formats, no field is always there
        return {}
    mark = "" if body.get("required") is True else "?"
    found: dict[str, Plain] = {}
    for name, kind in _fields(work.document, schema, (), 0):
        if kind is None:
            work.skipped.append(f"{what}: no fact for the field {name!r} of the content")
        else:
            found[name + mark] = kind
    return found


def _fields(
    document: Object, schema: object, above: tuple[str, ...], depth: int
) -> Iterator[tuple[str, str | None]]:
    """The required fields, nested ones with dots; None for those of no simple type."""
    members, required = openapi.properties(document, schema)
    for name in sorted(required & members.keys()):
        path = (*above, name)
        kind = openapi.simple_type(document, members[name])
        nested = openapi.always_object(document, members[name])
        if _FIELD.fullmatch(name) is None:
            yield ".".join(path), None
        elif kind is None and nested and depth < _MAX_DEPTH:
            yield from _fields(document, members[name], path, depth + 1)
        else:
            yield ".".join(path), kind
