"""Cases for suggested permits: each of their operations as it was used, and one call that each just misses.

So what was learnt from the log is tested from now on. A case that would not hold, because the record does not
have the content it takes, is left out: of the content it has what rules read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import urlencode

from proxy.identity.known import KnownAgents
from proxy.policy.case_file import Case, parse_cases
from proxy.policy.cases import run
from proxy.policy.cedar import RuleSet
from proxy.policy.fact import Protocol
from proxy.policy.media import FORM
from proxy.policy.operation import Operation
from proxy.policy.recorded import Object, RecordedCall, obj
from proxy.policy.service_text import Plain, flow
from proxy.policy.suggest import Permit, Seen

FILE = "cases/suggested.yaml"

_HEAD = "# What was seen in the log, as tests of the permits that it led to.\ncases:\n"
_ELSEWHERE = "elsewhere"  # an environment that is none
_RPC = {"mcp.session": "ping", "mcp.list": "tools/list", "mcp.read": "resources/read"}


def cases_for(
    permits: Iterable[Permit], seen: Mapping[tuple[str, str], Seen], rules: RuleSet, agents: KnownAgents
) -> bytes | None:
    """A file of cases for these permits, or None. ``seen`` is a use by agent and operation."""
    known = {
        operation.id: operation
        for service in rules.catalogue.services
        for operation in service.all_operations
    }
    ids = [policy.id for policy in rules.policies]

    def holds(entry: Mapping[str, Plain]) -> bool:
        return _holds(entry, rules, agents, ids)

    kept = [entry for permit in permits for entry in _kept(permit, seen, known, holds)]
    return _text(kept).encode("utf-8") if kept else None


def _holds(entry: Mapping[str, Plain], rules: RuleSet, agents: KnownAgents, ids: list[str]) -> bool:
    cases = parse_cases(_text([entry]).encode("utf-8"), FILE)
    return all(isinstance(case, Case) and run(case, rules, agents, ids).passed for case in cases)


def _text(entries: Iterable[Mapping[str, Plain]]) -> str:
    lines = [f"  - {_lines(entry)}\n" for entry in entries]
    return _HEAD + "".join(lines)


def _lines(entry: Mapping[str, Plain]) -> str:
    return "\n    ".join(f"{name}: {flow(value)}" for name, value in entry.items())


def _kept(
    permit: Permit,
    seen: Mapping[tuple[str, str], Seen],
    known: Mapping[str, Operation],
    holds: Callable[[Mapping[str, Plain]], bool],
) -> Iterator[Mapping[str, Plain]]:
    """The cases of a permit that hold; the near miss is of the first of its operations that has one."""
    missed = False
    for action, _ in permit.actions:
        use, operation = seen.get((permit.agent, action)), known.get(action)
        request = None if use is None or operation is None else _request(operation, use)
        if use is None or request is None:
            continue
        entry = _entry(permit, action, use, request)
        if not holds(entry):
            continue
        yield entry
        other = {**entry, "name": f"not {entry['name']}", "task": _other(permit), "expect": "deny"}
        near = {name: value for name, value in other.items() if name not in ("rule", "action")}
        if not missed and holds(near):
            missed = True
            yield near


def _entry(permit: Permit, action: str, use: Seen, request: Mapping[str, Plain]) -> Mapping[str, Plain]:
    head: dict[str, Plain] = {"name": f"{permit.id}: {action}", "agent": permit.agent, "task": _task(permit)}
    if use[0].approved:
        head["approved"] = True
    return {**head, **request, "expect": "allow", "rule": permit.id, "action": action}


def _task(permit: Permit) -> Mapping[str, Plain]:
    scopes: dict[str, Plain] = {"scopes": permit.scopes} if permit.scopes else {}
    return {"environment": permit.environment, **scopes}


def _other(permit: Permit) -> Mapping[str, Plain]:
    """A task that the permit just misses: without its scopes, or somewhere else."""
    return {"environment": permit.environment if permit.scopes else _ELSEWHERE}


def _request(operation: Operation, use: Seen) -> Mapping[str, Plain] | None:
    """The request of a case, as far as it is recorded or can be made up."""
    call, facts = use[0], obj(use[1].context.get("facts"))
    url = call.url + _query(obj(facts.get("query")))
    selector, pattern = operation.selector, "" if operation.selector is None else operation.selector.pattern
    if operation.when or pattern.endswith("*"):
        return None
    if selector is None:
        return {"request": {"method": call.method, "url": url, **_content(call, obj(facts.get("body")))}}
    match selector.protocol:
        case Protocol.MCP:
            return _mcp(operation, call, pattern, obj(facts.get("input")))
        case Protocol.GRAPHQL:
            kind, _, name = pattern.partition(".")
            return {"graphql": {"url": call.url, "query": f"{kind} {{ {name} }}"}} if name else None
        case Protocol.GRPC:
            sent = {"method": "POST", "url": call.url, "content_type": "application/grpc", "body": ""}
            return {"request": sent}
    return None


def _query(facts: Object) -> str:
    """The query that a rule reads these values of."""
    pairs = [(name, _text_of(value)) for name, held in facts.items() for value in _listed(held)]
    return f"?{urlencode(pairs)}" if pairs else ""


def _content(call: RecordedCall, facts: Object) -> Mapping[str, Plain]:
    """The content that a rule reads these values of, in the type that it had."""
    if not facts:
        return {}
    if call.content_type != FORM:
        return {"json": cast("Plain", facts)}
    return {"form": {name: _text_of(value) for name, value in facts.items()}}


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _text_of(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _mcp(operation: Operation, call: RecordedCall, pattern: str, facts: Object) -> Mapping[str, Plain] | None:
    kind, _, name = pattern.partition(":")
    if kind == "tool":
        arguments: dict[str, Plain] = {"arguments": cast("Plain", facts)} if facts else {}
        return {"mcp": {"url": call.url, "tool": name, **arguments}}
    method = name if kind == "rpc" else _RPC.get(operation.id.partition(".")[2])
    if call.method != "POST" or method is None:
        return {"request": {"method": call.method, "url": call.url}}
    message: dict[str, Plain] = {"jsonrpc": "2.0", "id": 1, "method": method}
    if method == "resources/read":
        message["params"] = {"uri": "x:y"}
    return {"request": {"method": "POST", "url": call.url, "json": message}}
