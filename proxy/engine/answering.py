"""What has to be done with an answer on its way down: filter lists, count what was used, hold it to a size.

An answer that has to be read and cannot be is not relayed: RESPONSE_UNREADABLE. What only has to be counted
is never changed.

Decided: a list of tools is looked for in answers of every media type, because clients written by hand read
JSON and events whatever they are called. What is neither (an error page) passes.
"""

import re
from collections.abc import Callable

from proxy.errors import Code, Refusal
from proxy.http.answer import GuardedResponse
from proxy.http.message import Framing, Length, NoBody, UntilClose, first, values
from proxy.policy.content import Watch
from proxy.policy.fact import Dialect
from proxy.policy.llm_usage import UsageMeter
from proxy.policy.mcp_answer import SseFilter, filter_message
from proxy.policy.service_budget import Used

MAX_LIST = 8 * 1_048_576  # octets of an answer that is read whole, and of one event
_SUCCESS, _REDIRECT = 200, 300
_EVENTS = b"text/event-stream"
_JSON_LIKE = re.compile(rb"[\s\0\xef\xbb\xbf\xfe\xff]*[\[{]")
_EVENT_LIKE = re.compile(rb"(?:^|[\r\n]|\xef\xbb\xbf)data *:")


class Withheld(Exception):
    """The rest of an answer must not be relayed; ``refusal`` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class Answering:
    """One answer. Call ``begin`` with its head, then ``whole``, or ``piece`` for each piece and ``last``.

    ``collects``: the answer has to be there whole before any of it may go. ``rewrites``: its length changes.
    """

    def __init__(
        self, keep: Callable[[str], bool] | None, dialect: Dialect | None, cap: int | None, sent: int
    ) -> None:
        """``keep`` says which tools may be shown, ``cap`` is in octets; ``sent`` is the request's content."""
        self._keep = keep
        self._dialect = dialect
        self._cap = cap
        self._sent = sent
        self._octets = 0
        self._filter: SseFilter | None = None
        self._meter: UsageMeter | None = None
        self._begun = False
        self._strict = False  # it says that it is JSON
        self.collects = False
        self.rewrites = False

    def begin(self, status: int, guarded: GuardedResponse) -> Refusal | None:
        """Look at the head of the final answer; a refusal is told instead of it."""
        framing, self._begun = guarded.framing, True
        if isinstance(framing, NoBody):
            return None
        if self._cap is not None and isinstance(framing, Length) and framing.octets > self._cap:
            return _too_large(self._cap)
        kind = (first(guarded.forward, b"content-type") or b"").partition(b";")[0].strip().lower()
        coded = [one for one in values(guarded.forward, b"content-encoding") if one.lower() != b"identity"]
        if self._dialect is not None and _SUCCESS <= status < _REDIRECT:
            # What is compressed all the same says nothing; then the meter has its size to go by.
            self._meter = UsageMeter(
                self._dialect, "" if coded else kind.decode("ascii", "replace"), self._sent
            )
        if self._keep is None:
            return None
        if coded:
            return Refusal(Code.RESPONSE_UNREADABLE, "the answer is compressed, though that was not accepted")
        return self._read_as(
            b", ".join(values(guarded.forward, b"content-type")).lower(), framing, self._keep
        )

    def _read_as(self, kinds: bytes, framing: Framing, keep: Callable[[str], bool]) -> Refusal | None:
        """Choose how lists are found; clients look for these names anywhere in the header."""
        self.rewrites, self._strict = True, b"json" in kinds
        if _EVENTS in kinds:
            if self._strict:
                return Refusal(Code.RESPONSE_UNREADABLE, "the answer says that it is JSON and events as well")
            self._filter = SseFilter(keep, MAX_LIST)
            return None
        self.collects = True
        return _LONG if isinstance(framing, Length) and framing.octets > MAX_LIST else None

    def whole(self, content: bytes) -> bytes | Refusal:
        """The content of an answer that ``collects``, as it may be shown."""
        assert self._keep is not None, "only lists are collected"
        if self._strict or _JSON_LIKE.match(content):
            return filter_message(content, self._keep)
        if _EVENT_LIKE.search(content):
            events = SseFilter(self._keep, MAX_LIST)
            shown = events.feed(content) + events.finish()
            return events.refusal or shown
        return content

    def piece(self, data: bytes) -> bytes:
        """What of ``data`` may be relayed now.

        :raises Withheld: nothing more may be.
        """
        self._octets += len(data)
        if self._cap is not None and self._octets > self._cap:
            raise Withheld(_too_large(self._cap))
        if self.collects and self._octets > MAX_LIST:
            raise Withheld(_LONG)
        if self._meter is not None:
            self._meter.feed(data)
        if self._filter is None:
            return data
        return self._passed(self._filter.feed(data))

    def last(self) -> bytes:
        """What was held back until the answer's end.

        :raises Withheld: it ended where it must not.
        """
        if self._filter is None:
            return b""
        return self._passed(self._filter.finish())

    def _passed(self, shown: bytes) -> bytes:
        assert self._filter is not None, "something filtered it"
        if self._filter.refusal is not None:
            raise Withheld(self._filter.refusal)
        return shown

    def used(self, sent: int, *, left: bool) -> Used | None:
        """What the call used, as far as its answer came; None if nobody counts.

        ``sent`` are the octets of content that went to the API; ``left``: the request went there at all. If
        it did and nobody waited for the answer, the model has read it all the same.
        """
        meter = self._meter
        if meter is None and self._dialect is not None and left and not self._begun:
            meter = UsageMeter(self._dialect, "", 0)
        if meter is None:
            return None
        meter.sent = max(meter.sent, sent)
        return meter.finish()


def reshaped(guarded: GuardedResponse) -> GuardedResponse:
    """The head of an answer whose length is not known any more."""
    forward = tuple(header for header in guarded.forward if header[0].lower() not in _FRAMING)
    return guarded._replace(forward=forward, framing=UntilClose())


def resized(guarded: GuardedResponse, octets: int) -> GuardedResponse:
    """The head of an answer that has so many octets now."""
    bare = reshaped(guarded)
    forward = (*bare.forward, (b"Content-Length", b"%d" % octets))
    return bare._replace(forward=forward, framing=Length(octets))


_LONG = Refusal(
    Code.RESPONSE_UNREADABLE, f"the answer may hold a list of tools, and of those {MAX_LIST} octets are read"
)
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"trailer"})


def answering(
    watch: Watch | None, keep: Callable[[str], bool] | None, cap: int | None, sent: int
) -> Answering | None:
    """What has to be done with the answer of a call, or None if it is relayed as it comes."""
    if watch is None and cap is None:
        return None
    dialect = Dialect(watch.value) if watch is not None and watch is not Watch.MCP else None
    return Answering(keep, dialect, cap, sent)


def _too_large(cap: int) -> Refusal:
    return Refusal(Code.RESPONSE_TOO_LARGE, f"the rule lets at most {cap} octets of an answer through")
