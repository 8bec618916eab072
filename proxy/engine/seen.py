"""What is known of a call so far, for its record: no header value, no content, no placeholder."""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, unquote_to_bytes

from proxy.audit.canonical import Json
from proxy.credential.placeholder import find, redact
from proxy.http.canonical import Target
from proxy.http.message import Headers, values
from proxy.identity.attribution import Unfit
from proxy.identity.principal import Link, Principal
from proxy.policy.approval import Approval
from proxy.policy.decision import RequestFacts, Ruling
from proxy.policy.obligation import Obligations

_REST = re.compile(r"[?#].*", re.DOTALL)
_TRACE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_USERINFO = re.compile(r"^((?:[^:/@]*:(?=/))?/*)[^/]*@")


def asked(target: bytes) -> str:
    """What of a raw request target may be written down: no query and no user information."""
    return _USERINFO.sub(r"\1[userinfo]@", _REST.sub("", target.decode("ascii", "backslashreplace")))


def trace_parent(headers: Headers) -> str | None:
    """The ``traceparent`` that the agent claims (W3C Trace Context), if there is exactly one and it is one.

    It correlates and proves nothing: it is recorded as the client's word (D15).
    """
    claimed = values(headers, b"traceparent")
    return claimed[0].decode("ascii") if len(claimed) == 1 and _TRACE.fullmatch(claimed[0]) else None


def shown(text: str) -> str:
    """``text`` with its placeholders redacted; if one is percent-encoded, after decoding."""
    hidden = "%" in text and find(unquote_to_bytes(text))
    return redact(unquote(text) if hidden else text)


@dataclass(slots=True)
class Seen:
    """What is known of a call so far; a refusal may come before any of it is."""

    peer: str
    principal: Principal | None = None
    unfit: Unfit | None = None  # identified, and refused all the same
    method: str = ""
    version: str = ""
    authority: str = ""  # see ``asked``; while there is no canonical target
    target: Target | None = None
    query_keys: tuple[str, ...] = ()
    stripped: tuple[str, ...] = ()
    request: RequestFacts | None = None
    ruling: Ruling | None = None
    told: tuple[bytes, ...] = ()  # of each act, what its protocol says of it and no rule reads
    batch: tuple[Ruling, ...] = ()  # the rulings on further acts of the same call
    above: tuple[tuple[Link, Ruling], ...] = ()  # the rulings on those the caller acts for
    approval: Approval | None = None
    obligations: Obligations | None = None
    trace: str | None = None
    desk: bool = False
    credential: dict[str, Json] | None = field(default=None)

    @property
    def agent(self) -> str | None:
        """The agent whose call the record says it is: it counts for that agent (``audit.record.Stamp``)."""
        known = self.principal or self.unfit
        return None if known is None or known.agent is None else known.agent.id
