"""Services and operations that a log used and the catalogue does not have, as files to review.

A host of no service becomes a service of its own, exactly the origin that was used. What a service's file
does not name becomes an operation in the group that its built-in action had, so that rules on groups mean
the same. Paths are generalised by ``path_shape``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from proxy.errors import Refusal
from proxy.http.canonical import DEFAULT_PORT, Origin, parse_host
from proxy.policy.catalogue import Catalogue, Service
from proxy.policy.decision import Site
from proxy.policy.fact import Protocol
from proxy.policy.import_openapi import UNNAMED
from proxy.policy.matching import ambiguous
from proxy.policy.needs import NOTHING
from proxy.policy.operation import Group, Operation, by_method
from proxy.policy.path_shape import general, name_of, operation_name, shapes, unique
from proxy.policy.rebuilt import Past
from proxy.policy.rebuilt_act import Lacking, operations
from proxy.policy.recorded import RecordedCall, obj
from proxy.policy.service_file import parse_service
from proxy.policy.service_text import Plain, one_line, operation_line, service_text, with_operations
from proxy.policy.template import parse_template
from proxy.problems import LoadedYaml, load_yaml

PastOf = Callable[[RecordedCall], Past]
_SPOKEN = {"mcp": Protocol.MCP, "graphql": Protocol.GRAPHQL}
_PREFIXES = frozenset({"api", "www"})
_MAX_NAME = 48


class Extended(NamedTuple):
    """The files of services with what was missing, and how many calls each new operation stands for."""

    files: Mapping[str, bytes]
    added: Mapping[str, int]


@dataclass(slots=True)
class _Missing:
    """What one service lacks: REST calls by (method, path), other operations by their entry's name."""

    rest: dict[tuple[str, str], int] = field(default_factory=dict)
    named: dict[str, tuple[Mapping[str, Plain], int]] = field(default_factory=dict)
    endpoints: dict[str, Protocol] = field(default_factory=dict)
    calls: list[RecordedCall] = field(default_factory=list)


def origin_of(call: RecordedCall) -> Origin | None:
    """The origin of a recorded call."""
    name = f"[{call.host}]" if ":" in call.host else call.host
    host = parse_host(name.encode("utf-8"))
    return None if isinstance(host, Refusal) or not call.scheme else Origin(call.scheme, host, call.port)


def extend(calls: Iterable[RecordedCall], past: PastOf, files: Mapping[str, bytes]) -> Extended:
    """Add to these files what the calls used and no service names. What is there stays as it is written."""
    services = {
        name: parse_service(data, name) for name, data in files.items() if name.startswith("services/")
    }
    homes = {service.name: name for name, service in services.items() if isinstance(service, Service)}
    catalogue = Catalogue(service for service in services.values() if isinstance(service, Service))
    fresh: dict[Origin, _Missing] = {}
    lacking: dict[str, _Missing] = {}
    for call in calls:
        origin = origin_of(call)
        if origin is None:
            continue
        service = catalogue.find(origin)
        if service is None:
            _note(fresh.setdefault(origin, _Missing()), call)
        elif _unnamed(call, past(call), service, origin):
            _note(lacking.setdefault(service.name, _Missing()), call, service)
    result, added = dict(files), dict[str, int]()
    for name, missing in lacking.items():
        file = homes[name]
        known = next(one for one in catalogue.services if one.name == name)
        result[file] = _with(known, result[file], missing, added)
    taken = {service.name for service in catalogue.services}
    for origin in sorted(fresh, key=str):
        name = _free(_service_name(origin), taken)
        taken.add(name)
        result[f"services/{name}.yaml"] = _new(name, origin, fresh[origin], added)
    return Extended(result, added)


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def _unnamed(call: RecordedCall, past: Past, service: Service, origin: Origin) -> bool:
    """Whether some of the call is nothing that the service's file names."""
    before = None if past.catalogue is None else past.catalogue.find(origin)
    found = operations(call, call.caller.rulings, call.path, before, Site(service, NOTHING))
    return not isinstance(found, Lacking) and any(one not in service.operations for one in found)


def _note(missing: _Missing, call: RecordedCall, service: Service | None = None) -> None:
    """Remember what the call did, as an operation would name it."""
    missing.calls.append(call)
    spoken = _protocol(call, service)
    if spoken is Protocol.REST:
        key = call.method, call.path
        missing.rest[key] = missing.rest.get(key, 0) + 1
        return
    if service is None:
        missing.endpoints[general(call.path)] = spoken
    for name, entry in _entries(call, spoken):
        kept = missing.named.get(name, (entry, 0))
        missing.named[name] = kept[0], kept[1] + 1


def _protocol(call: RecordedCall, service: Service | None) -> Protocol:
    if service is not None:
        return service.protocol_at(call.path)
    return next((spoken for group, spoken in _SPOKEN.items() if group in call.facts), Protocol.REST)


def _entries(call: RecordedCall, spoken: Protocol) -> list[tuple[str, Mapping[str, Plain]]]:
    """Operations for what a message asks for, as far as the record tells."""
    found: list[tuple[str, Mapping[str, Plain]]] = []
    for said in call.caller.rulings:
        facts = {**call.facts, **obj(said.context.get("facts"))}
        match spoken:
            case Protocol.MCP:
                tool = obj(facts.get("mcp")).get("tool")
                if isinstance(tool, str) and tool:
                    found.append((operation_name(f"tool.{tool}"), {"group": Group.ADMIN.value, "tool": tool}))
            case Protocol.GRAPHQL:
                asked = obj(facts.get("graphql"))
                kind, fields = str(asked.get("operation")), asked.get("fields")
                group = Group.WRITE if kind == "mutation" else Group.READ
                found += [
                    (operation_name(f"{kind}.{name}"), {"group": group.value, "graphql": f"{kind}.{name}"})
                    for name in (fields if isinstance(fields, list) else [])
                ]
            case Protocol.GRPC:
                name = operation_name(call.path[1:].replace("/", "."))
                found.append((name, {"group": Group.ADMIN.value, "grpc": call.path[1:]}))
            case _:
                action = obj(facts.get("aws")).get("action")
                if isinstance(action, str) and action:
                    found.append(
                        (operation_name(f"call.{action}"), {"group": Group.ADMIN.value, "aws": action})
                    )
    return found


