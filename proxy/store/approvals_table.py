"""Requests that wait for a person, on disk: one SQLite file (WAL, synchronous=FULL) for all processes.

A use of an approval is taken in a transaction of its own, durably, before anybody hears of it: two
sidecars that ask at once get two uses or one, never the same.
"""

import sqlite3
from base64 import b32encode
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from proxy.errors import Code, Refusal
from proxy.policy.approval import (
    Approval,
    Approver,
    Asked,
    Declined,
    Denial,
    Entry,
    Grant,
    Obstacle,
    State,
    Unanswered,
    Waiting,
    objection,
)
from proxy.store import approvals_history
from proxy.store.approvals_file import ApprovalConnection
from proxy.store.approvals_history import Event, Kind
from proxy.store.approvals_rows import COLUMNS, ApprovalStoreError, Row, entry_of, write_asked

__all__ = ["ApprovalStore", "ApprovalStoreError", "Event", "Kind", "Terms"]

KEEP_S = 30 * 86_400
_SOON_S = 60
_ALL = f"SELECT {COLUMNS} FROM requests "  # noqa: S608 - a constant
_ONE = _ALL + "WHERE id = ?"
_LIVE = _ALL + (
    "WHERE digest = ?1 AND (state IN ('waiting', 'denied') AND expires_at > ?2"
    " OR state = 'approved' AND granted_until > ?2)"
)
_LIST = _ALL + (
    "WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR task = ?2) ORDER BY asked_at DESC, id LIMIT ?3"
)
_OTHERS = _ALL + (
    "WHERE agent = ? AND url = ? AND method = ? AND state IN ('approved', 'used') ORDER BY answered_at DESC"
)
_INSERT = """
INSERT INTO requests (
    id, digest, agent, task, method, url, asked, asked_at, expires_at, separate_owner, state
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting')
"""
_STRICTER = "UPDATE requests SET separate_owner = 1 WHERE id = ?"
_WAITING = "SELECT count(*), min(expires_at) FROM requests WHERE state = 'waiting' AND agent = ?"
_USE = """
UPDATE requests SET used = used + 1, state = CASE WHEN used + 1 < uses THEN 'approved' ELSE 'used' END
WHERE id = ?1 AND state = 'approved' AND used < uses AND granted_until > ?2
"""
_GRANT = """
UPDATE requests SET state = 'approved', answered_by = ?2, answered_at = ?3, reason = ?4, uses = ?5,
    granted_until = ?6 WHERE id = ?1
"""
_DENY = """
UPDATE requests SET state = 'denied', answered_by = ?2, answered_at = ?3, reason = ?4,
    expires_at = max(expires_at, coalesce(granted_until, 0)), granted_until = NULL WHERE id = ?1
"""
_DUE = """
SELECT id, state, coalesce(granted_until, expires_at) AS due FROM requests
WHERE state = 'waiting' AND expires_at <= ?1 OR state = 'approved' AND granted_until <= ?1
ORDER BY due, id
"""
_OF_TASK = """
SELECT id, state, ?2 FROM requests WHERE task = ?1 AND state IN ('waiting', 'approved') ORDER BY asked_at, id
"""
_EXPIRE = "UPDATE requests SET state = 'expired' WHERE id = ?"
_WHY = {"waiting": "nobody answered in time", "approved": "it was not used in time"}


class Terms(NamedTuple):
    """How requests are kept: for how many seconds unanswered, how many of an agent, who may not answer."""

    expires: int
    queue: int
    separate_owner: bool


