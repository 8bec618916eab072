"""The revocation file: the orders that a fleet tool keeps in front of every sidecar.

::

    revocations:
      - agent: coder
        reason: key leaked          # optional everywhere
      - token: "b7c1d0"             # its id (jti) or its SHA-256 in hex; quoted, it could be a number
      - key: "2027"                 # the key id (kid) that tokens name
      - issuer: https://login.example.org
      - task: t-dplg6d76py4ulazz76gjulfwuy
      - all: true

What stands in the file holds; what is taken out holds no longer, save that a task stays ended. No orders
at all is ``revocations: []``: an empty file is a mistake, and so is one whose last line has no end, because
a file that is read while it is written looks like that.
"""

import re
from collections.abc import Iterable
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from proxy.identity.revocation import EVERYTHING, Kind, Order
from proxy.identity.task import TASK_ID
from proxy.problems import LoadedYaml, Problem, load_yaml, problems_of

# Lengths are not the pattern's to say: Rust writes a repetition of so many characters out, into megabytes.
_Id = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=2048)]
_Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=1024)]
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


class _Model(BaseModel):
    """Unknown keys are errors, and nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Entry(_Model):
    agent: _Id | None = None
    task: _Id | None = None
    token: _Id | None = None
    key: _Id | None = None
    issuer: _Id | None = None
    all: bool | None = None
    reason: _Words = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set - {"reason"}) != 1 or self.subject is None:
            raise ValueError(f"an entry names one of {', '.join(Kind)}")
        kind, identity = self.subject
        if kind is Kind.TASK and not TASK_ID.fullmatch(identity):
            raise ValueError("this is not the id of a task")
        if kind is Kind.TOKEN and _SHA256.fullmatch(identity) and identity != identity.lower():
            raise ValueError("a digest is written in lower case")
        return self

    @property
    def subject(self) -> tuple[Kind, str] | None:
        """What the entry is about."""
        if self.all:
            return Kind.ALL, EVERYTHING
        named = ((kind, getattr(self, kind.value)) for kind in Kind if kind is not Kind.ALL)
        return next(((kind, identity) for kind, identity in named if identity is not None), None)


class _RevocationsFile(_Model):
    revocations: list[_Entry]


class Difference(NamedTuple):
    """What to do when the file has changed: orders to give, and orders to lift."""

    revoke: tuple[Order, ...]
    lift: tuple[tuple[Kind, str], ...]


def parse_revocations(data: bytes, file: str, at_ns: int) -> tuple[Order, ...] | list[Problem]:
    """Read the file; of two entries about one thing the first counts. Never raises.

    ``file`` is its name, for problems and for ``ordered_by``; ``at_ns`` is when it was read (POSIX time).
    """
    loaded = load_yaml(data, file)
    if not isinstance(loaded, LoadedYaml):
        return loaded
    if not data.endswith(b"\n"):
        return [Problem(file, None, "the last line has no end: the file is not whole")]
    try:
        entries = _RevocationsFile.model_validate(loaded.data).revocations
    except ValidationError as error:
        return problems_of(error, loaded)
    orders: dict[tuple[Kind, str], Order] = {}
    for entry in entries:
        if entry.subject is not None:
            order = Order(*entry.subject, entry.reason, source(file), at_ns)
            orders.setdefault(entry.subject, order)
    return tuple(orders.values())


def source(file: str) -> str:
    """What ``ordered_by`` says in the orders of this file."""
    return f"file:{file}"


def difference(before: Iterable[Order], after: Iterable[Order]) -> Difference:
    """From the orders of this file that hold (``before``) to those that stand in it now.

    Give it as ``before`` what holds with the file as its ``source``: what others ordered is not the file's
    to lift. An order about a task is never lifted.
    """
    held = {(order.kind, order.id) for order in before}
    wanted = {(order.kind, order.id): order for order in after}
    return Difference(
        revoke=tuple(order for subject, order in wanted.items() if subject not in held),
        lift=tuple(sorted(subject for subject in held - wanted.keys() if subject[0] is not Kind.TASK)),
    )
