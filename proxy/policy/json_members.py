"""A few members out of a JSON document of any size, read as it arrives and in bounded memory.

Nothing is judged: this reads answers, whose format their sender warrants, to count what they report. A
document that fits LIMIT is parsed whole; of a larger one only the members that are wanted are kept, at the
top and in the objects that are entered, and none that is larger than LIMIT itself. Of a name that
occurs twice the last one counts. Where the pieces are cut makes no difference.
"""

import re
from collections.abc import Collection, Mapping

import orjson

from proxy.policy.strict_json import Json

LIMIT = 65_536  # octets

_STRING = re.compile(rb'["\\]')
_MEMBERS = re.compile(rb'["{}\[\],]')
_DEEPER = re.compile(rb'["{}\[\]]')
_NAMED = re.compile(rb'\s*"([^"\\]*)"\s*:')


class JsonMembers:
    """One document. ``octets`` is what has been fed; ``whole`` tells whether it is kept whole.

    ``wanted`` are the members to keep of a large document; ``entered`` the members whose own members are
    looked at in the same way.
    """

    def __init__(self, wanted: Collection[str], entered: Collection[str]) -> None:
        self.octets = 0
        self._buffer = bytearray()
        self._scan: _Scan | None = None
        self._wanted = wanted
        self._entered = entered

    @property
    def whole(self) -> bool:
        """Whether ``members`` returns all of the document, not only what is wanted."""
        return self._scan is None

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self.octets += len(data)
        if self._scan is not None:
            self._scan.feed(data)
            return
        self._buffer += data
        if len(self._buffer) > LIMIT:
            self._scan = _Scan(self._wanted, self._entered)
            self._scan.feed(bytes(self._buffer))
            self._buffer.clear()

    def members(self) -> Mapping[str, Json]:
        """What there is so far: nothing if it is no object, or if a small document is not complete."""
        if self._scan is not None:
            return self._scan.found
        document = _loads(bytes(self._buffer))
        return document if isinstance(document, dict) else {}


def _loads(data: bytes) -> Json:
    try:
        document: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return document


class _Scan:
    """Brackets and quotes are counted; the text of one member at a time is kept while it is small."""

    def __init__(self, wanted: Collection[str], entered: Collection[str]) -> None:
        self.found: dict[str, Json] = {}
        self._wanted = wanted
        self._entered = entered
        self._target = self.found
        self._depth = 0
        self._open = 1  # the depth whose members are looked at
        self._text = bytearray()  # of the member so far; more than LIMIT: it is too large
        self._in_string = self._escaped = self._ended = False

    def feed(self, data: bytes) -> None:
        place = 0
        if self._escaped and data:
            self._keep(data[:1])
            self._escaped, place = False, 1
        while place < len(data) and not self._ended:
            watched = _MEMBERS if self._depth == self._open else _DEEPER
            pattern = _STRING if self._in_string else watched
            match = pattern.search(data, place)
            if match is None:
                self._keep(data[place:])
                return
            self._keep(data[place : match.start()])
            place = match.end()
            if match[0] == b"\\":
                self._keep(data[match.start() : place + 1])
                self._escaped = place == len(data)
                place += 1
            else:
                self._step(match[0])

    def _keep(self, piece: bytes) -> None:
        if len(self._text) <= LIMIT:
            self._text += piece[: LIMIT + 1]

    def _step(self, mark: bytes) -> None:
        if mark == b'"':
            self._in_string = not self._in_string
        elif mark in b"{[":
            self._descend(mark)
            return
        elif mark in b"}]":
            self._depth -= 1
            if self._depth < self._open:
                self._close()
                return
        else:  # a comma is looked for between members only
            self._finish()
            return
        self._keep(mark)

    def _descend(self, mark: bytes) -> None:
        self._depth += 1
        if self._depth == 1:
            self._text.clear()
            self._ended = mark != b"{"
            return
        direct = mark == b"{" and self._open == 1 and self._depth == 2  # noqa: PLR2004 - the value of a member
        name = self._name() if direct else None
        if name in self._entered and name is not None:
            inner: dict[str, Json] = {}
            self.found[name] = self._target = inner
            self._open = 2
            self._text.clear()
        else:
            self._keep(mark)

    def _name(self) -> str | None:
        named = _NAMED.match(self._text)
        return None if named is None else named[1].decode("utf-8", "replace")

    def _finish(self) -> None:
        """A member is complete."""
        name = self._name()
        if name in self._wanted and name is not None and len(self._text) <= LIMIT:
            self._target[name] = _loads(bytes(self._text.partition(b":")[2]))
        self._text.clear()

    def _close(self) -> None:
        """The object whose members were looked at ends."""
        self._finish()
        self._ended = self._open == 1
        self._open, self._target = 1, self.found
