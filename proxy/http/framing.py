"""How long a message is and whether its connection persists (RFC 9112, 6.3 and 9.3)."""

from collections.abc import Iterable, Sequence

from proxy.http.message import Header

Index = dict[bytes, list[bytes]]
_MAX_DIGITS = 18


def index(headers: Sequence[Header]) -> Index:
    """All values by lower-case name, for a head that is asked many questions."""
    found: Index = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return found


def members(lines: Iterable[bytes]) -> list[bytes]:
    """The comma-separated list that these field lines form together, lower-cased (RFC 9110, 5.6.1)."""
    parts = (part.strip(b" \t").lower() for line in lines for part in line.split(b","))
    return [part for part in parts if part]


def content_length(found: list[bytes]) -> int | None:
    """The one Content-Length among ``found``, or None if it is not one decimal number."""
    if len(found) != 1 or not found[0].isdigit() or len(found[0]) > _MAX_DIGITS:
        return None
    return int(found[0])


def wants_keep_alive(version: str, options: list[bytes]) -> bool:
    """Whether the connection persists after this message (RFC 9112, 9.3)."""
    return b"close" not in options and (version == "1.1" or b"keep-alive" in options)
