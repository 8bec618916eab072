"""A small rule set, and questions to it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cedarpy
import orjson

from proxy.errors import Refusal
from proxy.http.canonical import Target, parse_target
from proxy.identity.principal import Agent, Right, Task
from proxy.policy.catalogue import classify
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.content import Act
from proxy.policy.decision import Question, RequestFacts, Ruling

CODER = Agent("coder", "development", "standard", "ada@example.org", "grace@example.org")
AGENTS = (CODER, Agent("intern", "development", "low", "ada@example.org", "grace@example.org"))

TICKETS = b"""\
name: tickets
hosts: [tickets.example.org, "*.tickets.example.org"]
owner: support@example.org
data_owner: privacy@example.org
sensitivity: confidential
environments: [development]
operations:
  list: {group: read, method: GET, path: "/v1/tickets"}
  get: {group: read, method: GET, path: "/v1/tickets/{id}"}
  reply: {group: write, method: [POST, PUT], path: "/v1/tickets/{id}/replies"}
  export: {group: admin, method: POST, path: "/v1/export/{what*}"}
credential: {provider: env, name: TICKETS_KEY}
"""
POLICIES = b"""\
// what may be read
@id("tickets.read")
permit (principal in Tier::"standard", action in Action::"read", resource in Service::"tickets");

@id("tickets.reply") permit (principal, action == Action::"tickets.reply", resource)
when { context.task.scopes.contains("reply") };
@id("no_admin") @reason("Exports are made by people; ask one.")
forbid (principal, action in Action::"admin", resource);
@id("no_secrets") forbid (principal, action, resource) when { context.request.path like "*secret*" };
"""
PAY = b"""\
name: pay
hosts: [pay.example.org]
owner: finance@example.org
data_owner: finance@example.org
sensitivity: restricted
environments: [development, production]
operations:
  get: {group: read, method: GET, path: "/v1/charges/{id}"}
  charge: {group: write, method: POST, path: "/v1/charges", facts: {body: {amount: long, "note?": string}}}
budgets:
  hourly: {per: task, window: 1h, requests: 100}
  daily: {per: agent, window: 1d, octets: 5000000}
"""
GET = "https://tickets.example.org/v1/tickets"
FILES = {"services/tickets.yaml": TICKETS, "policies/tickets.cedar": POLICIES, "agents.yaml": b"agents: []\n"}


def rules(policies: bytes = POLICIES, **services: bytes) -> RuleSet:
    """The rule set of these policies, the service ``tickets`` and those given by name."""
    more = {f"services/{name}.yaml": data for name, data in services.items()}
    loaded = load_rules({**FILES, "policies/tickets.cedar": policies, **more}, AGENTS)
    assert isinstance(loaded, RuleSet), [str(problem) for problem in loaded]
    return loaded


def target(url: str, method: str = "GET") -> Target:
    host = url.split("/")[2]
    parsed = parse_target(method, url.encode(), tunnel=None, hosts=[host.encode()], version="1.1")
    assert not isinstance(parsed, Refusal), parsed
    return parsed


def task(
    environment: str = "development",
    scopes: tuple[str, ...] = (),
    behalf: str | None = None,
    *,
    ticket: str | None = None,
    approver: str | None = None,
    parent: str | None = None,
) -> Task:
    return Task(
        *("t-" + "a" * 26, "coder", "fix it", scopes, environment, 0, 3600, "0" * 64, behalf),
        ticket=ticket,
        approver=approver,
        parent=parent,
    )


def right(of: Task, *scopes: str) -> Right:
    """What is left of a task: these scopes."""
    return Right(frozenset(scopes), None, of.environment, of.expires_at)


def act(method: str, to: Target, within: RuleSet, facts: Mapping[str, object] | None = None) -> Act:
    """What the request does by method and path, with these facts."""
    operation = classify(within.catalogue.find(to.origin), method, to.path.text)
    return Act(operation, orjson.dumps(facts or {}, option=orjson.OPT_SORT_KEYS))


def ask(
    method: str,
    url: str,
    *,
    within: RuleSet | None = None,
    agent: Agent = CODER,
    of: Task | None = None,
    left: Right | None = None,
    keys: tuple[str, ...] = (),
    content_type: str = "",
    facts: Mapping[str, object] | None = None,
    budgets: Mapping[str, object] | None = None,
    approved: bool = False,
    time: int = 1_700_000_000,
) -> Question:
    """A question to ``within``, which says what the request does; default: the rules above."""
    request = RequestFacts(method == "POST", content_type, keys, "", time)
    of, to = of or task(), target(url, method)
    does = act(method, to, within or _default(), facts)
    used = orjson.dumps(budgets or {}, option=orjson.OPT_SORT_KEYS)
    left = left or right(of, *of.scopes)
    return Question(agent, of, left, method, to, request, does, used, approved)


@lru_cache(maxsize=1)
def _default() -> RuleSet:
    return rules()


def entity(ruling: Ruling, kind: str) -> dict[str, Any]:
    """The one entity of this type that was recorded."""
    (found,) = [one for one in orjson.loads(ruling.input)["entities"] if one["uid"]["type"] == kind]
    return found


def again(ruling: Ruling, ruleset: RuleSet) -> tuple[bool, tuple[str, ...]]:
    """The decision taken anew, from the record and the bundle alone."""
    document = orjson.loads(ruling.input)
    entities = document.pop("entities")
    policies = cedarpy.PolicySet.from_json_str(ruleset.bundle["policies.json"].decode())
    schema = ruleset.bundle["schema.cedarschema"].decode()
    answer = cedarpy.is_authorized(document, policies, entities, schema)
    allowed = answer.decision is cedarpy.Decision.Allow and not answer.diagnostics.errors
    return allowed, tuple(sorted(answer.diagnostics.reasons))
