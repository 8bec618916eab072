"""The catalogue: which upstream APIs there are, who owns them, and which hosts are theirs.

A host pattern is a canonical host name or address, or ``*.example.com``: one or more labels below
``example.com``, never ``example.com`` itself. An exact name beats a wildcard, a longer wildcard a
shorter one. Scheme and port belong to it: ``http://api.example.com`` is not the service that lives
on ``https``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from proxy.credential.binding import Binding
from proxy.http.canonical import HostKind, Origin
from proxy.policy.operation import Classifier, Operation, by_method

Sensitivity = Literal["public", "internal", "confidential", "restricted"]


@dataclass(frozen=True, slots=True)
class Service:
    """One upstream API. ``operations`` have ids of the form ``name.operation``.

    ``classifier`` is made from ``operations``.

    :raises ValueError: if two operations match the same requests.
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
    classifier: Classifier = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classifier", Classifier(self.operations))

    def origins(self) -> Iterable[tuple[str, int, str]]:
        """Every (scheme, port, host pattern) that is this service."""
        return ((scheme, port, host) for scheme in self.schemes for port in self.ports for host in self.hosts)


def classify(service: Service | None, method: str, path: str) -> Operation:
    """What ``method`` on the canonical ``path`` does: an operation of ``service``, else by its method."""
    return (service.classifier.match(method, path) if service is not None else None) or by_method(method)


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
