"""The proxy credential of a request: RFC 9110, section 11.7; Basic is RFC 7617, Bearer RFC 6750.

Exactly one ``Proxy-Authorization``. In Basic the password is the session token; the username is what
clients need to build a URL and says nothing: the token alone names agent and task.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field

from proxy.errors import Code, Refusal
from proxy.http.message import Headers, values
from proxy.identity.jws import MAX_TOKEN

_CREDENTIALS = re.compile(rb"(basic|bearer) +([A-Za-z0-9._~+/-]+={0,2})", re.IGNORECASE)
_MAX_FIELD = 2 * MAX_TOKEN  # base64 makes four characters of three


@dataclass(frozen=True, slots=True)
class Presented:
    """A token as presented, unverified. ``scheme`` is ``basic`` or ``bearer``."""

    scheme: str
    token: bytes = field(repr=False)


def presented(headers: Headers) -> Presented | Refusal:
    """The credential presented to the proxy; IDENTITY_MISSING without, IDENTITY_INVALID if unclear."""
    fields = values(headers, b"proxy-authorization")
    if not fields:
        return Refusal(Code.IDENTITY_MISSING, "no Proxy-Authorization was sent")
    if len(fields) > 1:
        return Refusal(Code.IDENTITY_INVALID, "more than one Proxy-Authorization was sent")
    field_value = fields[0].strip(b" \t")
    parts = _CREDENTIALS.fullmatch(field_value) if len(field_value) <= _MAX_FIELD else None
    if parts is None:
        return Refusal(Code.IDENTITY_INVALID, "Proxy-Authorization is neither Basic nor Bearer with a token")
    scheme = parts[1].lower().decode()
    token = parts[2] if scheme == "bearer" else _password(parts[2])
    if not token or len(token) > MAX_TOKEN:
        return Refusal(Code.IDENTITY_INVALID, "Proxy-Authorization carries no token of acceptable size")
    return Presented(scheme, token)


def _password(encoded: bytes) -> bytes:
    """The password of a Basic user-pass (empty if there is none to be found)."""
    try:
        user_pass = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return b""
    return user_pass.partition(b":")[2]
