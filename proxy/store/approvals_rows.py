"""Rows of the approvals file, as the requests they are.

What was asked is kept as one JSON object, and read back strictly: a row that is not what we write is a
fault, not another request.
"""

import json
from dataclasses import asdict, fields
from typing import Final

from proxy.policy.approval import Asked, Entry, State

Row = tuple[str, bytes, int, int, str, str, int | None, str, int, int, int | None]
COLUMNS: Final = (
    "id, asked, expires_at, separate_owner, state, answered_by, answered_at, reason, uses, used,"
    " granted_until"
)
_WORDS: Final = frozenset({"chain", "owners", "actions", "rules"})


class ApprovalStoreError(Exception):
    """The approvals cannot be read or written; the message says why."""


def write_asked(asked: Asked) -> bytes:
    """The request as JSON, all ASCII."""
    return json.dumps(asdict(asked), separators=(",", ":"), sort_keys=True).encode()


def read_asked(data: bytes) -> Asked:
    """The request that ``write_asked`` wrote.

    :raises ApprovalStoreError: if this is none.
    """
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ApprovalStoreError(f"a request in the file is not readable: {error}") from error
    if not isinstance(found, dict) or found.keys() != {field.name for field in fields(Asked)}:
        raise ApprovalStoreError("a request in the file has other members than a request has")
    members = {name: _member(name, value) for name, value in found.items()}
    return Asked(**members)  # type: ignore[arg-type]  # each has its type, see _member


def _member(name: str, value: object) -> str | int | tuple[str, ...]:
    if name in _WORDS:
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return tuple(value)
    elif name == "asked_at":
        if type(value) is int:
            return value
    elif isinstance(value, str):
        return value
    raise ApprovalStoreError(f"a request in the file has a strange {name}")


def entry_of(row: Row) -> Entry:
    """The request in a row of ``COLUMNS``.

    :raises ApprovalStoreError: if the row has been altered.
    """
    identity, asked, expires_at, separate, state, by, at, reason, uses, used, until = row
    return Entry(
        identity,
        read_asked(asked),
        expires_at,
        bool(separate),
        State(state),
        by,
        at,
        reason,
        uses,
        used,
        until,
    )
