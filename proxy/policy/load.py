"""Reading a rule set: numbered checks, and every problem they find, not only the first.

(1) every file under ``policies/`` and ``services/`` is one that is read; (2) every service reads, and no
two claim a name or an origin; (3) every policy parses and has an ``@id`` of its own; (4) every agent,
tier, service, action and host that a policy names exists: a typing error in a forbid would open what it
was to close; (5) Cedar's strict validation against the schema of the catalogue.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from difflib import get_close_matches

from proxy.identity.principal import Agent
from proxy.policy import builtin
from proxy.policy.catalogue import Catalogue, Overlap, Service
from proxy.policy.schema import schema_text
from proxy.policy.scope import host_of, parse_origin
from proxy.policy.service_file import parse_service
from proxy.policy.statement import Policy, Reference, parse_policies
from proxy.policy.validation import invalid
from proxy.problems import Problem

_READ = {"policies": ".cedar", "services": ".yaml"}


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """A rule set without problems. ``policies`` include those of gatepass itself; ``schema`` is whole.

    ``homes`` are the files of services by their names.
    """

    catalogue: Catalogue
    policies: tuple[Policy, ...]
    schema: str
    files: Mapping[str, bytes]
    homes: Mapping[str, str]


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


def _services(files: Mapping[str, bytes], problems: list[Problem]) -> tuple[Catalogue, dict[str, str]]:
    """(2): the catalogue of those services that read, and their files by their names."""
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
        return Catalogue(found.values()), home
    except Overlap as error:
        problems.append(Problem(home[error.services[1]], None, str(error)))
        return Catalogue(()), home


def _policies(files: Mapping[str, bytes], own: bytes, problems: list[Problem]) -> list[Policy]:
    """(3): the policies that parse, gatepass's ``own`` first."""
    found: dict[str, Policy] = {}
    texts = [(builtin.FILE, own), *((name, files[name]) for name in _of(files, "policies"))]
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


_HOME = {"Service": "services/", "Agent": "agents.yaml", "Tier": "agents.yaml"}


def _never(reference: Reference, patterns: AbstractSet[str]) -> str | None:
    """(4): why no endpoint is, or lies in, the named one, if that is so."""
    name = reference.id
    if reference.type == "Endpoint" and parse_origin(name) is None:
        return "is not an origin, such as https://api.example.com, and can never match"
    if reference.type == "Host" and name.startswith("*.") and host_of(name[2:]) is not None:
        if name not in patterns:
            return "is not a host of a service, and only those can be named with a wildcard"
    elif reference.type == "Host" and host_of(name) is None:
        return "is not a canonical host name and can never match"
    return None


def _unknown(
    reference: Reference, known: Mapping[str, AbstractSet[str]], patterns: AbstractSet[str]
) -> str | None:
    """(4): what is wrong with the name of an entity."""
    shown = f'{reference.type}::"{reference.id}"'
    names = known.get(reference.type)
    if names is None:
        never = _never(reference, patterns)
        return None if never is None else f"{shown} {never}"
    if reference.id in names:
        return None
    near = get_close_matches(reference.id, sorted(names), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if reference.type == "Action":
        return f"{shown} is no operation, service or group{hint}"
    return f"{shown} is not in {_HOME[reference.type]}{hint}"


def _names(
    policies: Sequence[Policy], catalogue: Catalogue, agents: Sequence[Agent] | None
) -> Iterator[Problem]:
    known: dict[str, AbstractSet[str]] = {
        "Service": {service.name for service in catalogue.services},
        "Action": catalogue.actions(),
    }
    if agents is not None:
        known |= {"Agent": {agent.id for agent in agents}, "Tier": {agent.tier for agent in agents}}
    patterns = {host for service in catalogue.services for host in service.hosts}
    for policy in policies:
        for reference in sorted(policy.references()):
            words = _unknown(reference, known, patterns)
            if words is not None:
                yield Problem(policy.file, policy.line, f"{policy.id}: {words}")


def check_rules(files: Mapping[str, bytes], agents: Sequence[Agent] | None) -> LoadedRules | list[Problem]:
    """Read and check a rule set. Never raises; what it returns on success passed every check."""
    problems = list(_strangers(files))
    catalogue, homes = _services(files, problems)
    complete = not problems
    own = builtin.policies(catalogue.services)
    policies = _policies(files, own, problems)
    schema = schema_text(catalogue.services)
    if complete:  # with half a catalogue, each name of the other half would be one more problem
        problems += _names(policies, catalogue, agents)
    if not problems:
        problems += invalid(policies, catalogue, schema)
    whole = {**files, builtin.FILE: own}
    return problems or LoadedRules(catalogue, tuple(policies), schema, whole, homes)
