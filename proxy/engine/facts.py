"""What a record says of one call: the members ``who``, ``what``, ``why`` and ``credential``.

Plain JSON values from typed ones. No header value and no body comes this far; a query is a digest
and its parameters' names; a placeholder is redacted wherever it stood.
"""

import re
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import unquote, unquote_to_bytes

from orjson import Fragment

from proxy.audit.canonical import Json
from proxy.credential.placeholder import find, redact
from proxy.engine import dial
from proxy.engine.subject import subject, unfit
from proxy.errors import Refusal
from proxy.http.canonical import Target
from proxy.http.message import Headers, values
from proxy.identity.attribution import Unfit
from proxy.identity.principal import Link, Principal
from proxy.policy.decision import Deny, Ruling

DESK_RULE = "gatepass.desk"
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
    ruling: Ruling | None = None
    above: tuple[tuple[Link, Ruling], ...] = ()  # the rulings on those the caller acts for
    trace: str | None = None
    desk: bool = False
    credential: dict[str, Json] | None = field(default=None)

    @property
    def agent(self) -> str | None:
        """The agent whose call the record says it is: it counts for that agent (``audit.record.Stamp``)."""
        known = self.principal or self.unfit
        return None if known is None or known.agent is None else known.agent.id


def who(seen: Seen) -> dict[str, Json]:
    """Who asked, for which task, on whose behalf, on what evidence."""
    principal = seen.principal
    if principal is None and seen.unfit is not None:
        return unfit(seen.unfit) | {"peer": seen.peer}
    if principal is None:
        return {"agent": None, "task": None, "auth": None, "peer": seen.peer}
    return subject(principal) | {"peer": seen.peer}


def what(seen: Seen) -> dict[str, Json]:
    """What was asked, in canonical form where it has one."""
    target = seen.target
    if target is None:
        return {
            "method": seen.method,
            "scheme": None,
            "host": shown(seen.authority),
            "port": None,
            "path": None,
            "version": seen.version,
        }
    origin, query = target.origin, target.query
    return {
        "method": seen.method,
        "scheme": origin.scheme,
        "host": origin.host.name,
        "port": origin.port,
        "path": redact(target.path.text),
        "query_sha256": None if query is None else sha256(query.encode("ascii")).hexdigest(),
        "query_keys": [redact(key) for key in seen.query_keys],
        "version": seen.version,
        "headers_stripped": list(seen.stripped),
        "trace": None if seen.trace is None else {"traceparent": seen.trace, "trust": "client"},
        "normalization": [
            {"rule": note.rule, "before": shown(note.before), "after": shown(note.after)}
            for note in target.notes
        ],
    }


def why(seen: Seen, refusal: Refusal | None) -> dict[str, Json]:
    """Why it was allowed (``refusal`` is None) or refused, and the PDP's input to decide it again."""
    ruling = seen.ruling
    verdict: dict[str, Json] = {
        "effect": "allow" if refusal is None else "deny",
        "code": None if refusal is None else refusal.code.value,
        "detail": None if refusal is None else shown(refusal.detail),
        "status": None if refusal is None else refusal.status,
        "rule": None if refusal is None else refusal.rule,
    }
    if seen.desk:
        verdict["rule"] = DESK_RULE
    if ruling is None:
        return verdict
    decision = ruling.decision
    if refusal is None and decision.rules:
        verdict["rule"] = decision.rules[0]
    verdict |= {
        "rules": list(decision.rules),
        "errors": list(decision.errors) if isinstance(decision, Deny) else [],
        "action": ruling.action,
        "service": None if ruling.service is None else ruling.service.name,
        "engine": ruling.engine,
        "ruleset_sha256": ruling.ruleset_sha256,
        "observed": ruling.observed,
        "input": Fragment(ruling.input),
        "input_sha256": ruling.input_sha256,
    }
    if seen.above:
        verdict["above"] = [_above(link, one) for link, one in seen.above]
    return verdict


def _above(link: Link, ruling: Ruling) -> dict[str, Json]:
    """The ruling on one whom the caller acts for: what it takes to rule again."""
    decision = ruling.decision
    return {
        "agent": link.agent.id,
        "task": link.task.id,
        "effect": "deny" if isinstance(decision, Deny) else "allow",
        "rules": list(decision.rules),
        "errors": list(decision.errors) if isinstance(decision, Deny) else [],
        "input": Fragment(ruling.input),
        "input_sha256": ruling.input_sha256,
    }


@dataclass(slots=True)
class Outcome:
    """How an allowed call ended. ``result``: complete, refused, upstream_error, client_gone or cut."""

    result: str
    refusal: Refusal | None = None
    status: int | None = None
    up: int = 0
    down: int = 0
    link: dial.Link | None = None
    reused: bool = False
    first_byte_ns: int = 0


def outcome(ended: Outcome, *, opened_ns: int, durable_ns: int, now_ns: int) -> dict[str, Json]:
    """The ``what`` of an outcome record; latencies in microseconds since the call was opened."""
    link, refusal = ended.link, ended.refusal
    latency: dict[str, Json] = {
        "durable": (durable_ns - opened_ns) // 1000,
        "total": (now_ns - opened_ns) // 1000,
    }
    if ended.first_byte_ns:
        latency["first_byte"] = (ended.first_byte_ns - opened_ns) // 1000
    return {
        "result": ended.result,
        "code": None if refusal is None else refusal.code.value,
        "detail": None if refusal is None else shown(refusal.detail),
        "status": ended.status,
        "bytes_up": ended.up,
        "bytes_down": ended.down,
        "upstream": None
        if link is None
        else {
            "ip": link.ip,
            "port": link.port,
            "reused": ended.reused,
            "tls": link.tls or None,
            "certificate_sha256": link.certificate_sha256 or None,
        },
        "latency_us": latency,
    }
