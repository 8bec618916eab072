"""Cedar's strict validation of policies, each by the part of the schema that it could be evaluated by.

Cedar looks at every policy once for every action of a schema: a thousand policies and the actions of a
hundred services take it half a minute. A policy that could only match at one service, or only at hosts in
none, and names no action of another is never evaluated by more than that part (``slices``), and so is
validated by it. The others are validated by the whole.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import cedarpy

from proxy.policy.catalogue import Catalogue, Service
from proxy.policy.operation import Group
from proxy.policy.schema import service_schema
from proxy.policy.scope import Homes, names_of, operations_of, scope
from proxy.policy.statement import Policy
from proxy.problems import Problem

_POSITION = re.compile(r"policy(\d+)")
_POSITIONAL = re.compile(r"^for policy `policy\d+`, ")
_NO_SERVICE = ""  # in place of a name: hosts in no service
_NOWHERE = Problem("policies", None, "Cedar's validation failed without saying why")


def invalid(policies: Sequence[Policy], catalogue: Catalogue, schema: str) -> Iterator[Problem]:
    """What Cedar has against these policies, in their order. ``schema`` is the whole one of ``catalogue``."""
    parts = _Parts(catalogue)
    groups: dict[str | None, list[int]] = {}
    for index, policy in enumerate(policies):
        groups.setdefault(parts.home(policy), []).append(index)
    found: list[tuple[int, Problem]] = []
    for home, members in groups.items():
        text = schema if home is None else parts.schema(home)
        some = [policies[index] for index in members]
        found += [(members[at], problem) for at, problem in _validate(some, text)]
    return (problem for _, problem in sorted(found, key=lambda pair: pair[0]))


class _Parts:
    """The parts of a schema by the names of services; ``_NO_SERVICE`` is that of hosts in none."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._homes = Homes(catalogue)
        self._services: dict[str, Service | None] = {service.name: service for service in catalogue.services}
        self._services[_NO_SERVICE] = None
        self._known: Mapping[str, frozenset[str]] = {
            name: names_of(operations_of(service), service) | {*Group}
            for name, service in self._services.items()
        }
        self._owners = {
            action: name for name, actions in self._known.items() for action in actions - {*Group}
        }

    def home(self, policy: Policy) -> str | None:
        """The only part by which ``policy`` could be evaluated, if that is so and has all that it names."""
        reach = scope(policy)
        possible = self._of_resource(policy)
        if reach.actions is not None and reach.actions <= self._owners.keys():
            owners = {self._owners[action] for action in reach.actions}
            possible = owners if possible is None else possible & owners
        if possible is None or len(possible) != 1:
            return None
        (name,) = possible
        actions = {reference.id for reference in policy.references() if reference.type == "Action"}
        return name if name in self._known and actions <= self._known[name] else None

    def _of_resource(self, policy: Policy) -> set[str] | None:
        resource = scope(policy).resource
        services = self._homes.services(resource)
        if services is None or resource is None:
            return None
        return {*services} if self._homes.host(resource) is None else {*services, _NO_SERVICE}

    def schema(self, name: str) -> str:
        """That part, with everything that could be known of a call."""
        return service_schema(self._services[name])


def _validate(policies: Sequence[Policy], schema: str) -> Iterator[tuple[int, Problem]]:
    """Problems with the index of the policy; the policies are in order, so positions lead back to them."""
    text = "\n".join(policy.text for policy in policies)
    result = cedarpy.validate_policies(text, schema, release_gil=True)
    for error in result.errors:
        position = _POSITION.fullmatch(error.policy_id)
        words = _POSITIONAL.sub("", error.error)
        if position is None:
            yield 0, Problem("policies", None, words)
        else:
            policy = policies[int(position[1])]
            yield int(position[1]), Problem(policy.file, policy.line, f"{policy.id}: {words}")
    if not result.validation_passed and not result.errors:
        yield 0, _NOWHERE
