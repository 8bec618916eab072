"""The proxy credential of a request: RFC 9110, section 11.7; Basic is RFC 7617, Bearer RFC 6750.

Exactly one ``Proxy-Authorization``. In Basic the password is the session token; the username is what
clients need to build a URL. It says nothing of who is calling: the token names agent and task. Where the
connection itself is the proof of identity, the password may be empty and the username selects the task.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from proxy.errors import Code, Refusal
from proxy.http.message import Headers, values
from proxy.identity.jws import MAX_TOKEN

# Case is ignored in the scheme alone: for the token it would be five times as slow and mean nothing.
_CREDENTIALS = re.compile(rb"((?i:basic|bearer)) +([A-Za-z0-9._~+/-]+={0,2})")
_MAX_FIELD = 2 * MAX_TOKEN  # base64 makes four characters of three
_MAX_USERNAME = 256  # octets


@dataclass(frozen=True, slots=True)
class Presented:
    """A token as presented, unverified. ``scheme`` is ``basic`` or ``bearer``.

    ``token`` is empty if Basic came without a password: that proves nothing, and is refused unless
    something else does. ``username`` is Basic's, or "" if it is long or not printable ASCII. ``digest`` is
    the token's SHA-256: whoever remembers tokens goes by it, at every request of a connection.
    """

    scheme: str
    token: bytes = field(repr=False)
    username: str = ""
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.token).digest())


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
    username, token = ("", parts[2]) if scheme == "bearer" else _user_pass(parts[2])
    if token is None or len(token) > MAX_TOKEN:
        return Refusal(Code.IDENTITY_INVALID, "Proxy-Authorization carries no token of acceptable size")
    return Presented(scheme, token, username)


def _user_pass(encoded: bytes) -> tuple[str, bytes | None]:
    """The user name and the password of a Basic user-pass; None for one that is malformed."""
    try:
        username, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except binascii.Error:
        return "", None
    text = username.decode("latin-1") if len(username) <= _MAX_USERNAME else ""
    return text if text.isascii() and text.isprintable() else "", password if colon else None
