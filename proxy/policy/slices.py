"""Slices of a rule set: for every service, and every host of none, exactly what could match there.

Cedar looks at every policy of a set, so a slice, and in it a set for each action, makes a decision quick;
and since a policy whose scope does not match is never evaluated, it decides as the whole set does, errors
included. What the policies for an action cannot read of a call is not in the schema of that action, and so in
no question about it: Cedar takes most of its time to read the context.

Slices of services are made at load; those of other hosts that rules name when they are first asked for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cedarpy

from proxy.policy.catalogue import Catalogue, Service
from proxy.policy.document import canonical
from proxy.policy.needs import Needs
from proxy.policy.reads import needs
from proxy.policy.recent import Recent
from proxy.policy.schema import service_schema
from proxy.policy.scope import Homes, Scope, names_of, operations_of, scope
from proxy.policy.statement import Policy, Reference

_MAX_HOSTS = 256
_ANY = {"op": "All"}


class Acting(NamedTuple):
    """The policies of a slice that could match one action, and what is told of a call to decide by them.

    ``needs`` has all groups of facts that are read at the slice, or none: what a call does is found out
    before these policies are chosen, and its facts come in one piece.
    """

    policies: cedarpy.PolicySet
    needs: Needs


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The policies that could match at ``service`` (None: at one host of none), ready to be evaluated.

    ``needs`` is what all of them read, ``acting`` has each action by its name; actions with the same policies
    share a set. ``schema`` types what the ``needs`` of each action say, and nothing else.
    """

    service: Service | None
    policies: tuple[Policy, ...]
    needs: Needs
    acting: Mapping[str, Acting]
    schema: cedarpy.Schema


def policies_text(policies: Iterable[Policy]) -> bytes:
    """Policies under their ids, in Cedar's JSON form: canonical JSON, written piece by piece.

    A thousand at once would take 10 ms, and nobody else gets a turn meanwhile.
    """
    by_id = {policy.id: policy.json for policy in policies}
    members = [b"%s:%s" % (canonical(name), canonical(by_id[name])) for name in sorted(by_id)]
    return b'{"staticPolicies":{%s},"templateLinks":[],"templates":{}}' % b",".join(members)


def _policy_set(policies: Iterable[Policy], service: Service | None) -> cedarpy.PolicySet:
    """Policies for one action of ``service``, as Cedar's handle. Other threads run meanwhile.

    What of a scope is true of every such call is left out, and so are annotations: they cost time.
    """
    by_id = {policy.id: _within(policy, service) for policy in policies}
    text = canonical({"staticPolicies": by_id, "templates": {}, "templateLinks": []})
    return cedarpy.PolicySet.from_json_str(text.decode("utf-8"), release_gil=True)


def _within(policy: Policy, service: Service | None) -> dict[str, object]:
    """The policy as it is evaluated for an action that its scope speaks of, at ``service``."""
    reach = scope(policy)
    found = {name: part for name, part in policy.json.items() if name != "annotations"}
    if reach.actions is not None:
        found["action"] = _ANY
    if service is not None and reach.resource == Reference("Service", service.name):
        found["resource"] = _ANY
    return found


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

    def acting(
        self, policies: Sequence[Policy], service: Service | None, read: frozenset[str]
    ) -> Mapping[str, Acting]:
        """For every action there, those of ``policies`` that speak of it; ``read`` is of all of them."""
        made: dict[tuple[str, ...], Acting] = {}
        found: dict[str, Acting] = {}
        for operation in operations_of(service):
            chosen = self._acting(policies, names_of([operation], service))
            names = tuple(policy.id for policy in chosen)
            if names not in made:
                wanted = needs(chosen)
                told = replace(wanted, facts=read) if wanted.facts else wanted
                made[names] = Acting(_policy_set(chosen, service), told)
            found[operation.id] = made[names]
        return found


def _speaks_of(reach: Scope, names: frozenset[str]) -> bool:
    return reach.actions is None or not reach.actions.isdisjoint(names)


class Slices:
    """All slices of a rule set. Hosts of no service share schema and needs, because they share actions."""

    def __init__(self, catalogue: Catalogue, policies: Sequence[Policy]) -> None:
        self._sorted = _Sorted(catalogue, policies)
        self._services = {service.name: self._of_service(service) for service in catalogue.services}
        every = self._sorted.every_host()
        self._needs = needs(every)
        self._hosts = self._sorted.acting(every, None, self._needs.facts)
        self._schema = _schema(None, _told(self._hosts))
        self._elsewhere = self._of_host(self._sorted.host(""))
        self._named: Recent[str, Slice] = Recent(_MAX_HOSTS)

    def _of_service(self, service: Service) -> Slice:
        chosen = self._sorted.service(service)
        wanted = needs(chosen)
        acting = self._sorted.acting(chosen, service, wanted.facts)
        return Slice(service, chosen, wanted, acting, _schema(service, _told(acting)))

    def _of_host(self, chosen: tuple[Policy, ...]) -> Slice:
        here = self._sorted.acting(chosen, None, self._needs.facts)
        acting = {name: one._replace(needs=self._hosts[name].needs) for name, one in here.items()}
        return Slice(None, chosen, self._needs, acting, self._schema)

    def at(self, service: Service | None, host: str) -> Slice:
        """The slice of ``service``, or of the host with this name if it is in none."""
        if service is not None:
            return self._services[service.name]
        if host not in self._sorted.hosts:
            return self._elsewhere
        found = self._named.get(host)
        if found is None:
            found = self._of_host(self._sorted.host(host))
            self._named.keep(host, found)
        return found

    def __iter__(self) -> Iterator[Slice]:
        """Those that were made at load."""
        yield from self._services.values()
        yield self._elsewhere

    def needs(self) -> dict[str, Needs]:
        """What is told of a call to decide on it, by the names of actions."""
        found = _told(self._hosts)
        for one in self._services.values():
            found |= _told(one.acting)
        return found


def _told(acting: Mapping[str, Acting]) -> dict[str, Needs]:
    return {name: one.needs for name, one in acting.items()}


def _schema(service: Service | None, told: Mapping[str, Needs]) -> cedarpy.Schema:
    return cedarpy.Schema.from_str(service_schema(service, told), release_gil=True)
