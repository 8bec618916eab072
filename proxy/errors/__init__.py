"""Why a call is refused: the closed list of reason codes, whose fault each one is, and what to do next.

A refusal is a value, never an exception with prose. Words for people are rendered at the edge from
this table (``application/problem+json``, RFC 9457; ``Proxy-Status``, RFC 9209). ``rules/CODES.md``
documents every code; a test compares the two.
"""

from dataclasses import dataclass

from proxy.errors.beyond import BEYOND
from proxy.errors.code import Code
from proxy.errors.decision import DECISION
from proxy.errors.destination import DESTINATION
from proxy.errors.identity import IDENTITY
from proxy.errors.meaning import Fault, Meaning
from proxy.errors.request import REQUEST

__all__ = ["MEANING", "Code", "Fault", "Meaning", "Refusal"]

_ALL = REQUEST | IDENTITY | DESTINATION | DECISION | BEYOND
MEANING: dict[Code, Meaning] = {code: _ALL[code] for code in Code}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal, as data.

    ``detail`` says in plain words what happened this time; it never holds a secret, and whoever
    prints it escapes it. ``rule`` is the ``@id`` of the determining rule, if a rule spoke.
    ``retry_after`` is in seconds.
    """

    code: Code
    detail: str
    rule: str | None = None
    retry_after: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status this refusal is answered with."""
        return MEANING[self.code].status

    @property
    def meaning(self) -> Meaning:
        """The table's row for this refusal's code."""
        return MEANING[self.code]
