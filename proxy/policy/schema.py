"""The Cedar schema of a catalogue: every type and every action that rules can name.

Actions are ``http.GROUP`` for what is not catalogued and ``SERVICE.OPERATION`` for what is; each is in
one of the groups ``read``, ``write``, ``delete`` and ``admin``, and in the group of its service. Every
attribute is required, because reading one that is missing is an evaluation error, and an error in a
forbid would silence it; the exceptions are the fields that a service's file says are optional.

Every context has ``task``, ``request`` and ``facts``; that of a service with budgets ``budgets``, too. By
``Needs`` members of ``request`` and of ``facts``, ``facts`` if none are left, and ``approved`` are left
out: rules are validated by the full schema and evaluated by the pruned one, because Cedar's check of a
request grows with the schema.
"""

from collections.abc import Iterable, Mapping

from proxy.policy.catalogue import Service
from proxy.policy.fact_schema import PROTOCOL_TYPES, attribute, declared
from proxy.policy.needs import EVERYTHING, NOTHING, Needs
from proxy.policy.operation import UNCATALOGUED, Group, Operation

_ENTITIES = """\
// Generated from the catalogue (rules/services/*.yaml); for editors. gatepass makes its own at load.

// A level of trust of agents, from rules/agents.yaml: principal in Tier::"standard".
entity Tier;

entity Agent in [Tier] {
  environment: String,
  tier: String,
  business_owner: String,
  data_owner: String,
};

// An entry of the catalogue: resource in Service::"github".
entity Service;

// A host as it is asked for, or a wildcard of the catalogue: resource in Host::"*.example.com".
entity Host in [Service];

// Where a request goes: an origin, such as https://api.github.com. "service", "sensitivity" and
// "environments" are those of the catalogue; empty where "catalogued" is false.
entity Endpoint in [Host, Service] {
  scheme: String,
  host: String,
  port: Long,
  service: String,
  catalogued: Bool,
  sensitivity: String,
  environments: Set<String>,
};

entity Task {
  id: String,
  purpose: String,
  scopes: Set<String>,    // what is left of them along the chain of delegation
  environment: String,
  on_behalf_of: String,   // "" if nobody
  ticket: String,         // "" if there is none
  approver: String,       // "" if nobody
  delegated: Bool,        // another agent's task handed this one down
};
"""
_REQUEST = {
    "method": "String,",
    "path": "String,           // the canonical path, without query",
    "has_body": "Bool,",
    "content_type": 'String,   // without parameters, lower case; "" if there is none',
    "query_keys": "Set<String>,",
    "upgrade": 'String,        // "websocket" or ""',
    "time": "Long,             // POSIX seconds",
}
_BUDGET = """\
// One budget of a service: what is used of it so far, in its unit.
type Budget = {
  limit: Long,
  used: Long,
};
"""


class _Requests:
    """The types of ``context.request``: one for each set of members that is needed."""

    def __init__(self) -> None:
        self._names: dict[frozenset[str], str] = {}

    def name(self, members: frozenset[str]) -> str:
        count = len(self._names)
        return self._names.setdefault(members, f"Request{count or ''}")

    def text(self) -> Iterable[str]:
        for members, name in self._names.items():
            lines = [f"  {member}: {words}" for member, words in _REQUEST.items() if member in members]
            yield "\n".join([f"type {name} = {{", *lines, "};", ""])


def _context(operation: Operation, service: Service | None, needs: Needs, request: str) -> str:
    members = ["approved: Bool"] if needs.approval else []
    if service is not None and service.budgets:
        budgets = ", ".join(f"{budget.name}: Budget" for budget in service.budgets)
        members.append(f"budgets: {{{budgets}}}")
    if needs.facts:
        members.append(f"facts: {{{', '.join(_facts(operation, needs))}}}")
    members += [f"request: {request}", "task: Task"]
    return "{ " + ", ".join(members) + " }"


def _facts(operation: Operation, needs: Needs) -> Iterable[str]:
    for group in sorted(operation.fact_groups & needs.facts):
        if group in PROTOCOL_TYPES:
            yield f"{group}: {PROTOCOL_TYPES[group].name}"
        elif group == "path":
            assert operation.template is not None, "that is where the group comes from"
            names = operation.template.parameters
            yield f"path: {{{', '.join(attribute(name, 'String') for name in names)}}}"
        else:
            yield f"{group}: {declared(fact for fact in operation.facts if fact.place.value == group)}"


class _Actions:
    """Actions, service by service, and the types that they use."""

    def __init__(self) -> None:
        self._requests = _Requests()
        self._groups: set[str] = set()
        self._budgets = False
        self._lines: list[str] = [f"action {', '.join(Group)};"]

    def add(self, service: Service | None, told: Mapping[str, Needs] | None) -> None:
        """The actions of a service, or those of hosts that are in none."""
        operations = UNCATALOGUED if service is None else service.all_operations
        self._lines.append("")
        if service is not None:
            self._lines.append(f'action "{service.name}";')
            self._budgets |= bool(service.budgets)
        for operation in operations:
            needs = EVERYTHING if told is None else told.get(operation.id, NOTHING)
            self._groups |= operation.fact_groups & needs.facts
            context = _context(operation, service, needs, self._requests.name(needs.request))
            parents = f'"{operation.group}"' + ("" if service is None else f', "{service.name}"')
            applies = f"appliesTo {{ principal: Agent, resource: Endpoint, context: {context} }}"
            self._lines.append(f'action "{operation.id}" in [{parents}] {applies};')

    def text(self) -> str:
        """The whole schema."""
        facts = [kind.text for group, kind in PROTOCOL_TYPES.items() if group in self._groups]
        budgets = [_BUDGET] if self._budgets else []
        return "\n".join([_ENTITIES, *self._requests.text(), *budgets, *facts, *self._lines]) + "\n"


def schema_text(services: Iterable[Service], told: Mapping[str, Needs] | None = None) -> str:
    """The schema, in Cedar's own syntax. Services come in the order of their names.

    ``told`` says by the names of actions what is kept of the context, nothing where a name is missing;
    without it everything is.
    """
    actions = _Actions()
    for service in (None, *sorted(services, key=lambda service: service.name)):
        actions.add(service, told)
    return actions.text()


def service_schema(service: Service | None, told: Mapping[str, Needs] | None = None) -> str:
    """That part of the schema by which requests to one service (None: to no service) are evaluated."""
    actions = _Actions()
    actions.add(service, told)
    return actions.text()
