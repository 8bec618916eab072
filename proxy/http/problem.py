"""A refusal in words: problem details (RFC 9457) and Proxy-Status (RFC 9209), or a reason phrase.

The body is for the agent: what was refused, by which rule, under which record, and what to do next.
``detail`` may quote what an attacker wrote, so everything here is escaped: no control, no line end
and no invisible character leaves this file, and header fields are ASCII.
"""

import orjson

from proxy.errors import Refusal
from proxy.http.message import Headers

_MAX_HEADER_TEXT = 240
_EXTENSIONS = ("code", "rule", "record", "retry", "retry_after")  # what else an error holds


def printable(text: str) -> str:
    """Replace what a terminal or a log would act upon or not show (controls, bidi marks, surrogates)."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def _ascii(text: str) -> str:
    return printable(text).encode("ascii", "backslashreplace").decode("ascii")[:_MAX_HEADER_TEXT]


def _sf_string(text: str) -> str:
    """A string of structured fields (RFC 8941, 3.3.3)."""
    escaped = _ascii(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _facts(refusal: Refusal, record_id: str) -> str:
    rule = f" rule={refusal.rule}" if refusal.rule is not None else ""
    return f"code={refusal.code.value}{rule} record={record_id}"


def _body(refusal: Refusal, record_id: str, instance: str, *, nested: bool) -> bytes:
    meaning = refusal.meaning
    detail = printable(refusal.detail)
    words = f"gatepass: {meaning.title}: {detail}"
    members: dict[str, object] = {
        "type": f"urn:gatepass:problem:{refusal.code.value}",
        "title": meaning.title,
        "status": meaning.status,
        "detail": detail,
        "code": refusal.code.value,
        "fault": meaning.fault.value,
        "record": printable(record_id),
        "retry": meaning.advice,
        "error": words,  # what npm and many SDKs print
    }
    if refusal.rule is not None:
        members["rule"] = printable(refusal.rule)
    if refusal.retry_after is not None:
        members["retry_after"] = refusal.retry_after
    if instance:
        members["instance"] = printable(instance)
    # What clients of GraphQL show of an answer, whatever its status is (GraphQL over HTTP, 6.4).
    told = {name: members[name] for name in _EXTENSIONS if name in members}
    members["errors"] = [{"message": words, "extensions": told}]
    if nested:
        members["error"] = {"message": words, "type": refusal.code.value, **told}
    return orjson.dumps(members)


def _proxy_status(refusal: Refusal, record_id: str) -> str:
    details = _sf_string(f"{_facts(refusal, record_id)} {refusal.detail}")
    return f"gatepass; error={refusal.meaning.proxy_status}; details={details}"


def problem(
    refusal: Refusal, *, record_id: str, instance: str = "", nested: bool = False
) -> tuple[int, Headers, bytes]:
    """The status, the headers and the body a refusal is answered with.

    ``instance`` is the URI reference of this occurrence, if there is one. ``nested``: the client shows
    ``error.message`` and no ``error`` that is text. The headers give the length of the body also where it
    must not be sent (HEAD).
    """
    body = _body(refusal, record_id, instance, nested=nested)
    headers = [
        (b"Content-Type", b"application/problem+json"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"Proxy-Status", _proxy_status(refusal, record_id).encode("ascii")),
    ]
    if refusal.retry_after is not None:
        headers.append((b"Retry-After", b"%d" % refusal.retry_after))
    if refusal.status == 407:  # noqa: PLR2004 - RFC 9110, 15.5.8
        headers.append((b"Proxy-Authenticate", b'Basic realm="gatepass"'))
        headers.append((b"Proxy-Authenticate", b'Bearer realm="gatepass"'))
    return refusal.status, tuple(headers), body


def reason_phrase(refusal: Refusal, record_id: str) -> str:
    """One line of ASCII for the status line of a refused CONNECT, where clients hide the body."""
    verdict = "policy_denied" if refusal.status == 403 else "refused"  # noqa: PLR2004 - RFC 9110, 15.5.4
    return _ascii(f"{verdict} {_facts(refusal, record_id)} {refusal.meaning.title}: {refusal.detail}")
