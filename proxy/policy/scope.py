"""The scope of a policy: which actions and which endpoints it could ever speak of, from its JSON form (EST).

Conservative: a constraint that is not understood constrains nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.errors import Refusal
from proxy.http.canonical import DEFAULT_PORT, Host, Origin, parse_authority, parse_host
from proxy.policy.catalogue import Catalogue, Service
from proxy.policy.operation import UNCATALOGUED, Operation
from proxy.policy.statement import Policy, Reference


@dataclass(frozen=True, slots=True)
class Scope:
    """``actions``: the names of actions and groups, one of which must apply; None is any.

    ``resource``: the endpoint must be this or lie in it; None is any.
    """

    actions: frozenset[str] | None
    resource: Reference | None


def scope(policy: Policy) -> Scope:
    """What the head of a policy says about action and resource."""
    return Scope(_actions(policy.json.get("action")), _resource(policy.json.get("resource")))


def _actions(constraint: object) -> frozenset[str] | None:
    if not isinstance(constraint, dict) or constraint.get("op") not in ("==", "in"):
        return None
    listed = constraint.get("entities")
    found = [
        _reference(node) for node in (listed if isinstance(listed, list) else [constraint.get("entity")])
    ]
    names = [reference.id for reference in found if reference is not None]
    return frozenset(names) if len(names) == len(found) else None


def _resource(constraint: object) -> Reference | None:
    if not isinstance(constraint, dict):
        return None
    if constraint.get("op") == "is":
        within = constraint.get("in")
        return _reference(within.get("entity")) if isinstance(within, dict) else None
    return _reference(constraint.get("entity")) if constraint.get("op") in ("==", "in") else None


def _reference(node: object) -> Reference | None:
    if not isinstance(node, dict):
        return None
    kind, name = node.get("type"), node.get("id")
    return Reference(kind, name) if isinstance(kind, str) and isinstance(name, str) else None


def operations_of(service: Service | None) -> tuple[Operation, ...]:
    """Everything that can be done at ``service``; None: at a host of no service."""
    return UNCATALOGUED if service is None else service.all_operations


def names_of(operations: Iterable[Operation], service: Service | None) -> frozenset[str]:
    """Every name by which a policy can mean one of these operations of ``service``."""
    found = {name for operation in operations for name in (operation.id, str(operation.group))}
    return frozenset(found if service is None else found | {service.name})


def parse_origin(text: str) -> Origin | None:
    """The origin that is the id of an endpoint, if ``text`` is one in canonical form."""
    scheme, _, authority = text.partition("://")
    if scheme not in DEFAULT_PORT:
        return None
    parsed = parse_authority(authority.encode("utf-8"))
    if isinstance(parsed, Refusal):
        return None
    origin = Origin(scheme, parsed[0], parsed[1] or DEFAULT_PORT[scheme])
    return origin if str(origin) == text else None


def host_of(name: str) -> Host | None:
    """The host that is the id of an entity ``Host`` (an IPv6 address has no brackets), if it is canonical."""
    host = parse_host(f"[{name}]".encode() if ":" in name else name.encode("utf-8"))
    return None if isinstance(host, Refusal) or host.name != name else host


class Homes:
    """Where the endpoints are that a policy can speak of: at which services, at which other hosts."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._ways = {
            (scheme, port) for service in catalogue.services for scheme, port, _ in service.origins()
        }
        self._patterns: dict[str, set[str]] = {}
        for service in catalogue.services:
            for host in service.hosts:
                self._patterns.setdefault(host, set()).add(service.name)

    def services(self, resource: Reference | None) -> frozenset[str] | None:
        """The services of which some endpoint is ``resource`` or lies in it; None is any."""
        if resource is None:
            return None
        if resource.type == "Service":
            return frozenset({resource.id})
        if resource.type == "Endpoint":
            origin = parse_origin(resource.id)
            return frozenset() if origin is None else self._at([origin])
        if resource.type != "Host":
            return frozenset()
        host = host_of(resource.id)
        origins = () if host is None else (Origin(scheme, host, port) for scheme, port in self._ways)
        return self._at(origins) | self._patterns.get(resource.id, set())

    def _at(self, origins: Iterable[Origin]) -> frozenset[str]:
        found = (self._catalogue.find(origin) for origin in origins)
        return frozenset(service.name for service in found if service is not None)

    def host(self, resource: Reference) -> str | None:
        """The only host at which an endpoint of no service is ``resource`` or lies in it; None: nowhere.

        A host of the catalogue counts: at another scheme or port it is in no service.
        """
        if resource.type == "Endpoint":
            origin = parse_origin(resource.id)
            return origin.host.name if origin is not None and self._catalogue.find(origin) is None else None
        host = host_of(resource.id) if resource.type == "Host" else None
        return None if host is None else host.name
