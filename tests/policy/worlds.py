"""A small rule set, and questions to it."""

from proxy.errors import Refusal
from proxy.http.canonical import Target, parse_target
from proxy.identity.principal import Agent, Right, Task
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.decision import Question, RequestFacts

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
@id("no_secrets") forbid (principal, action, resource) when { resource.path like "*secret*" };
"""
FILES = {"services/tickets.yaml": TICKETS, "policies/tickets.cedar": POLICIES, "agents.yaml": b"agents: []\n"}


def rules(policies: bytes = POLICIES, **services: bytes) -> RuleSet:
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


def ask(
    method: str,
    url: str,
    *,
    agent: Agent = CODER,
    of: Task | None = None,
    left: Right | None = None,
    keys: tuple[str, ...] = (),
    content_type: str = "",
) -> Question:
    facts = RequestFacts(method == "POST", content_type, keys, "", 1_700_000_000)
    of = of or task()
    return Question(agent, of, left or right(of, *of.scopes), method, target(url, method), facts)
