"""Requests for approval as people and programs are shown them: a row each, all facts of one."""

import json
from datetime import UTC, datetime

from proxy.cli.duration import format_duration
from proxy.policy.approval import Entry, State

COLUMNS = ("id", "state", "waited", "agent", "request", "actions", "purpose")


def facts(entry: Entry, now: int) -> dict[str, object]:
    """Everything about a request: what an answer binds, and what has become of it."""
    asked = entry.asked
    return {
        "id": entry.id,
        "state": entry.state.value,
        "waited_s": waited(entry, now),
        "agent": asked.agent,
        "chain": list(asked.chain),
        "owners": list(asked.owners),
        "task": asked.task,
        "purpose": asked.purpose,
        "method": asked.method,
        "url": asked.url,
        "actions": list(asked.actions),
        "facts": json.loads(asked.facts),
        "rules": list(asked.rules),
        "request_sha256": asked.request_sha256,
        "ruleset_sha256": asked.ruleset_sha256,
        "asked": moment(asked.asked_at),
        "expires": moment(entry.expires_at),
        "separate_owner": entry.separate_owner,
        "answered": None if entry.answered_at is None else moment(entry.answered_at),
        "answered_by": entry.answered_by,
        "reason": entry.reason,
        "uses": entry.uses,
        "used": entry.used,
        "granted_until": None if entry.granted_until is None else moment(entry.granted_until),
    }


def row(entry: Entry, now: int) -> tuple[str, ...]:
    """A request, for people."""
    asked = entry.asked
    request = f"{asked.method} {asked.url}"
    times = format_duration(waited(entry, now))
    return entry.id, entry.state.value, times, asked.agent, request, " ".join(asked.actions), asked.purpose


def lines(entry: Entry, now: int) -> tuple[tuple[str, str], ...]:
    """Everything about a request, for people: names and words; what there is not is left out."""
    told = facts(entry, now) | {"waited_s": None, "waited": format_duration(waited(entry, now))}
    facts_of_acts = [one for one in json.loads(entry.asked.facts) if one]
    told["facts"] = " ".join(json.dumps(one, ensure_ascii=False) for one in facts_of_acts)
    told["chain"] = " > ".join(entry.asked.chain)
    told["separate_owner"] = "owners may not approve" if entry.separate_owner else None
    if not entry.uses:
        told |= {"uses": None, "used": None}
    return tuple(
        (name, " ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in told.items()
        if value not in (None, "", [])
    )


def words(entry: Entry) -> str:
    """What an answer came to, in one line."""
    request = f"{entry.asked.method} {entry.asked.url} of {entry.asked.agent}"
    if entry.state is State.DENIED:
        return f"denied {entry.id}: {request}, until {moment(entry.expires_at)}"
    assert entry.granted_until is not None, "an approval has an end"
    times = "once" if entry.uses == 1 else f"{entry.uses} times"
    return f"approved {entry.id}: {request}, {times} until {moment(entry.granted_until)}"


def waited(entry: Entry, now: int) -> int:
    """For how many seconds it has waited, or did until it was answered or its time was up."""
    end = now if entry.state is State.WAITING else entry.answered_at or entry.expires_at
    return max(min(end, entry.expires_at) - entry.asked.asked_at, 0)


def moment(seconds: int) -> str:
    """POSIX seconds as RFC 3339 says."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
