"""The claims of a session token (RFC 7519, section 4, and RFC 8725, section 3).

A session token speaks for one agent in one task. All claims are required and no others are
accepted: a claim that is not understood could be a restriction.
"""

from dataclasses import dataclass

import orjson

MAX_SESSION_S = 30 * 24 * 3600  # longer delegations need a new task, not a longer token
MAX_NAME = 2048  # a SPIFFE ID is the longest name there is (SPIFFE-ID, section 2.3)
_NAMES = {
    "iss": "issuer",
    "sub": "subject",
    "aud": "audience",
    "jti": "token_id",
    "task": "task",
    "iat": "issued_at",
    "exp": "expires_at",
    "scope": "scopes",
}


@dataclass(frozen=True, slots=True)
class SessionClaims:
    """What a session token says. Times are POSIX seconds; nothing here is verified by itself.

    ``subject`` is the agent id, ``task`` the task id, ``scopes`` those of the task.
    """

    issuer: str
    subject: str
    audience: str
    token_id: str
    task: str
    issued_at: int
    expires_at: int
    scopes: tuple[str, ...]


def payload_of(claims: SessionClaims) -> bytes:
    """The claims as a JWT payload: JSON with sorted keys."""
    document = {claim: getattr(claims, field) for claim, field in _NAMES.items()}
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def parse_payload(payload: bytes) -> SessionClaims | None:
    """The claims of a JWT payload, or None if one is missing, unknown or of the wrong type."""
    try:
        document: object = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or document.keys() != _NAMES.keys():
        return None
    names = {claim: _name(document[claim]) for claim in ("iss", "sub", "aud", "jti", "task")}
    issued_at, expires_at = _time(document["iat"]), _time(document["exp"])
    scopes = _scopes(document["scope"])
    if issued_at is None or expires_at is None or scopes is None or not all(names.values()):
        return None
    return SessionClaims(
        issuer=names["iss"],
        subject=names["sub"],
        audience=names["aud"],
        token_id=names["jti"],
        task=names["task"],
        issued_at=issued_at,
        expires_at=expires_at,
        scopes=scopes,
    )


def _name(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_NAME else ""


def _time(value: object) -> int | None:
    # bool is an int in Python, and a float would compare; neither is a NumericDate of ours.
    return value if type(value) is int and value >= 0 else None


def _scopes(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(scope, str) and scope for scope in value):
        return None
    return tuple(value)
