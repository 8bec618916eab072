"""Reading a rule set: numbered checks, and every problem they find, not only the first.

(1) every file under ``policies/`` and ``services/`` is one that is read; (2) every service reads, and no
two claim a name or an origin; (3) every policy parses and has an ``@id`` of its own; (4) every agent,
tier, service and host that a policy names exists: a typing error in a forbid would open what it was
to close; (5) Cedar's strict validation against the schema of the catalogue.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cedarpy

from proxy.errors import Refusal
from proxy.http.canonical import parse_host
from proxy.identity.principal import Agent
from proxy.policy import builtin
from proxy.policy.catalogue import Catalogue, Overlap, Service
from proxy.policy.schema import schema_text
from proxy.policy.service_file import parse_service
from proxy.policy.statement import Policy, Reference, parse_policies
from proxy.problems import Problem

_POSITION = re.compile(r"policy(\d+)")
_POSITIONAL = re.compile(r"^for policy `policy\d+`, ")
_READ = {"policies": ".cedar", "services": ".yaml"}


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """A rule set without problems. ``policies`` include those of gatepass itself."""

    catalogue: Catalogue
    policies: tuple[Policy, ...]
    schema: str
    files: Mapping[str, bytes]


def _strangers(files: Mapping[str, bytes]) -> Iterator[Problem]:
    """(1): a file that looks like a rule but would not be read."""
    for name in files:
        folder, _, base = name.partition("/")
        suffix = _READ.get(folder)
        if suffix is None or base.startswith((".", "README")):
            continue
        if "/" in base or not base.endswith(suffix):
            yield Problem(
                name, None, f"not read: files in {folder}/ end with {suffix} and have no subfolders"
            )


def _of(files: Mapping[str, bytes], folder: str) -> list[str]:
    suffix = _READ[folder]
    return sorted(name for name in files if name.startswith(f"{folder}/") and name.endswith(suffix))


def _services(files: Mapping[str, bytes], problems: list[Problem]) -> Catalogue:
    """(2): the catalogue of those services that read."""
    found: dict[str, Service] = {}
    home: dict[str, str] = {}
    for name in _of(files, "services"):
        service = parse_service(files[name], name)
        if not isinstance(service, Service):
            problems += service
        elif service.name in found:
            problems.append(Problem(name, None, f"{home[service.name]} has a service {service.name} already"))
        else:
            found[service.name], home[service.name] = service, name
    try:
        return Catalogue(found.values())
    except Overlap as error:
        problems.append(Problem(home[error.services[1]], None, str(error)))
        return Catalogue(())


def _policies(files: Mapping[str, bytes], problems: list[Problem]) -> list[Policy]:
    """(3): the policies that parse, gatepass's own first."""
    found: dict[str, Policy] = {}
    texts = [(builtin.FILE, builtin.POLICIES), *((name, files[name]) for name in _of(files, "policies"))]
    for name, data in texts:
        for policy in parse_policies(data, name):
            if isinstance(policy, Problem):
                problems.append(policy)
            elif policy.id.startswith(builtin.PREFIX) and name != builtin.FILE:
                words = f'@id("{policy.id}"): names that start with {builtin.PREFIX} are taken'
                problems.append(Problem(name, policy.line, words))
            elif policy.id in found:
                first = found[policy.id]
                words = f'@id("{policy.id}") stands also in {first.file}:{first.line}'
                problems.append(Problem(name, policy.line, words))
            else:
                found[policy.id] = policy
    return list(found.values())


def _unknown(reference: Reference, known: Mapping[str, set[str]]) -> str | None:
    """(4): what is wrong with the name of an entity."""
    if reference.type == "Host":
        host = parse_host(reference.id.removeprefix("*.").encode("utf-8"))
        if isinstance(host, Refusal) or host.name != reference.id.removeprefix("*."):
            return f'Host::"{reference.id}" is not a canonical host name and can never match'
    elif reference.type in known and reference.id not in known[reference.type]:
        home = "services/" if reference.type == "Service" else "agents.yaml"
        return f'{reference.type}::"{reference.id}" is not in {home}'
    return None


def _names(
    policies: Sequence[Policy], catalogue: Catalogue, agents: Sequence[Agent] | None
) -> Iterator[Problem]:
    known = {"Service": {service.name for service in catalogue.services}}
    if agents is not None:
        known |= {"Agent": {agent.id for agent in agents}, "Tier": {agent.tier for agent in agents}}
    for policy in policies:
        for reference in sorted(policy.references()):
            words = _unknown(reference, known)
            if words is not None:
                yield Problem(policy.file, policy.line, f"{policy.id}: {words}")


def _validate(policies: Sequence[Policy], schema: str) -> Iterator[Problem]:
    """(5): Cedar's own validation, with the policies in order, so that positions lead back to them."""
    result = cedarpy.validate_policies("\n".join(policy.text for policy in policies), schema)
    for error in result.errors:
        position = _POSITION.fullmatch(error.policy_id)
        words = _POSITIONAL.sub("", error.error)
        if position is None:
            yield Problem("policies", None, words)
        else:
            policy = policies[int(position[1])]
            yield Problem(policy.file, policy.line, f"{policy.id}: {words}")
    if not result.validation_passed and not result.errors:
        yield Problem("policies", None, "Cedar's validation failed without saying why")


def check_rules(files: Mapping[str, bytes], agents: Sequence[Agent] | None) -> LoadedRules | list[Problem]:
    """Read and check a rule set. Never raises; what it returns on success passed every check."""
    problems = list(_strangers(files))
    catalogue = _services(files, problems)
    complete = not problems
    policies = _policies(files, problems)
    schema = schema_text(catalogue.services)
    if complete:  # with half a catalogue, each name of the other half would be one more problem
        problems += _names(policies, catalogue, agents)
    if not problems:
        problems += _validate(policies, schema)
    whole = {**files, builtin.FILE: builtin.POLICIES}
    return problems or LoadedRules(catalogue, tuple(policies), schema, whole)
