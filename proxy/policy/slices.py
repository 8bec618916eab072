"""Slices of a rule set: for every service, and every host of none, exactly what could match there.

Cedar looks at every policy of a set, so a slice, and in it a set for each action, makes a decision quick;
and since a policy whose scope does not match is never evaluated, it decides as the whole set does, errors
included. What a slice's policies cannot read of a call is not in its schema, and so in no question to it.

Slices of services are made at load; those of other hosts that rules name when they are first asked for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cedarpy

from proxy.policy.catalogue import Catalogue, Service
from proxy.policy.document import canonical
from proxy.policy.needs import Needs
from proxy.policy.reads import needs
from proxy.policy.schema import service_schema
from proxy.policy.scope import Homes, Scope, names_of, operations_of, scope
from proxy.policy.statement import Policy

_MAX_HOSTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The policies that could match at ``service`` (None: at one host of none), ready to be evaluated.

    ``policy_sets`` are those of them that could match each action; actions with the same ones share a
    set. ``schema`` types what ``needs`` says, and nothing else.
    """

    service: Service | None
    policies: tuple[Policy, ...]
    needs: Needs
    policy_sets: Mapping[str, cedarpy.PolicySet]
    schema: cedarpy.Schema


def policies_text(policies: Iterable[Policy]) -> bytes:
    """Policies under their ids, in Cedar's JSON form: canonical JSON."""
    by_id = {policy.id: policy.json for policy in policies}
    return canonical({"staticPolicies": by_id, "templates": {}, "templateLinks": []})


def _policy_set(policies: Iterable[Policy]) -> cedarpy.PolicySet:
    """The same, as Cedar's handle. Other threads run meanwhile."""
    return cedarpy.PolicySet.from_json_str(policies_text(policies).decode("utf-8"), release_gil=True)


class _Sorted:
    """Policies sorted by where they could match."""

    def __init__(self, catalogue: Catalogue, policies: Sequence[Policy]) -> None:
        homes = Homes(catalogue)
        self._scopes = {policy.id: scope(policy) for policy in policies}
        self.anywhere: list[Policy] = []
        self._services: dict[str, list[Policy]] = {}
        self.hosts: dict[str, list[Policy]] = {}
        for policy in policies:
            resource = self._scopes[policy.id].resource
            services = homes.services(resource)
            if services is None or resource is None:
                self.anywhere.append(policy)
                continue
            for name in services:
                self._services.setdefault(name, []).append(policy)
            host = homes.host(resource)
            if host is not None:
                self.hosts.setdefault(host, []).append(policy)

    def service(self, service: Service) -> tuple[Policy, ...]:
        chosen = [*self.anywhere, *self._services.get(service.name, ())]
        return self._acting(chosen, names_of(operations_of(service), service))

    def host(self, name: str) -> tuple[Policy, ...]:
        return self._acting([*self.anywhere, *self.hosts.get(name, ())], names_of(operations_of(None), None))

    def every_host(self) -> tuple[Policy, ...]:
        some = [policy for policies in self.hosts.values() for policy in policies]
        return self._acting([*self.anywhere, *some], names_of(operations_of(None), None))

    def _acting(self, policies: Iterable[Policy], names: frozenset[str]) -> tuple[Policy, ...]:
        return tuple(policy for policy in policies if _speaks_of(self._scopes[policy.id], names))

    def sets(self, policies: Sequence[Policy], service: Service | None) -> Mapping[str, cedarpy.PolicySet]:
        """For every action there, those of ``policies`` that speak of it."""
        made: dict[tuple[str, ...], cedarpy.PolicySet] = {}
        found: dict[str, cedarpy.PolicySet] = {}
        for operation in operations_of(service):
            chosen = self._acting(policies, names_of([operation], service))
            names = tuple(policy.id for policy in chosen)
            if names not in made:
                made[names] = _policy_set(chosen)
            found[operation.id] = made[names]
        return found


def _speaks_of(reach: Scope, names: frozenset[str]) -> bool:
    return reach.actions is None or not reach.actions.isdisjoint(names)


class Slices:
    """All slices of a rule set. Hosts of no service share schema and needs, because they share actions."""

    def __init__(self, catalogue: Catalogue, policies: Sequence[Policy]) -> None:
        self._sorted = _Sorted(catalogue, policies)
        self._services = {service.name: self._of_service(service) for service in catalogue.services}
        self._needs = needs(self._sorted.every_host())
        self._schema = _schema(None, self._needs)
        self._elsewhere = self._of_host(self._sorted.host(""))
        self._host = lru_cache(maxsize=_MAX_HOSTS)(lambda name: self._of_host(self._sorted.host(name)))

    def _of_service(self, service: Service) -> Slice:
        chosen = self._sorted.service(service)
        wanted = needs(chosen)
        sets = self._sorted.sets(chosen, service)
        return Slice(service, chosen, wanted, sets, _schema(service, wanted))

    def _of_host(self, chosen: tuple[Policy, ...]) -> Slice:
        return Slice(None, chosen, self._needs, self._sorted.sets(chosen, None), self._schema)

    def at(self, service: Service | None, host: str) -> Slice:
        """The slice of ``service``, or of the host with this name if it is in none."""
        if service is not None:
            return self._services[service.name]
        return self._host(host) if host in self._sorted.hosts else self._elsewhere

    def needs(self) -> dict[str, Needs]:
        """What the rules read, by the name of the service; ``""`` is what is in none."""
        return {"": self._needs} | {name: found.needs for name, found in self._services.items()}


def _schema(service: Service | None, wanted: Needs) -> cedarpy.Schema:
    return cedarpy.Schema.from_str(service_schema(service, wanted), release_gil=True)
