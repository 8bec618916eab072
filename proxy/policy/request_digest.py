"""The digest of one exact request: SHA-256 (FIPS 180-4) over netstrings (cr.yp.to/proto/netstrings.txt).

A netstring is ``LENGTH:OCTETS,``; a list is the netstring of the netstrings of its members. So no two
different requests are written alike. The ten netstrings, in order::

    "gatepass request 1"
    the method
    the canonical origin and path, such as https://api.github.com/repos/a/b/issues
    a list: the query as sent, without its question mark; empty if there was none
    a list of lists (name in lower case, value): the header fields that travel, without the volatile ones
    the SHA-256 of the body in hex
    the agent
    the task
    a list: the delegation, from its root to the caller
    the SHA-256 of the rule set in hex

Fields are ordered by name, and those of one name as they were sent: the order of other fields means
nothing (RFC 9110, 5.3), and some clients change it.

Volatile are the fields that clients write anew each time they send one and the same request, and those
that frame it. They would make every retry a request of its own, which nobody has approved.
``Idempotency-Key`` is not among them: another key is another order. Of ``Prefer`` only the time a client will
wait is left out; other preferences change what an API does. Of an AWS signature (SigV4) the date and the
signature itself are left out; both are over what is in here already.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

from proxy.http.canonical import Target
from proxy.http.message import Header
from proxy.http.names import HOP_BY_HOP

_VERSION = b"gatepass request 1"
VOLATILE = (HOP_BY_HOP - {b"upgrade"}) | {
    *(b"date", b"expect", b"user-agent", b"accept-encoding"),
    *(b"content-length", b"transfer-encoding", b"trailer"),
    *(b"traceparent", b"tracestate", b"baggage", b"b3", b"sentry-trace", b"x-amzn-trace-id"),
    *(b"x-cloud-trace-context", b"x-request-id", b"x-correlation-id", b"x-client-request-id"),
    *(b"x-amz-date", b"sec-websocket-key"),
}
"""Names of volatile fields, in lower case."""
VOLATILE_PREFIXES = (b"x-stainless-", b"x-b3-", b"x-datadog-", b"amz-sdk-", b"proxy-")
"""How the names of other volatile fields begin."""
_SIGV4 = re.compile(
    rb"(AWS4-[A-Z0-9-]+ +Credential=[^/, ]+/)[0-9]{8}(/[^, ]+, *SignedHeaders=[^, ]+, *Signature=)[0-9a-f]+"
)
_WAIT = re.compile(rb"wait[ \t]*=[ \t]*[0-9]{1,5}", re.IGNORECASE)
_NO_PREFERENCE = (b"prefer", b"")


def request_digest(
    method: str,
    target: Target,
    headers: Iterable[Header],
    body_sha256: str,
    *,
    agent: str,
    task: str,
    chain: Sequence[str],
    ruleset_sha256: str,
) -> str:
    """The digest in hex. ``headers`` are those that are to leave, trailers among them.

    ``body_sha256`` is hex over the body's octets (of a body that there is not: over none). ``chain`` is
    the whole delegation, the caller last.
    """
    query = [] if target.query is None else [target.query.encode()]
    return sha256(
        b"".join(
            map(
                _netstring,
                (
                    _VERSION,
                    method.encode(),
                    f"{target.origin}{target.path.text}".encode(),
                    _list(query),
                    _list(_list(field) for field in _lasting(headers)),
                    body_sha256.encode(),
                    _text(agent),
                    _text(task),
                    _list(map(_text, chain)),
                    ruleset_sha256.encode(),
                ),
            )
        )
    ).hexdigest()


def is_volatile(name: bytes) -> bool:
    """Whether the field ``name`` (in lower case) is not part of what is approved."""
    return name in VOLATILE or name.startswith(VOLATILE_PREFIXES)


def _lasting(headers: Iterable[Header]) -> list[Header]:
    fields = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    kept = [(name, _meant(name, value)) for name, value in fields if not is_volatile(name)]
    kept = [field for field in kept if field != _NO_PREFERENCE]
    return sorted(kept, key=lambda field: field[0])  # stable: the order of one name's fields counts


def _meant(name: bytes, value: bytes) -> bytes:
    """What a field's value says that its next sending says again."""
    if name == b"prefer":
        wishes = [wish.strip(b" \t") for wish in value.split(b",")]
        return b",".join(wish for wish in wishes if wish and _WAIT.fullmatch(wish) is None)
    match = _SIGV4.fullmatch(value) if name == b"authorization" else None
    return value if match is None else match[1] + match[2]


def _list(members: Iterable[bytes]) -> bytes:
    return b"".join(map(_netstring, members))


def _netstring(octets: bytes) -> bytes:
    return b"%d:%s," % (len(octets), octets)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
