"""The Cedar schema of a catalogue: every type and every action that rules can name.

Actions are ``http.GROUP`` for what is not catalogued and ``SERVICE.OPERATION`` for what is; each is in
one of the groups ``read``, ``write``, ``delete`` and ``admin``. Every attribute is required, because
reading one that is missing is an evaluation error, and an error in a forbid would silence it.
"""

from collections.abc import Iterable

from proxy.policy.catalogue import Service
from proxy.policy.operation import UNCATALOGUED, Group, Operation

_TYPES = """\
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

// Where one request goes, in canonical form. "service", "sensitivity" and "environments" are those of
// the catalogue; empty where "catalogued" is false.
entity Endpoint in [Host, Service] {
  scheme: String,
  host: String,
  port: Long,
  path: String,
  service: String,
  catalogued: Bool,
  sensitivity: String,
  environments: Set<String>,
};

type Task = {
  id: String,
  purpose: String,
  scopes: Set<String>,    // what is left of them along the chain of delegation
  environment: String,
  on_behalf_of: String,   // "" if nobody
  ticket: String,         // "" if there is none
  approver: String,       // "" if nobody
  delegated: Bool,        // another agent's task handed this one down
};

type Request = {
  method: String,
  has_body: Bool,
  content_type: String,   // without parameters, lower case; "" if there is none
  query_keys: Set<String>,
  upgrade: String,        // "websocket" or ""
  time: Long,             // POSIX seconds
};

type Context = {
  task: Task,
  request: Request,
  approved: Bool,
};
"""


def _action(operation: Operation) -> str:
    applies = "appliesTo { principal: Agent, resource: Endpoint, context: Context }"
    return f'action "{operation.id}" in ["{operation.group}"] {applies};'


def schema_text(services: Iterable[Service]) -> str:
    """The schema, in Cedar's own syntax. Services come in the order of their names."""
    lines = [_TYPES, f"action {', '.join(Group)};", "", *map(_action, UNCATALOGUED)]
    for service in sorted(services, key=lambda service: service.name):
        if service.operations:
            lines += ["", *map(_action, service.operations)]
    return "\n".join(lines) + "\n"
