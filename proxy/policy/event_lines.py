"""The data of server-sent events (WHATWG HTML, 9.2.6), as it arrives and without holding a line.

For looking only: comments, ids, names of events and retry times are passed over.
"""

import re
from collections.abc import Callable

_END = re.compile(rb"\r\n|\r|\n")
_FIELD = b"data:"


class EventLines:
    """``data`` gets every piece of the data of an event, ``event`` is called at its end.

    An event that the stream does not finish is told by its data only. The one space that may follow
    ``data:`` is left in: it means nothing in JSON.
    """

    def __init__(self, data: Callable[[bytes], None], event: Callable[[], None]) -> None:
        self._data = data
        self._event = event
        self._after_cr = False
        self._head = b""  # of a line, while it may still become data
        self._reading: bool | None = None  # whether the line is data; None: not known yet

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the stream."""
        if not piece:
            return
        rest = piece.removeprefix(b"\n") if self._after_cr else piece
        self._after_cr = piece.endswith(b"\r")
        *lines, last = _END.split(rest)
        for line in lines:
            self._part(line)
            self._end()
        self._part(last)

    def _part(self, part: bytes) -> None:
        if self._reading is None:
            part = self._head + part
            if _FIELD.startswith(part) and part != _FIELD:
                self._head = part
                return
            self._reading = part.startswith(_FIELD)
            part = part[len(_FIELD) :]
        if self._reading and part:
            self._data(part)

    def _end(self) -> None:
        """A line ends."""
        if self._reading is None and not self._head:
            self._event()
        elif self._reading:
            self._data(b"\n")
        self._head, self._reading = b"", None
