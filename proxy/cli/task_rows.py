"""Tasks as people and programs are shown them: a row each, a tree on a terminal, all facts of one."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from proxy.identity.principal import Task
from proxy.store.tasks import Spent, StoredTask

COLUMNS = ("task", "agent", "state", "started", "expires", "purpose")
_BRANCH = "└ "


def facts(stored: StoredTask) -> dict[str, object]:
    """Everything that was agreed about a task, and its end."""
    task = stored.task
    return {
        "task": task.id,
        "agent": task.agent,
        "state": task.state.value,
        "purpose": task.purpose,
        "scopes": list(task.scopes),
        "services": None if task.services is None else list(task.services),
        "requests": task.budgets.requests,
        "octets": task.budgets.octets,
        "environment": task.environment,
        "on_behalf_of": task.on_behalf_of,
        "ticket": task.ticket,
        "approver": task.approver,
        "parent": task.parent,
        "depth": task.depth,
        "started": moment(task.issued_at),
        "started_by": stored.opened_by,
        "expires": moment(task.expires_at),
        "ended": None if stored.ended_at is None else moment(stored.ended_at),
        "ended_by": stored.ended_by,
        "reason": stored.reason,
        "manifest_sha256": task.manifest_sha256,
    }


def used(task: Task, spent: Spent | None) -> dict[str, object]:
    """What a task has used, as far as it was counted; a task without limits is not."""
    limited = task.budgets.requests is not None or task.budgets.octets is not None
    if spent is None and limited:
        spent = Spent(0, 0)
    return {
        "requests_used": None if spent is None else spent.requests,
        "octets_used": None if spent is None else spent.octets,
    }


def rows(found: Sequence[StoredTask], *, tree: bool) -> Iterator[tuple[str, ...]]:
    """A row for each task, in this order; ``tree``: each below the task that delegated it, and indented."""
    for level, stored in _below(found) if tree else ((0, stored) for stored in found):
        task = stored.task
        indent = "  " * (level - 1) + _BRANCH if level else ""
        times = moment(task.issued_at), moment(task.expires_at)
        yield (f"{indent}{task.id}", task.agent, task.state.value, *times, task.purpose)


def _below(found: Sequence[StoredTask]) -> Iterator[tuple[int, StoredTask]]:
    """Every task after its parent, with how deep it stands; without a parent in here it stands at the top."""
    there = {stored.task.id for stored in found}
    children: dict[str | None, list[StoredTask]] = {}
    for stored in found:
        parent = stored.task.parent
        children.setdefault(parent if parent in there else None, []).append(stored)
    waiting = [(0, stored) for stored in reversed(children.get(None, []))]
    while waiting:  # no recursion: a file that was tampered with may be deep
        level, stored = waiting.pop()
        yield level, stored
        waiting += [(level + 1, child) for child in reversed(children.get(stored.task.id, []))]


def moment(seconds: int) -> str:
    """POSIX seconds as RFC 3339 says."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
