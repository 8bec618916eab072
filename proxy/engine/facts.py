"""What a record says of one call: the members ``who`` and ``what``; ``why`` is in ``reasons``.

Plain JSON values from typed ones. No header value and no body comes this far; a query is a digest
and its parameters' names; a placeholder is redacted wherever it stood.
"""

from dataclasses import dataclass
from hashlib import sha256

from proxy.audit.canonical import Json
from proxy.credential.placeholder import redact
from proxy.engine import dial
from proxy.engine.seen import Seen, shown
from proxy.engine.subject import subject, unfit
from proxy.errors import Refusal
from proxy.policy.service_budget import Used


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
        **_content(seen),
        "headers_stripped": list(seen.stripped),
        "trace": None if seen.trace is None else {"traceparent": seen.trace, "trust": "client"},
        "normalization": [
            {"rule": note.rule, "before": shown(note.before), "after": shown(note.after)}
            for note in target.notes
        ],
    }


def _content(seen: Seen) -> dict[str, Json]:
    """What the head says of the content, and of an upgrade; nothing where there is neither."""
    request = seen.request
    if request is None:
        return {}
    told: dict[str, Json] = {"has_body": request.has_body}
    if request.content_type:
        told["content_type"] = redact(request.content_type)
    if request.upgrade:
        told["upgrade"] = request.upgrade
    return told


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
    used: Used | None = None  # of a language model
    cost: int | None = None  # of that, in millionths

    def end(self, result: str, refusal: Refusal | None) -> None:
        """Say how it ended, unless that has been said."""
        if self.result == "complete":
            self.result, self.refusal = result, refusal


def outcome(ended: Outcome, *, opened_ns: int, durable_ns: int, now_ns: int) -> dict[str, Json]:
    """The ``what`` of an outcome record; latencies in microseconds since the call was opened."""
    link, refusal = ended.link, ended.refusal
    latency: dict[str, Json] = {
        "durable": (durable_ns - opened_ns) // 1000,
        "total": (now_ns - opened_ns) // 1000,
    }
    if ended.first_byte_ns:
        latency["first_byte"] = (ended.first_byte_ns - opened_ns) // 1000
    told: dict[str, Json] = {
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
    if ended.used is not None:
        told["used"] = _used(ended.used, ended.cost)
    return told


def _used(used: Used, cost: int | None) -> dict[str, Json]:
    """What a call to a language model used, and what that cost in millionths of the currency if known."""
    return {
        "model": redact(used.model),
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "estimated": used.estimated,
        "cost": cost,
    }