# -- text --


def _with(service: Service, data: bytes, missing: _Missing, added: dict[str, int]) -> bytes:
    """The file of a service with operations for what it lacks; unchanged if they find no place in it."""
    names = {operation.id.removeprefix(f"{service.name}.") for operation in service.operations}
    entries, lines, counts = dict[str, Plain](), dict[str, str](), dict[str, int]()
    for name, entry, count in _operations(missing, service.operations, names):
        entries[name], lines[name] = entry, operation_line(name, entry, _calls(count))
        counts[f"{service.name}.{name}"] = count
    text = data.decode("utf-8")
    for written in (with_operations(text, lines), _rewritten(text, entries)) if lines else ():
        if written is not None and isinstance(parse_service(written.encode("utf-8"), ""), Service):
            added.update(counts)
            return written.encode("utf-8")
    return data


def _rewritten(text: str, entries: Mapping[str, Plain]) -> str | None:
    """A file that is JSON, or otherwise in one line, written anew; it must have no comments to lose."""
    loaded = load_yaml(text.encode("utf-8"), "")
    if "#" in text or not isinstance(loaded, LoadedYaml) or not isinstance(loaded.data, dict):
        return None
    present = loaded.data.get("operations") or {}
    if not isinstance(present, dict) or not _plain(loaded.data):
        return None
    entry = cast("Mapping[str, Plain]", loaded.data)
    return service_text({**entry, "operations": {**cast("Mapping[str, Plain]", present), **entries}})


def _plain(value: object) -> bool:
    """Whether there are no fractions in it."""
    if isinstance(value, dict | list):
        return all(map(_plain, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float)


def _new(name: str, origin: Origin, missing: _Missing, added: dict[str, int]) -> bytes:
    entries: dict[str, Plain] = {}
    comments = {}
    for operation, entry, count in _operations(missing, (), set()):
        entries[operation], comments[operation] = entry, _calls(count)
        added[f"{name}.{operation}"] = count
    agents = [said.entity("Agent") for call in missing.calls for said in call.caller.rulings]
    written: dict[str, Plain] = {"name": name, "hosts": [str(origin.host)]}
    if origin.scheme != "https":
        written["schemes"] = [origin.scheme]
    if origin.port != DEFAULT_PORT[origin.scheme]:
        written["ports"] = [origin.port]
    written |= {
        "owner": _someone(agents, "business_owner"),
        "data_owner": _someone(agents, "data_owner"),
        "sensitivity": "internal",
        "environments": sorted(
            {
                str(said.entity("Task").get("environment") or "development")
                for call in missing.calls
                for said in call.caller.rulings
            }
        ),
    }
    if missing.endpoints:
        written["endpoints"] = {path: spoken.value for path, spoken in sorted(missing.endpoints.items())}
    head = (f"Used, and in no catalogue: {_calls(len(missing.calls))}. Review names, groups and owners.",)
    return service_text(written | {"operations": entries}, head=head, comments=comments).encode("utf-8")


def _operations(
    missing: _Missing, present: Sequence[Operation], taken: set[str]
) -> list[tuple[str, Mapping[str, Plain], int]]:
    """New operations: name, entry, calls; none with a taken name, or ambiguous beside ``present``."""
    counts: dict[tuple[str, str], int] = {}
    for key, template in shapes(missing.rest).items():
        counts[key[0], template] = counts.get((key[0], template), 0) + missing.rest[key]
    found: list[tuple[str, Mapping[str, Plain], int]] = []
    for (method, template), count in sorted(counts.items(), key=lambda item: (item[0][1], item[0][0])):
        if method == "HEAD" and ("GET", template) in counts:
            continue  # GET includes it
        probe = Operation(template, Group.READ, (method,), parse_template(template))
        if any(ambiguous((one, probe)) is not None for one in present):
            continue
        name = unique(name_of(method, template), taken)
        taken.add(name)
        found.append(
            (name, {"group": by_method(method).group.value, "method": method, "path": template}, count)
        )
    for name, (entry, count) in sorted(missing.named.items()):
        free = unique(name, taken)
        taken.add(free)
        found.append((free, entry, count))
    return found


def _calls(count: int) -> str:
    return f"{count} {'call' if count == 1 else 'calls'}"


def _someone(agents: Iterable[Mapping[str, object]], name: str) -> str:
    """Whoever answers for the agents that made the calls, if it is one."""
    named = {one_line(str(agent.get(name) or "")) for agent in agents} - {""}
    return named.pop() if len(named) == 1 else UNNAMED


def _service_name(origin: Origin) -> str:
    """``api.github.com`` becomes ``github``; an address or a name of one label stays."""
    labels = [label for label in origin.host.name.replace(":", "-").split(".") if label]
    if origin.host.kind.value == "name" and len(labels) > 1:
        labels = [label for label in labels[:-1] if label not in _PREFIXES] or labels[:-1]
    words = "".join(char if char.isascii() and char.isalnum() else "-" for char in "-".join(labels)).strip(
        "-"
    )
    taken = words in {*Group, "http", "gatepass"} or not words[:1].isalpha()
    return (f"host-{words}" if taken else words)[:_MAX_NAME].rstrip("-")
