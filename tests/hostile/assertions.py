"""What every hostile case asserts, written once: the answer, the silence, the one record, no secret.

(a) status and reason code of the answer; (b) nothing reached the upstream; (c) exactly one decision
record with that code, which the answer names; (d) neither the live secret nor a placeholder in an
answer or a record, in whatever spelling.
"""

import asyncio
import json
import re
from base64 import b64encode
from urllib.parse import unquote_to_bytes

from proxy.audit.record import Record
from proxy.errors import MEANING, Code
from proxy.store.reader import entries
from tests.support.rawclient import RawClient, Response
from tests.support.world import SECRET, World

_AUTHORITY = re.compile(r"://([^/?#]*)")


# -- requests, octet by octet --


def absolute(
    w: World, url: str, *headers: str, method: str = "GET", host: str | None = None, authorization: str = ""
) -> bytes:
    """An absolute-form request of the world's task; ``host`` is the URL's own unless given."""
    found = _AUTHORITY.search(url)
    named = host if host is not None else found[1] if found else "api.test"
    lines = [f"{method} {url} HTTP/1.1", f"Host: {named}"]
    lines += [f"Proxy-Authorization: {authorization or w.authorization}", *headers, "", ""]
    return "\r\n".join(lines).encode("utf-8")


def inside(w: World, target: str, *headers: str, method: str = "GET", host: str | None = None) -> bytes:
    """An origin-form request as it is sent inside a tunnel."""
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {w.authority if host is None else host}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode("utf-8")


def connect(w: World, authority: str, *headers: str, version: str = "1.1", host: str | None = None) -> bytes:
    """A CONNECT of the world's task."""
    lines = [f"CONNECT {authority} HTTP/{version}", f"Host: {authority if host is None else host}"]
    lines += [f"Proxy-Authorization: {w.authorization}", *headers, "", ""]
    return "\r\n".join(lines).encode("utf-8")


async def say(w: World, data: bytes) -> Response:
    """These octets on a connection of their own, and the answer."""
    async with await w.client() as client:
        await client.send(data)
        return await client.read_response()


async def say_inside(w: World, data: bytes) -> Response:
    """These octets in a TLS tunnel of their own to the API, and the answer."""
    async with w.tunnel() as client:
        await client.send(data)
        return await client.read_response()


async def everything(client: RawClient) -> bytes:
    """All that still comes until the connection ends."""
    came = bytearray()
    try:
        while piece := await client.read_some():
            came += piece
    except ConnectionError:
        return bytes(came)
    return bytes(came)


# -- (d) --


def _spellings(token: str) -> list[bytes]:
    """The token, its hexadecimal and the middle of its base64 in all three alignments."""
    octets = token.encode()
    shifted = (b64encode(bytes(shift) + octets)[4:-4] for shift in range(3))
    return [octets, octets.hex().encode(), *shifted]


def holds(data: bytes, token: str) -> bool:
    """Whether ``token`` can be read from ``data``, also percent-encoded."""
    views = (data, unquote_to_bytes(data))
    return any(spelling in view for spelling in _spellings(token) for view in views)


def clean(w: World, *shown: bytes) -> None:
    """No live secret and no placeholder in ``shown`` or in any record."""
    tokens = [SECRET, w.started.token, *w.started.placeholders.values()]
    for data in (*shown, *entries(w.state / "log")):
        for token in tokens:
            assert not holds(data, token), f"a secret can be read in {data[:2000]!r}"


# -- (b) --


async def untouched(w: World) -> None:
    """Nobody ever connected to the upstream: exact, because connections are accepted in order."""
    _reader, writer = await asyncio.open_connection(*w.upstream.address)
    mine = writer.get_extra_info("sockname")
    try:
        await w.upstream.until(lambda: any(each.peer == mine for each in w.upstream.connections))
        others = [each.peer for each in w.upstream.connections if each.peer != mine]
        assert not others, f"the upstream was touched by {others}"
        assert w.upstream.bytes_received == 0
    finally:
        writer.transport.abort()
        w.upstream.connections[:] = [each for each in w.upstream.connections if each.peer != mine]


# -- (c) --


async def decided(w: World, count: int = 1) -> None:
    """Until so many decisions are on record: for clients that are not told."""
    async with asyncio.timeout(10):
        while len(w.decisions) < count:
            await asyncio.sleep(0.005)


def denied(w: World, code: Code) -> Record:
    """The one decision on record is a refusal with ``code``, and nothing was forwarded."""
    records = w.decisions
    assert [(each.effect, each.code) for each in records] == [("deny", code)], records
    assert w.outcomes == []
    return records[0]


# -- all of it --


def _told(answer: Response, code: Code, status: int | None) -> str:
    """The answer says ``code``; returns the record it names."""
    told = json.loads(answer.body)
    assert (answer.status, told["code"]) == (status or MEANING[code].status, code), answer
    assert f"code={code}" in (answer.get("proxy-status") or "")
    return str(told["record"])


async def refused(w: World, answer: Response, code: Code, *, status: int | None = None) -> Record:
    """The request was refused before anything left: (a) to (d). ``status`` only where it is not the code's."""
    named = _told(answer, code, status)
    record = denied(w, code)
    assert named == record.id
    clean(w, answer.head.raw, answer.body)
    await untouched(w)
    return record


async def refused_connect(w: World, answer: Response, code: Code) -> Record:
    """A CONNECT was refused: as ``refused``, with the code in the reason phrase, which clients show."""
    assert f"code={code}" in answer.reason, answer
    return await refused(w, answer, code)


async def dropped(w: World, client: RawClient, code: Code) -> Record:
    """The connection ends without an answer in HTTP, and the record says why."""
    assert not (await everything(client)).startswith(b"HTTP/")
    record = denied(w, code)
    clean(w)
    await untouched(w)
    return record


async def failed(w: World, answer: Response, code: Code, *, result: str = "refused") -> Record:
    """The call was allowed and refused later: one decision ``allow``, one outcome with ``code``."""
    named = _told(answer, code, None)
    await w.settled()
    decisions, outcomes = w.decisions, w.outcomes
    assert [(each.effect, each.id) for each in decisions] == [("allow", named)], decisions
    assert [(each.result, each.code, each.decision_id) for each in outcomes] == [(result, code, named)], (
        outcomes
    )
    clean(w, answer.head.raw, answer.body)
    return outcomes[0]