class ApprovalStore(ApprovalConnection):
    """The requests, what people have said of them, and what happened.

    One connection: use it from the thread that opened it. Times are POSIX seconds. Every method raises
    ``ApprovalStoreError`` if the file cannot be read or written.
    """

    # -- what sidecars do --

    def file(self, asked: Asked, now: int, terms: Terms) -> Waiting | Refusal:
        """Queue a request, or find it there; APPROVALS_FULL if too many of its agent wait."""
        with self._write() as connection:
            self._end(connection, connection.execute(_DUE, (now,)))
            found = self._one(_LIVE, asked.request_sha256, now)
            if found is not None:
                if terms.separate_owner and not found.separate_owner:
                    connection.execute(_STRICTER, (found.id,))
                return Waiting(found.id, found.granted_until or found.expires_at)
            waiting, first = connection.execute(_WAITING, (asked.agent,)).fetchone()
            if waiting >= terms.queue:
                words = f"{waiting} calls of {asked.agent} wait for approval already, and no more may"
                return Refusal(Code.APPROVALS_FULL, words, retry_after=max(1, min(first - now, _SOON_S)))
            approvals_history.forget(connection, now - KEEP_S)
            return self._insert(connection, asked, now, terms)

    def redeem(self, asked: Asked, now: int) -> Approval | Declined | None:
        """Take one use of an approval of exactly this request; None if there is none (any more)."""
        with self._read():
            found = self._one(_LIVE, asked.request_sha256, now)
        if found is None or not _same(found.asked, asked):
            return None
        if found.state is State.DENIED:
            return Declined(found.id, found.answered_by, found.reason)
        if found.state is not State.APPROVED:
            return None
        with self._write() as connection:
            if connection.execute(_USE, (found.id, now)).rowcount != 1:
                return None  # somebody else was quicker
            taken = self._sure(found.id)
            facts: dict[str, str | int] = {
                "use": taken.used,
                "uses": taken.uses,
                "approver": taken.answered_by,
            }
            approvals_history.tell(connection, found.id, Kind.USE, now, facts)
        assert taken.answered_at is not None
        assert taken.granted_until is not None
        times = taken.answered_at, taken.granted_until
        return Approval(
            taken.id, asked.request_sha256, taken.answered_by, *times, use=taken.used, uses=taken.uses
        )

    def expire(self, now: int) -> int:
        """End what nobody has answered, or used, in time; how many there were."""
        with self._read():
            if self._connection.execute(_DUE, (now,)).fetchone() is None:
                return 0  # no reason to hold up whoever writes
        with self._write() as connection:
            return self._end(connection, connection.execute(_DUE, (now,)))

    def withdraw(self, task: str, now: int) -> int:
        """A task is over: end what waits for it, and what it was allowed; how many there were."""
        with self._read():
            if self._connection.execute(_OF_TASK, (task, now)).fetchone() is None:
                return 0
        with self._write() as connection:
            return self._end(connection, connection.execute(_OF_TASK, (task, now)), "the task is over")

    # -- what people do --

    def answer(
        self, request_id: str, said: Grant | Denial, approver: Approver, now: int
    ) -> Entry | Unanswered:
        """A person's word on a request. An approval that is not used up can still be taken back by a no."""
        with self._write() as connection:
            self._end(connection, connection.execute(_DUE, (now,)))
            entry = self._one(_ONE, request_id)
            if entry is None:
                return Unanswered(Obstacle.UNKNOWN, f"no request {request_id} is known here")
            yes = isinstance(said, Grant)
            if entry.state is not State.WAITING and (yes or entry.state is not State.APPROVED):
                return Unanswered(Obstacle.OVER, f"{request_id} waits no more: {_fate(entry)}")
            words = objection(approver, entry.asked, separate_owner=yes and entry.separate_owner)
            if words is not None:
                return Unanswered(Obstacle.NOT_THEIRS, words)
            if isinstance(said, Grant):
                _grant(connection, request_id, said, approver, now)
            else:
                connection.execute(_DENY, (request_id, approver.id, now, said.reason))
                facts = {"approver": approver.id, "reason": said.reason}
                approvals_history.tell(connection, request_id, Kind.DENY, now, facts)
            return self._sure(request_id)

    def get(self, request_id: str) -> Entry | None:
        """The request with this id, or None."""
        with self._read():
            return self._one(_ONE, request_id)

    def list(
        self, state: State | None = None, *, task: str | None = None, limit: int = 1_000
    ) -> tuple[Entry, ...]:
        """The latest requests, those in a state, or of a task, the newest first."""
        with self._read():
            return tuple(map(entry_of, self._connection.execute(_LIST, (state, task, limit))))

    # -- what logs tell --

    def history(self, after: int, limit: int) -> tuple[Event, ...]:
        """At most ``limit`` events behind the number ``after``, in order."""
        with self._read():
            return approvals_history.page(self._connection, after, limit)

    def last(self) -> int:
        """The number of the last event."""
        with self._read():
            return approvals_history.last(self._connection)

    def recorded(self, log: str) -> int:
        """The number up to which this log has told everything; 0 for a log that never has."""
        with self._read():
            return approvals_history.recorded(self._connection, log)

    def set_recorded(self, log: str, seq: int) -> None:
        """Move a log's mark, never back."""
        with self._write() as connection:
            approvals_history.set_recorded(connection, log, seq)

    def _one(self, query: str, *given: str | int) -> Entry | None:
        row: Row | None = self._connection.execute(query, given).fetchone()
        return None if row is None else entry_of(row)

    def _sure(self, request_id: str) -> Entry:
        entry = self._one(_ONE, request_id)
        assert entry is not None, "it was there in this transaction"
        return entry

    def _insert(self, connection: sqlite3.Connection, asked: Asked, now: int, terms: Terms) -> Waiting:
        identity = _identity(asked, approvals_history.last(connection) + 1)
        expires_at = now + terms.expires
        place = asked.request_sha256, asked.agent, asked.task, asked.method, asked.url
        kept = write_asked(asked), asked.asked_at, expires_at, terms.separate_owner
        connection.execute(_INSERT, (identity, *place, *kept))
        approvals_history.tell(connection, identity, Kind.REQUEST, now, {})
        other = self._one(_OTHERS, asked.agent, asked.url, asked.method)
        return Waiting(identity, expires_at, "" if other is None else _note(asked, other))

    def _end(self, connection: sqlite3.Connection, due: Iterable[tuple[str, str, int]], why: str = "") -> int:
        ending = list(due)
        for identity, state, at in ending:
            connection.execute(_EXPIRE, (identity,))
            facts = {"state": state, "why": why or _WHY[state]}
            approvals_history.tell(connection, identity, Kind.EXPIRE, at, facts)
        return len(ending)


