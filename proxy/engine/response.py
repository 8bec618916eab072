"""The API's answer: its head read and judged, and framed for the agent (RFC 9112, 6; RFC 9110, 15.2)."""

from dataclasses import dataclass
from typing import NamedTuple

from proxy.engine.body import CHUNKS, PLAIN, BadFraming, Truncated, Writer
from proxy.engine.head import HeadTooLarge, MalformedHead, Reading, format_response_head, parse_response
from proxy.engine.wire_error import Expired, WireError
from proxy.errors import Code, Refusal
from proxy.http.answer import SWITCHING, GuardedResponse, guard_response
from proxy.http.message import Headers, Length, NoBody, ResponseHead, UntilClose

MAX_INTERIM = 16
_CONTINUE = 100
_FINAL = 200


@dataclass(frozen=True, slots=True)
class Patience:
    """Time-outs in seconds and limits in octets, as in ``settings``."""

    first_byte: float
    upstream_idle: float
    downstream_idle: float
    head: int
    header_count: int
    header_line: int


class Answer(NamedTuple):
    """One answer's head, parsed and judged."""

    head: ResponseHead
    guarded: GuardedResponse

    @property
    def final(self) -> bool:
        """False for an interim answer, which another one follows; 101 is the last one in HTTP."""
        return self.head.status >= _FINAL or self.head.status == SWITCHING


async def next_answer(reading: Reading, method: str, upgrade: str, patience: Patience) -> Answer | Refusal:
    """The next answer's head, or what is wrong with it. Raises as ``Wire.read``.

    :raises Truncated: the API ended the connection instead of answering.
    """
    try:
        raw = await reading.head(patience.head)
    except HeadTooLarge:
        return Refusal(Code.UPSTREAM_PROTOCOL, "the answer's head is too large")
    except MalformedHead as error:
        return Refusal(Code.UPSTREAM_PROTOCOL, f"the answer's head is malformed: {error}")
    if raw is None:
        raise Truncated(reading.wire)
    head = parse_response(raw)
    if isinstance(head, Refusal):
        return head
    guarded = guard_response(
        head, method, upgrade, max_headers=patience.header_count, max_line=patience.header_line
    )
    return guarded if isinstance(guarded, Refusal) else Answer(head, guarded)


def interim(answer: Answer, version: str) -> bytes:
    """What an agent gets of a 1xx: HTTP/1.0 knows none, and 100 answers an Expect that ended at us."""
    if version != "1.1" or answer.head.status == _CONTINUE:
        return b""
    return format_response_head(answer.head.status, answer.guarded.reason, answer.guarded.forward)


def reframed(guarded: GuardedResponse, version: str) -> tuple[Headers, Writer, bool]:
    """Headers and framing for an agent that speaks ``version``; False if only closing can end the body."""
    framing = guarded.framing
    if isinstance(framing, NoBody | Length):
        return guarded.forward, PLAIN, True
    if version == "1.0":
        plain = tuple(h for h in guarded.forward if h[0].lower() not in (b"transfer-encoding", b"trailer"))
        return plain, PLAIN, False
    if isinstance(framing, UntilClose):
        return (*guarded.forward, (b"Transfer-Encoding", b"chunked")), CHUNKS, True
    return guarded.forward, CHUNKS, True


def upstream_refusal(error: WireError) -> Refusal:
    """What an agent is told when its API stopped in the middle."""
    if isinstance(error, Expired):
        return Refusal(Code.UPSTREAM_TIMEOUT, "the API stopped answering")
    if isinstance(error, BadFraming):
        return Refusal(Code.UPSTREAM_PROTOCOL, "the answer's chunks are malformed")
    return Refusal(Code.UPSTREAM_CLOSED, "the API closed the connection before its answer was complete")
