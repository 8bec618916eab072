"""How far something long has come: on standard error, and only once it has taken a second."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_QUIET = 1.0  # seconds
_EVERY = {True: 0.2, False: 10.0}  # seconds, on a terminal and elsewhere


def counted(items: Iterable[T], what: str) -> Iterator[T]:
    """The items, counted aloud: ``gatepass: 12,000 records ...``. ``what`` is their plural."""
    terminal = sys.stderr.isatty()
    count, told, due = 0, False, time.monotonic() + _QUIET
    try:
        for item in items:
            yield item
            count += 1
            if time.monotonic() >= due:
                told, due = True, time.monotonic() + _EVERY[terminal]
                end = "" if terminal else "\n"
                start = "\r" if terminal else ""
                print(f"{start}gatepass: {count:,} {what} ...", end=end, file=sys.stderr, flush=True)
    finally:
        if told and terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
