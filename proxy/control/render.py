"""Values as JSON members, for agents and operators. Times are RFC 3339 in UTC."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import orjson

from proxy.control.operations import Delegated, RevokeReport, TaskFacts
from proxy.identity.principal import Budgets, Task
from proxy.identity.revocation import Order
from proxy.policy.approval import Entry
from proxy.policy.service_budget import Unit
from proxy.policy.window import Left

Members = dict[str, object]

_HOW = (
    "Give the token and the variables to the agent that does the task. It sets HTTP_PROXY and HTTPS_PROXY to "
    "http://task:TOKEN@<the proxy address you use>, with this token in place of TOKEN, and the variables as "
    "they are: they hold its placeholders, and yours would be refused from it."
)


def dumps(members: Members) -> bytes:
    """The bytes of a JSON object."""
    return orjson.dumps(members)


def instant(seconds: int) -> str:
    """POSIX seconds as ``2027-01-15T08:00:00Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def precise_instant(nanoseconds: int) -> str:
    """POSIX nanoseconds, to the microsecond: ``2027-01-15T08:00:00.000001Z``."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{instant(seconds)[:-1]}.{rest // 1_000:06d}Z"


def budgets(value: Budgets) -> Members:
    """Budgets; null is no limit."""
    return {"requests": value.requests, "octets": value.octets}


def service_budgets(value: Mapping[str, Iterable[Left]]) -> Members:
    """Budgets of services, by service and name; ``window`` is in seconds."""
    return {
        service: {left.budget.name: _left(left) for left in budgets} for service, budgets in value.items()
    }


def _left(value: Left) -> Members:
    budget = value.budget
    return {
        "per": budget.per.value,
        "unit": "millionths of the currency" if budget.unit is Unit.COST else budget.unit.value,
        "limit": budget.limit,
        "left": value.left,
        "window": budget.window,
        "renews_at": instant(value.renews_at),
    }


def names(values: Iterable[str] | None) -> list[str] | None:
    """Names in order; null is no limit, empty is none."""
    return None if values is None else sorted(values)


def task(value: Task) -> Members:
    """A task in full."""
    return {
        "id": value.id,
        "agent": value.agent,
        "purpose": value.purpose,
        "ticket": value.ticket,
        "on_behalf_of": value.on_behalf_of,
        "approver": value.approver,
        "state": value.state.value,
        "environment": value.environment,
        "scopes": names(value.scopes),
        "services": names(value.services),
        "budgets": budgets(value.budgets),
        "depth": value.depth,
        "parent": value.parent,
        "issued_at": instant(value.issued_at),
        "expires_at": instant(value.expires_at),
        "manifest_sha256": value.manifest_sha256,
    }


def facts(value: TaskFacts) -> Members:
    """A task in full, where it stands and what is left of it."""
    chain = [{"task": link.id, "agent": link.agent, "state": link.state.value} for link in value.chain]
    return {**task(value.task), "chain": chain, "budgets_left": budgets(value.left)}


def delegated(value: Delegated) -> Members:
    """A task that has begun, with its secrets, for whoever asked for it."""
    return {
        "task": value.task.id,
        "agent": value.task.agent,
        "token": value.token,
        "expires_at": instant(value.task.expires_at),
        "scopes": names(value.task.scopes),
        "services": names(value.task.services),
        "budgets": budgets(value.task.budgets),
        "depth": value.task.depth,
        "placeholders": dict(value.placeholders),
        "variables": dict(value.variables),
        "how": _HOW,
    }


def order(value: Order) -> Members:
    """An order that holds."""
    return {
        "kind": value.kind.value,
        "id": value.id,
        "reason": value.reason,
        "ordered_by": value.ordered_by,
        "ordered_at": precise_instant(value.ordered_at_ns),
    }


def report(value: RevokeReport) -> Members:
    """What an order has reached."""
    return {
        "ordered_at": precise_instant(value.order_at_ns),
        "ended_tasks": value.ended_tasks,
        "connections": value.connections,
        "to_last_byte_us": value.to_last_byte_us,
        "leases": value.leases,
    }


def approval(value: Entry) -> Members:
    """A request for approval: all that an answer binds, and what has become of it; null: not answered."""
    asked = value.asked
    return {
        "id": value.id,
        "state": value.state.value,
        "agent": asked.agent,
        "task": asked.task,
        "purpose": asked.purpose,
        "chain": list(asked.chain),
        "owners": list(asked.owners),
        "method": asked.method,
        "url": asked.url,
        "actions": list(asked.actions),
        "facts": orjson.loads(asked.facts),
        "rules": list(asked.rules),
        "request_sha256": asked.request_sha256,
        "ruleset_sha256": asked.ruleset_sha256,
        "asked_at": instant(asked.asked_at),
        "expires_at": instant(value.expires_at),
        "separate_owner": value.separate_owner,
        "answered_by": value.answered_by or None,
        "answered_at": None if value.answered_at is None else instant(value.answered_at),
        "reason": value.reason,
        "uses": value.uses,
        "used": value.used,
        "granted_until": None if value.granted_until is None else instant(value.granted_until),
    }
