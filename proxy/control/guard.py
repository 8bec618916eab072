"""Who may call the control API: one bearer token (RFC 6750), no web page, no rebound name.

A browser says ``Origin`` with whatever a page makes it send beyond simple reads, and ``Host`` with the name
the page was loaded from. So a call with an Origin is refused, and so is a Host that is a name nobody
configured: a name can be made to point here (DNS rebinding), an address or ``localhost`` cannot.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from ipaddress import ip_address

from proxy.control.problem import Reply, Why, problem
from proxy.errors import Fault, Refusal
from proxy.identity.jws import MAX_TOKEN

_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+={0,2})", re.IGNORECASE | re.ASCII)
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII
)
_CHALLENGE = ("WWW-Authenticate", 'Bearer realm="gatepass"')
_CHALLENGE_AGAIN = ("WWW-Authenticate", 'Bearer realm="gatepass", error="invalid_token"')


def admin_token(token: bytes, given: bytes) -> bool:
    """Whether ``given`` is the local admin token, in constant time. A token that is empty is nobody's."""
    same = hmac.compare_digest(hashlib.sha256(token).digest(), hashlib.sha256(given).digest())
    return bool(token) and same


def foreign(hosts: Sequence[str], origins: Sequence[str], listening: str) -> Reply | None:
    """Why a call with these Host and Origin fields is refused, or None. ``listening`` is our host."""
    if origins:
        return problem(Why.WEB_PAGE, "the request has an Origin; use a program, not a web page")
    if len(hosts) != 1 or not _is_ours(hosts[0], listening):
        return problem(Why.WRONG_HOST, "use the address that the control API listens at, or localhost")
    return None


def bearer(fields: Sequence[str]) -> bytes | Reply:
    """The token of the only Authorization field, unverified."""
    if not fields:
        return problem(Why.UNAUTHENTICATED, "send Authorization: Bearer TOKEN", _CHALLENGE)
    if len(fields) > 1:
        return problem(Why.UNAUTHENTICATED, "more than one Authorization was sent", _CHALLENGE)
    match = _BEARER.fullmatch(fields[0].strip(" \t"))
    if match is None or len(match[1]) > MAX_TOKEN:
        return problem(Why.UNAUTHENTICATED, "Authorization is not Bearer with a token", _CHALLENGE)
    return match[1].encode()


def rejected(refusal: Refusal) -> Reply:
    """The answer to a token that was not accepted."""
    if refusal.meaning.fault is not Fault.AGENT:
        return problem(Why.UNAVAILABLE, refusal.detail)
    if refusal.status == 403:  # noqa: PLR2004 - RFC 9110, 15.5.4: known, and not allowed
        return problem(Why.FORBIDDEN, refusal.detail)
    return problem(Why.UNAUTHENTICATED, refusal.detail, _CHALLENGE_AGAIN)


def _is_ours(host: str, listening: str) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match["v6"] or match["name"]).lower()
    return name in {"localhost", listening.lower()} or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
