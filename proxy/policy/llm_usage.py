"""What a call to a language model used, read from its answer as that passes by: JSON, or server-sent events.

OpenAI reports ``usage`` in the answer; when streaming, in the last chunk of chat completions if the request
has ``stream_options.include_usage``, and in ``response.completed`` of responses. Anthropic reports it in the
answer; when streaming, in ``message_start`` and, cumulative, in ``message_delta``. What is read from or
written to a cache of prompts counts as input.

An answer that reports nothing (a stream without ``include_usage``, one that broke off) is estimated: one
token for each OCTETS_OF_TOKEN octets sent and received, where what is received of a stream is its text. An
answer that is an error and reports nothing used nothing. Nothing is ever changed, and memory is bounded.
"""

from collections.abc import Mapping

from proxy.policy.event_lines import EventLines
from proxy.policy.fact import Dialect
from proxy.policy.json_members import JsonMembers
from proxy.policy.service_budget import Used
from proxy.policy.strict_json import Json

OCTETS_OF_TOKEN = 4

_STREAM = "text/event-stream"
_WANTED = ("usage", "model", "type", "error")
_ENTERED = ("message", "response")
_INPUT = {
    Dialect.OPENAI: ("prompt_tokens", "input_tokens"),
    Dialect.ANTHROPIC: ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
}
_OUTPUT = {Dialect.OPENAI: ("completion_tokens", "output_tokens"), Dialect.ANTHROPIC: ("output_tokens",)}
_NOT_TEXT = frozenset(
    {"id", "type", "role", "object", "finish_reason", "stop_reason", "signature", "logprobs"}
)
_MAX_TOKENS = 2**53 - 1
_MAX_MODEL = 256  # characters


class UsageMeter:
    """The meter of one answer. ``content_type`` is its media type in lower case, without parameters.

    An empty one says that the answer cannot be read: it is estimated. ``sent`` is the length of the
    request's content in octets, as far as it is known; set it when more is.
    """

    def __init__(self, dialect: Dialect, content_type: str, sent: int) -> None:
        self._dialect = dialect
        self.sent = sent
        self._octets = 0
        self._text = 0  # octets of text in a stream
        self._tokens: dict[str, int] = {}
        self._final = False  # whether the number of tokens in the answer is the last one
        self._failed = False
        self._model = ""
        self._document = self._fresh() if content_type else None
        self._events = EventLines(self._data, self._event) if content_type == _STREAM else None

    def feed(self, data: bytes) -> None:
        """Look at the next piece of the answer's content."""
        self._octets += len(data)
        if self._events is not None:
            self._events.feed(data)
        elif self._document is not None:
            self._document.feed(data)

    def finish(self) -> Used:
        """What was used, as far as the answer got. ``octets`` of it is 0: who relays counts those."""
        if self._events is not None:
            self._event()
        elif self._document is not None:
            members = self._document.members()
            self._absorb(members)
            self._failed = isinstance(members.get("error"), dict)
        if self._failed and not self._tokens:
            return Used(model=self._model)
        names = self._tokens.keys()
        known = not names.isdisjoint(_INPUT[self._dialect])
        tokens_in = sum(self._tokens.get(name, 0) for name in _INPUT[self._dialect])
        tokens_out = sum(self._tokens.get(name, 0) for name in _OUTPUT[self._dialect])
        if not known:
            tokens_in = _estimate(self.sent)
        if not self._final:
            tokens_out = max(tokens_out, _estimate(self._text or self._octets))
        return Used(0, tokens_in, tokens_out, self._model, estimated=not (known and self._final))

    def _fresh(self) -> JsonMembers:
        return JsonMembers(_WANTED, _ENTERED)

    def _data(self, piece: bytes) -> None:
        assert self._document is not None, "events are only read where the content is"
        self._document.feed(piece)

    def _event(self) -> None:
        """One event is complete."""
        document = self._document
        if document is not None and document.octets:
            members = document.members()
            self._absorb(members)
            if document.whole:
                self._text += _text(members.get("delta")) + _text(members.get("choices"))
            elif not members.keys() & {"usage", *_ENTERED}:
                self._text += document.octets
            self._document = self._fresh()

    def _absorb(self, members: Mapping[str, Json]) -> None:
        for part in (members, *(members.get(name) for name in _ENTERED)):
            if not isinstance(part, Mapping):
                continue
            model, usage = part.get("model"), part.get("usage")
            if isinstance(model, str) and model:
                self._model = model[:_MAX_MODEL]
            if isinstance(usage, Mapping):
                # Anthropic's message_start tells of the answer only what it begins with.
                self._report(usage, final=self._dialect is Dialect.OPENAI or part is members)

    def _report(self, usage: Mapping[str, Json], *, final: bool) -> None:
        names = (*_INPUT[self._dialect], *_OUTPUT[self._dialect])
        known = {name: count for name in names if (count := _count(usage.get(name))) is not None}
        if self._dialect is Dialect.OPENAI and known:
            self._tokens.clear()  # one of two vocabularies, whole: embeddings have no output
        self._tokens.update(known)
        self._final = self._final or (final and bool(known))


def _count(value: Json) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_TOKENS:
        return None
    return value


def _estimate(octets: int) -> int:
    return -(-octets // OCTETS_OF_TOKEN)


def _text(value: Json, name: str = "delta") -> int:
    """The octets of all text below a delta, names and kinds of things excepted."""
    if name in _NOT_TEXT:
        return 0
    if isinstance(value, str):
        return len(value.encode("utf-8"))
    if isinstance(value, dict):
        return sum(_text(member, key) for key, member in value.items())
    return sum(_text(item, name) for item in value) if isinstance(value, list) else 0
