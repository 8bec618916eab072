"""What a remote policy decision point says, whatever it speaks, or why it says nothing."""

from typing import NamedTuple

MAX_RULES = 32
_MAX_NAME = 128
_MAX_REASON = 300


class Answer(NamedTuple):
    """``allowed`` None: it has no decision, which is a denial by default.

    ``unmet`` are obligations that nobody here knows how to meet.
    """

    allowed: bool | None
    rules: tuple[str, ...] = ()
    reason: str = ""
    unmet: bool = False


class Failure(NamedTuple):
    """Why there is no answer, and what came instead, if anything did."""

    words: str
    body: bytes = b""


def read_rules(value: object) -> tuple[str, ...] | None:
    """The names of rules in an answer; None if it is no list of names."""
    if not isinstance(value, list) or len(value) > MAX_RULES:
        return None
    names = tuple(name for name in value if isinstance(name, str) and 0 < len(name) <= _MAX_NAME)
    return names if len(names) == len(value) and all(map(str.isprintable, names)) else None


def shorten(reason: str) -> str:
    """Words for the agent, on one line."""
    return " ".join(reason.split())[:_MAX_REASON]
