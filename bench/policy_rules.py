"""1,000 policies over 100 services, as a company would write them, and the agents they are about.

Every service has operations of REST with parameters in the path, and paths where MCP and GraphQL are spoken;
it has nine policies. Most permit, by scope, by purpose, by what path or content say; two forbid, one wants a
person's approval. The others are about hosts in no service, and four about everything.
"""

import json
from pathlib import Path

from proxy.identity.principal import Agent

SERVICES, HOSTS = 100, 96

EVERYWHERE = """\
@id("everywhere.low") @reason("Administration is for agents that are trusted more.")
forbid(principal, action in Action::"admin", resource) when { principal.tier == "low" };

@id("everywhere.production") @reason("Agents do not change what is in another environment only.")
forbid(principal, action in [Action::"write", Action::"delete", Action::"admin"], resource)
when { resource.catalogued && !resource.environments.contains(principal.environment) };

@id("everywhere.restricted") @reason("What is restricted is for agents that are trusted.")
forbid(principal, action, resource)
when { resource.sensitivity == "restricted" && principal.tier != "trusted" };

@id("everywhere.delegated") @reason("Deleting is not delegated.")
forbid(principal, action in Action::"delete", resource) when { context.task.delegated };
"""
EACH = """
@id("NAME.read")
permit(principal, action in Action::"read", resource in Service::"NAME")
when { context.task.scopes.contains("read") };

@id("NAME.issues.open")
permit(principal, action == Action::"NAME.issues.create", resource in Service::"NAME")
when { context.task.scopes.contains("issues") && context.facts.path.owner == "acme" };

@id("NAME.issues.comment")
permit(principal, action == Action::"NAME.issues.comment", resource in Service::"NAME")
when { context.task.scopes.contains("issues") && context.facts.path.repo like "team-*" };

@id("NAME.orders.small")
permit(principal, action == Action::"NAME.orders.create", resource in Service::"NAME")
when { context.task.purpose like "*order*" && context.facts.body.amount < 500 };

@id("NAME.tools")
permit(principal, action == Action::"NAME.search", resource in Service::"NAME")
when { context.task.scopes.contains("read") && context.facts.input.limit <= 100 };

@id("NAME.merge.approved")
permit(principal, action == Action::"NAME.merge", resource in Service::"NAME")
when { context.approved && context.task.scopes.contains("issues") };

@id("NAME.models")
permit(principal in Tier::"standard", action == Action::"NAME.chat", resource in Service::"NAME")
when { context.facts.llm.model == "small" && context.facts.llm.max_tokens <= 4096 };

@id("NAME.no-delete") @reason("Agents do not delete here.")
forbid(principal, action in Action::"delete", resource in Service::"NAME")
when { principal.tier != "trusted" };

@id("NAME.no-secrets") @reason("Secrets of a repository are for people.")
forbid(principal, action, resource in Service::"NAME")
when { context.request.path like "/repos/*/*/secrets*" };
"""
AT_HOST = """
@id("HOST.read")
permit(principal, action in Action::"read", resource in Host::"HOST")
when { principal.environment == "development" };
"""
_REPO = "/repos/{owner}/{repo}"
_OPERATIONS = {
    "repo.get": {"group": "read", "method": "GET", "path": _REPO},
    "issues.list": {"group": "read", "method": "GET", "path": f"{_REPO}/issues"},
    "issues.get": {"group": "read", "method": "GET", "path": f"{_REPO}/issues/{{number}}"},
    "issues.create": {"group": "write", "method": "POST", "path": f"{_REPO}/issues"},
    "issues.comment": {"group": "write", "method": "POST", "path": f"{_REPO}/issues/{{number}}/comments"},
    "merge": {"group": "admin", "method": "PUT", "path": f"{_REPO}/pulls/{{number}}/merge"},
    "repo.delete": {"group": "delete", "method": "DELETE", "path": _REPO},
    "orders.create": {
        "group": "write",
        "method": "POST",
        "path": "/orders",
        "facts": {"body": {"amount": "long", "currency": "string", "note?": "string"}},
    },
    "chat": {"group": "write", "method": "POST", "path": "/v1/chat/completions", "llm": "openai"},
    "search": {
        "group": "read",
        "tool": "search",
        "facts": {"input": {"query": "string", "limit": "long"}},
    },
    "repository": {"group": "read", "graphql": "query.repository"},
}


def agents() -> tuple[Agent, ...]:
    """Those who ask: each may delegate to the next."""
    owners = "owner@example.com", "data@example.com"
    return tuple(
        Agent(name, "development", "standard", *owners, "measured") for name in ("root", "middle", "bench")
    )


def host(number: int) -> str:
    """Where a service is."""
    return f"api-{number}.example.com"


def files(*, salt: str = "", budgets: bool = False) -> dict[str, bytes]:
    """The files of the rule set, without agents; another ``salt`` changes the digest and no meaning."""
    found = {"policies/everywhere.cedar": everywhere(salt)}
    for number in range(SERVICES):
        name = f"api-{number}"
        found[f"services/{name}.yaml"] = _service(name, host(number), budgets=budgets)
        found[f"policies/{name}.cedar"] = EACH.replace("NAME", name).encode()
    hosts = (f"docs-{number}.example.org" for number in range(HOSTS))
    found["policies/hosts.cedar"] = "".join(AT_HOST.replace("HOST", name) for name in hosts).encode()
    return found


def everywhere(salt: str) -> bytes:
    """The file of the policies about everything."""
    return f"// {salt}\n{EVERYWHERE}".encode()


def replace(path: Path, salt: str) -> None:
    """Put another such file in its place, at once."""
    new = path.with_suffix(".new")
    new.write_bytes(everywhere(salt))
    new.replace(path)


def _service(name: str, at: str, *, budgets: bool) -> bytes:
    entry: dict[str, object] = {
        "name": name,
        "hosts": [at],
        "owner": "owner@example.com",
        "data_owner": "data@example.com",
        "sensitivity": "internal",
        "environments": ["development", "production"],
        "endpoints": {"/mcp": "mcp", "/graphql": "graphql"},
        "operations": _OPERATIONS,
    }
    if budgets:
        entry["budgets"] = {
            "hourly": {"per": "task", "window": "1h", "requests": 1_000_000},
            "volume": {"per": "agent", "window": "1d", "octets": 1_000_000_000},
        }
    return json.dumps(entry, indent=2).encode()  # JSON is YAML 1.2
