"""How long a fetched document may be kept, per HTTP Caching (RFC 9111, 4.2, 5.1 and 5.2.2).

Decided: an answer that says nothing is kept for an hour, and one that forbids caching for five minutes,
because keys that are fetched for each token let whoever sends tokens send requests.
"""

import re

MIN_S = 300.0
MAX_S = 86_400.0
UNSAID_S = 3_600.0

_DIRECTIVE = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:=(?:\"([^\"]*)\"|([^\s,\"]*)))?\s*(?:,|$)")
_SECONDS = re.compile(r"[0-9]{1,12}")
_FORBIDS = frozenset({"no-store", "no-cache"})


def lifetime(cache_control: str, age: str) -> float:
    """Seconds from MIN_S to MAX_S for which an answer is fresh.

    ``cache_control`` and ``age`` are the values of the headers, "" if there are none. Of several
    ``max-age`` the shortest counts; what cannot be read counts as MIN_S.
    """
    directives = _directives(cache_control)
    if directives is None or any(name in _FORBIDS for name, _ in directives):
        return MIN_S
    limits = [_seconds(value) for name, value in directives if name == "max-age"]
    if not limits:
        return UNSAID_S
    old = _seconds(age) if age else 0.0
    known = [limit for limit in limits if limit is not None]
    if old is None or len(known) < len(limits):
        return MIN_S
    return min(max(min(known) - old, MIN_S), MAX_S)


def _directives(text: str) -> list[tuple[str, str]] | None:
    """The directives by lower-case name, in order; None if the list is malformed."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _DIRECTIVE.match(text, position)
        if match is None:
            return None
        found.append((match[1].lower(), match[2] or match[3] or ""))
        position = match.end()
    return found


def _seconds(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text.strip()) else None
