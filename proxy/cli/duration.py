"""Durations as people write them: ``90s``, ``15m``, ``1h``, ``2h30m``, ``1d``."""

import re

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_FORM = re.compile("".join(rf"(?:(?P<{unit}>[0-9]{{1,9}}){unit})?" for unit in _UNITS), re.ASCII)


def parse_duration(text: str) -> int:
    """The duration in seconds, at least one.

    :raises ValueError: if it is not written as days, hours, minutes and seconds, in this order.
    """
    match = _FORM.fullmatch(text.strip().lower())
    seconds = sum(int(match[unit] or 0) * size for unit, size in _UNITS.items()) if match else 0
    if seconds == 0:
        raise ValueError(f"{text!r} is not a duration; write it as 90s, 15m, 1h or 2h30m")
    return seconds


def format_duration(seconds: int) -> str:
    """The duration in the form that ``parse_duration`` reads, without units that are zero."""
    parts = []
    for unit, size in _UNITS.items():
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
