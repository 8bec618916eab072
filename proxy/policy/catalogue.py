"""The catalogue: which upstream APIs there are, who owns them, and which hosts are theirs.

A host pattern is a canonical host name or address, or ``*.example.com``: one or more labels below
``example.com``, never ``example.com`` itself. An exact name beats a wildcard, a longer wildcard a
shorter one. Scheme and port belong to it: ``http://api.example.com`` is not the service that lives
on ``https``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from proxy.credential.binding import Binding
from proxy.http.canonical import HostKind, Origin
from proxy.policy.builtin_operations import builtin_operations
from proxy.policy.fact import Protocol
from proxy.policy.matching import Endpoints, Matched, RestTable, Selectors
from proxy.policy.operation import UNCATALOGUED, Group, Operation, by_method
from proxy.policy.service_budget import Price, ServiceBudget
from proxy.policy.template import Template

Sensitivity = Literal["public", "internal", "confidential", "restricted"]
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Service:
    """One upstream API. ``operations`` have ids of the form ``name.operation``.

    ``protocol`` is spoken at every path but those of ``endpoints``. ``persisted_queries`` are the GraphQL
    documents that may be called by the SHA-256 (hex) of their text. The private tables are made from
    the rest.

    :raises Ambiguous: if two operations match the same requests.
    :raises ValueError: if two endpoints do.
    """

    name: str
    hosts: tuple[str, ...]
    schemes: tuple[str, ...]
    ports: tuple[int, ...]
    owner: str
    data_owner: str
    sensitivity: Sensitivity
    environments: tuple[str, ...]
    operations: tuple[Operation, ...]
    credential: Binding | None
    encoded_slash: bool = False  # paths may hold %2F, as data inside a segment
    protocol: Protocol = Protocol.REST
    endpoints: tuple[tuple[Template, Protocol], ...] = ()
    budgets: tuple[ServiceBudget, ...] = ()
    prices: tuple[Price, ...] = ()
    persisted_queries: Mapping[str, str] = field(default_factory=lambda: _NONE, hash=False)
    _rest: RestTable = field(init=False, compare=False, repr=False)
    _selectors: Selectors = field(init=False, compare=False, repr=False)
    _endpoints: Endpoints = field(init=False, compare=False, repr=False)
    _builtin: Mapping[str, Operation] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rest", RestTable(self.operations))
        object.__setattr__(self, "_selectors", Selectors(self.operations))
        object.__setattr__(self, "_endpoints", Endpoints(self.endpoints, self.protocol))
        object.__setattr__(self, "_builtin", builtin_operations(self.name, self.protocols))

    def origins(self) -> Iterable[tuple[str, int, str]]:
        """Every (scheme, port, host pattern) that is this service."""
        return ((scheme, port, host) for scheme in self.schemes for port in self.ports for host in self.hosts)

    @property
    def protocols(self) -> frozenset[Protocol]:
        """Everything that is spoken somewhere at this service."""
        return frozenset({self.protocol, *(spoken for _, spoken in self.endpoints)})

    @property
    def all_operations(self) -> tuple[Operation, ...]:
        """The declared operations, then the built-in ones of the protocols that are spoken."""
        return (*self.operations, *self._builtin.values())

    def protocol_at(self, path: str) -> Protocol:
        """What is spoken at a canonical path."""
        return self._endpoints.at(path)

    def rest_candidates(self, method: str, path: str) -> Matched | None:
        """The REST operations that ``method`` on a canonical path may be; None if there are none."""
        return self._rest.match(method, path)

    def select(self, protocol: Protocol, key: str) -> Operation | None:
        """The declared operation that ``key`` (see ``Selector``) names, or None."""
        return self._selectors.find(protocol, key)

    def builtin(self, name: str) -> Operation:
        """A built-in operation by its name without the service's: ``http.read``, ``mcp.session``.

        :raises KeyError: if there is none, because its protocol is not spoken here.
        """
        return self._builtin[name]

    def by_method(self, method: str) -> Operation:
        """What a REST request does that no operation matches: ``SERVICE.http.GROUP``."""
        return self._builtin[by_method(method).id]


def classify(service: Service | None, method: str, path: str) -> Operation:
    """What a request does as far as method and canonical path tell, without looking at conditions.

    An operation of ``service`` that has none, else its built-in one; ``http.GROUP`` without a service.
    """
    if service is None:
        return by_method(method)
    matched = service.rest_candidates(method, path)
    last = None if matched is None else matched.candidates[-1].operation
    return service.by_method(method) if last is None or last.when else last


class Overlap(ValueError):
    """Two services claim the same origin. ``services`` are their names."""

    def __init__(self, services: tuple[str, str], origin: str) -> None:
        super().__init__(f"{services[0]} and {services[1]} both claim {origin}")
        self.services = services


class Catalogue:
    """All services, ready to be looked up by origin.

    :raises Overlap: if two services claim the same origin.
    """

    __slots__ = ("_origins", "services")

    def __init__(self, services: Iterable[Service]) -> None:
        self.services = tuple(services)
        self._origins: dict[tuple[str, int, str], tuple[Service, str]] = {}
        for service in self.services:
            for key in service.origins():
                other = self._origins.setdefault(key, (service, key[2]))[0]
                if other is not service:
                    raise Overlap((other.name, service.name), f"{key[0]}://{key[2]}:{key[1]}")

    def locate(self, origin: Origin) -> tuple[Service, str] | None:
        """The service at ``origin`` and the host pattern by which it was found, or None."""
        scheme, port, name = origin.scheme, origin.port, origin.host.name
        found = self._origins.get((scheme, port, name))
        if found is not None or origin.host.kind is not HostKind.NAME:
            return found
        while found is None and "." in name:
            name = name.partition(".")[2]
            found = self._origins.get((scheme, port, f"*.{name}"))
        return found

    def find(self, origin: Origin) -> Service | None:
        """The service at ``origin``, or None if it is not catalogued."""
        found = self.locate(origin)
        return None if found is None else found[0]

    def actions(self) -> frozenset[str]:
        """Every name that ``Action::"..."`` may have: groups, services and operations."""
        known = {*Group, *(operation.id for operation in UNCATALOGUED)}
        for service in self.services:
            known |= {service.name, *(operation.id for operation in service.all_operations)}
        return frozenset(map(str, known))
