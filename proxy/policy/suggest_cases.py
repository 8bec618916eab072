"""Cases for suggested permits: each of their operations as it was used, and one call that each just misses.

So what was learnt from the log is tested from now on. A case that would not hold, because the record does not
have the content it takes, is left out.
"""

from collections.abc import Iterable, Iterator, Mapping

from proxy.identity.known import KnownAgents
from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cases import run
from proxy.policy.cedar import RuleSet
from proxy.policy.fact import Protocol
from proxy.policy.operation import Operation
from proxy.policy.service_text import Plain, flow
from proxy.policy.suggest import Permit

FILE = "cases/suggested.yaml"
Use = tuple[str, str]  # method and URL

_HEAD = "# What was seen in the log, as tests of the permits that it led to.\ncases:\n"
_ELSEWHERE = "elsewhere"  # an environment that is none
_RPC = {"mcp.session": "ping", "mcp.list": "tools/list", "mcp.read": "resources/read"}


def cases_for(
    permits: Iterable[Permit], seen: Mapping[tuple[str, str], Use], rules: RuleSet, agents: KnownAgents
) -> bytes | None:
    """A file of cases for these permits, or None. ``seen`` is a use (method, URL) by agent and operation."""
    known = {
        operation.id: operation
        for service in rules.catalogue.services
        for operation in service.all_operations
    }
    entries = [entry for permit in permits for entry in _entries(permit, seen, known)]
    ids = [policy.id for policy in rules.policies]
    kept = [entry for entry in entries if _holds(entry, rules, agents, ids)]
    return _text(kept).encode("utf-8") if kept else None


def _holds(entry: Mapping[str, Plain], rules: RuleSet, agents: KnownAgents, ids: list[str]) -> bool:
    cases = parse_cases(_text([entry]).encode("utf-8"), FILE)
    return all(isinstance(case, Case) and run(case, rules, agents, ids).passed for case in cases)


def _text(entries: Iterable[Mapping[str, Plain]]) -> str:
    lines = [f"  - {_lines(entry)}\n" for entry in entries]
    return _HEAD + "".join(lines)


def _lines(entry: Mapping[str, Plain]) -> str:
    return "\n    ".join(f"{name}: {flow(value)}" for name, value in entry.items())


def _entries(
    permit: Permit, seen: Mapping[tuple[str, str], Use], known: Mapping[str, Operation]
) -> Iterator[Mapping[str, Plain]]:
    task: dict[str, Plain] = {"environment": permit.environment}
    if permit.scopes:
        task["scopes"] = permit.scopes
    missed = False
    for action, _ in permit.actions:
        use, operation = seen.get((permit.agent, action)), known.get(action)
        request = None if use is None or operation is None else _request(operation, use)
        if request is None:
            continue
        head: dict[str, Plain] = {
            "name": f"{permit.id}: {action}",
            "agent": permit.agent,
            "task": task,
            **request,
        }
        if permit.approved:
            head["approved"] = True
        yield {**head, "expect": "allow", "rule": permit.id, "action": action}
        if not missed:
            missed = True
            yield {**head, "name": f"not {head['name']}", "task": _other(permit, task), "expect": "deny"}


def _other(permit: Permit, task: Mapping[str, Plain]) -> Mapping[str, Plain]:
    """A task that the permit just misses: without its scopes, or somewhere else."""
    if permit.scopes:
        return {"environment": permit.environment}
    return {**task, "environment": _ELSEWHERE}


def _request(operation: Operation, use: Use) -> Mapping[str, Plain] | None:
    """The request of a case, as far as it can be made up."""
    selector, pattern = operation.selector, "" if operation.selector is None else operation.selector.pattern
    if operation.when or pattern.endswith("*"):
        return None
    if selector is None:
        return {"request": {"method": use[0], "url": use[1]}}
    match selector.protocol:
        case Protocol.MCP:
            return _mcp(operation, use, pattern)
        case Protocol.GRAPHQL:
            kind, _, name = pattern.partition(".")
            return {"graphql": {"url": use[1], "query": f"{kind} {{ {name} }}"}} if name else None
        case Protocol.GRPC:
            sent = {"method": "POST", "url": use[1], "content_type": "application/grpc", "body": ""}
            return {"request": sent}
    return None


def _mcp(operation: Operation, use: Use, pattern: str) -> Mapping[str, Plain] | None:
    kind, _, name = pattern.partition(":")
    if kind == "tool":
        return {"mcp": {"url": use[1], "tool": name}}
    method = name if kind == "rpc" else _RPC.get(operation.id.partition(".")[2])
    if use[0] != "POST" or method is None:
        return {"request": {"method": use[0], "url": use[1]}}
    message: dict[str, Plain] = {"jsonrpc": "2.0", "id": 1, "method": method}
    if method == "resources/read":
        message["params"] = {"uri": "x:y"}
    return {"request": {"method": "POST", "url": use[1], "json": message}}
