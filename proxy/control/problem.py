"""What the control API says no with: problem details, RFC 9457.

The codes are the API's own; those of ``proxy.errors`` are about an agent's calls. ``detail`` may quote what
somebody sent, so it is escaped, and none of it says what went wrong inside.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import orjson

from proxy.http.problem import printable


class _Row(NamedTuple):
    status: int
    title: str


class Why(Enum):
    """Why the control API does not do what it was asked to."""

    BAD_REQUEST = _Row(400, "The request is not understood")
    DECLINED = _Row(400, "The task cannot be started like this")
    UNAUTHENTICATED = _Row(401, "A valid bearer token is needed")
    FORBIDDEN = _Row(403, "The caller is not an operator")
    NOT_YOURS = _Row(403, "Somebody else has to answer this request")
    WEB_PAGE = _Row(403, "Web pages may not use the control API")
    NOT_FOUND = _Row(404, "There is nothing here")
    METHOD_NOT_ALLOWED = _Row(405, "The method is not allowed here")
    OVER = _Row(409, "The request does not wait for an answer")
    BODY_TIMEOUT = _Row(408, "The body did not arrive in time")
    BODY_TOO_LARGE = _Row(413, "The body is too large")
    NOT_JSON = _Row(415, "The body has to be application/json")
    WRONG_HOST = _Row(421, "The Host is not the control API's")
    INTERNAL = _Row(500, "gatepass failed and did not finish what was asked")
    UNAVAILABLE = _Row(503, "gatepass cannot do this now")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: JSON in ``body``, and the headers beside those that every answer has."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    media_type: str = "application/json"


def problem(why: Why, detail: str, *headers: tuple[str, str]) -> Reply:
    """The answer that says no."""
    members = {
        "type": f"urn:gatepass:problem:control:{why.name.lower()}",
        "title": why.value.title,
        "status": why.value.status,
        "detail": printable(detail),
        "code": why.name.lower(),
    }
    return Reply(why.value.status, orjson.dumps(members), headers, "application/problem+json")
