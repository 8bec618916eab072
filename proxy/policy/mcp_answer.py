"""Lists of tools in MCP answers, cut down to what the agent could call (MCP 2025-06-18, server/tools).

``{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"search",...}]}}``, alone, in a batch, or as the data of
server-sent events (WHATWG HTML, 9.2). Every result that holds ``tools`` loses the entries that may not be
shown, and those without a name. What loses nothing is passed on octet for octet. What cannot be read in one
way is not passed on: RESPONSE_UNREADABLE.

Decided: what cannot hold the name ``tools``, because neither the word nor an escape that could spell it
occurs in it, is not parsed. So large results of tools cost a search, and not a parse.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

import orjson

from proxy.errors import Code, Refusal
from proxy.policy import strict_json
from proxy.policy.strict_json import Json

Keep: TypeAlias = Callable[[str], bool]
"""Whether the tool of this name may be shown."""

_BOM = b"\xef\xbb\xbf"
_ENDS = (b"\n", b"\r")
_BLANK = (b"\n", b"\r", b"\r\n")
_PLAIN = re.compile(rb"[A-Za-z0-9/.?#][\t -~]*")  # a URL or words; no list in JSON begins like this
# These end no line of events, and yet one of text: clients that split as str.splitlines does (httpx) go on.
_ODD_END = re.compile(rb"[\x0b\x0c\x1c-\x1e]|\xc2\x85|\xe2\x80[\xa8\xa9]")


def filter_message(document: bytes, keep: Keep) -> bytes | Refusal:
    """The content of a JSON answer without the tools that may not be shown; RESPONSE_UNREADABLE."""
    if not _may_list(document):
        return document
    parsed = strict_json.parse(document)
    if isinstance(parsed, Refusal):
        return _unreadable(parsed.detail)
    lost = False
    for message in parsed if isinstance(parsed, list) else [parsed]:
        if not isinstance(message, dict):
            return _unreadable("a JSON-RPC message is no object")
        result = message.get("result")
        if not isinstance(result, dict) or "tools" not in result:
            continue
        tools = result["tools"]
        if not isinstance(tools, list):
            return _unreadable("tools is no list")
        shown = [tool for tool in tools if _shown(tool, keep)]
        lost = lost or len(shown) != len(tools)
        result["tools"] = shown
    return orjson.dumps(parsed) if lost else document


def _may_list(document: bytes) -> bool:
    # With a NUL it may be UTF-16 or UTF-32, which some clients read all the same.
    return b"tools" in document or b"\\u" in document or b"\0" in document


def _shown(tool: Json, keep: Keep) -> bool:
    name = tool.get("name") if isinstance(tool, dict) else None
    return isinstance(name, str) and keep(name)


class SseFilter:
    """The same for a stream of events, in pieces of any size: an event is passed on once it is complete.

    ``limit`` is the largest event, in octets. Once something was refused, ``refusal`` says why and nothing
    more comes out: the answer has to be cut off there.
    """

    __slots__ = ("_after_cr", "_began", "_keep", "_limit", "_lines", "_open", "_size", "refusal")

    def __init__(self, keep: Keep, limit: int) -> None:
        self.refusal: Refusal | None = None
        self._keep = keep
        self._limit = limit
        self._lines: list[bytes] = []  # of the event that is not complete, with their ends
        self._open: list[bytes] = []  # pieces of the line that is not
        self._size = 0  # of both
        self._after_cr = False
        self._began = False  # the first event is over

    def feed(self, piece: bytes) -> bytes:
        """Take the next octets; returns those that may be passed on now."""
        out: list[bytes] = []
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
            self._end_with_lf(out)
        if piece:
            self._after_cr = piece.endswith(b"\r")
        for line in piece.splitlines(keepends=True):  # octets: only LF, CR and CRLF end a line
            if self.refusal is not None:
                break
            self._take(line, out)
        return b"".join(out)

    def finish(self) -> bytes:
        """The stream has ended: an event that it left open is judged as if it were complete."""
        self._lines.append(b"".join(self._open))
        self._open = []
        return self._event(b"") if self.refusal is None else b""

    def _take(self, line: bytes, out: list[bytes]) -> None:
        """One line, or the piece of one that has arrived."""
        ended = line.endswith(_ENDS)
        if ended and not self._open and line in _BLANK:
            out.append(self._event(line))
            return
        self._grow(len(line))
        self._open.append(line)
        if ended:
            self._lines.append(b"".join(self._open))
            self._open = []

    def _end_with_lf(self, out: list[bytes]) -> None:
        """The line that ended with CR ends with CRLF; if it ended an event, that has been passed on."""
        if self.refusal is not None:
            return
        if self._lines:
            self._lines[-1] += b"\n"
            self._grow(1)
        else:
            out.append(b"\n")

    def _grow(self, octets: int) -> None:
        self._size += octets
        if self._size > self._limit:
            self.refusal = _unreadable(f"an event is longer than {self._limit} octets")

    def _event(self, blank: bytes) -> bytes:
        """The complete event, as it may be passed on; nothing if it is refused."""
        lines, self._lines, self._size = self._lines, [], 0
        mark = b"" if self._began or not lines or not lines[0].startswith(_BOM) else _BOM
        self._began = True
        data: list[bytes] = []
        places: list[int] = []
        for place, line in enumerate(lines):
            text = line.rstrip(b"\r\n")
            name, _, value = (text if place else text.removeprefix(mark)).partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
                places.append(place)
            elif _may_list(line) and _ODD_END.search(line):
                self.refusal = _unreadable("an event has a line that ends in the middle for some clients")
                return b""
        old = b"\n".join(data)
        new = old if _PLAIN.fullmatch(old) else filter_message(old, self._keep)
        if isinstance(new, Refusal):
            self.refusal = new
            return b""
        if new is not old:
            first = lines[places[0]]
            end = first[len(first.rstrip(b"\r\n")) :]
            lines[places[0]] = (b"" if places[0] else mark) + b"data: " + new + end
            more = set(places[1:])
            lines = [line for place, line in enumerate(lines) if place not in more]
        return b"".join(lines) + blank


def _unreadable(why: str) -> Refusal:
    return Refusal(Code.RESPONSE_UNREADABLE, f"a list of tools could not be read: {why}")
