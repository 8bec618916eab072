"""What a check found: one line of the doctor's table."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How it is. Only ``fail`` keeps gatepass from doing what is configured."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """``what`` was looked at and how it is, in words; ``fix`` says what to do, "" if nothing."""

    health: Health
    what: str
    words: str
    fix: str = ""


def ok(what: str, words: str) -> Finding:
    """All is well."""
    return Finding(Health.OK, what, words)


def warn(what: str, words: str, fix: str) -> Finding:
    """It works, but somebody may be surprised."""
    return Finding(Health.WARN, what, words, fix)


def fail(what: str, words: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(Health.FAIL, what, words, fix)