def _grant(
    connection: sqlite3.Connection, request_id: str, said: Grant, approver: Approver, now: int
) -> None:
    until = now + said.seconds
    connection.execute(_GRANT, (request_id, approver.id, now, said.reason, said.uses, until))
    facts: dict[str, str | int] = {"approver": approver.id, "reason": said.reason}
    facts |= {"uses": said.uses, "granted_until": until}
    approvals_history.tell(connection, request_id, Kind.GRANT, now, facts)


def _identity(asked: Asked, number: int) -> str:
    """A short name that nobody has to guess: it gives no right."""
    taken = sha256(f"{number} {asked.request_sha256}".encode()).digest()
    return f"ap-{b32encode(taken).decode('ascii')[:10].lower()}"


def _same(kept: Asked, asked: Asked) -> bool:
    """Whether these are one request. The digest says so already; it is only as good as whoever makes it."""
    return all(
        getattr(kept, name) == getattr(asked, name)
        for name in ("request_sha256", "agent", "chain", "task", "method", "url", "ruleset_sha256")
    )


def _note(asked: Asked, other: Entry) -> str:
    if other.asked.request_sha256 == asked.request_sha256:
        return f"the approval {other.id} of this request is used up"
    what = f"the approval {other.id} is of another {asked.method} of this URL"
    if other.asked.task != asked.task:
        return f"{what}, under another task"
    if other.asked.ruleset_sha256 != asked.ruleset_sha256:
        return f"{what}, under other rules"
    return f"{what}: query, header fields or body differ, and an approval holds for exactly one request"


def _fate(entry: Entry) -> str:
    match entry.state:
        case State.EXPIRED:
            return "its time is up; the agent has to ask again"
        case State.DENIED:
            return f"{entry.answered_by} has denied it"
        case State.USED:
            return f"{entry.answered_by} approved it, and it is used up"
        case _:
            return f"{entry.answered_by} has approved it"
