"""JSON bodies (I-JSON, RFC 7493), read with one reading: no key twice, no unknown key, nothing converted.

What cannot be read comes back as words for whoever sent it. Nothing here raises.
"""

import re
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from proxy.control.operations import TaskAsked
from proxy.http.problem import printable
from proxy.identity.i_json import parse_object
from proxy.identity.principal import Budgets
from proxy.identity.revocation import EVERYTHING, Kind
from proxy.identity.task import MAX_DEPTH, MAX_INTEGER, MAX_SCOPES, MAX_SERVICES, MAX_TASK_S, TASK_ID
from proxy.policy.approval import MAX_GRANT_S, MAX_USES, Denial, Grant

MAX_OCTETS = 65_536
_GRANT_S = 3_600
_MAX_WORDS = 600
_DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?", re.ASCII)
_UNITS = (86_400, 3_600, 60, 1)


class Flaw(NamedTuple):
    """What is wrong with a body, in words."""

    words: str


class Ordered(NamedTuple):
    """An order to revoke, as asked."""

    kind: Kind
    id: str
    reason: str


def _seconds(value: object) -> object:
    """A duration in words as a number; anything else is left to the field."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value)
    if not match or not any(match.groups()):
        raise ValueError("write a number of seconds, or a duration such as 90s, 15m, 1h or 2h30m")
    return sum(int(count or 0) * unit for count, unit in zip(match.groups(), _UNITS, strict=True))


# pydantic matches in Rust, where ``$`` is the end of the text and never before a last newline. Lengths are
# not the pattern's to say: Rust writes a repetition of so many characters out, into megabytes.
_PLAIN = r"^[^\x00-\x1f\x7f-\x9f]*$"
_Line = Annotated[str, Field(pattern=_PLAIN, max_length=1_024)]
_Words = Annotated[str, Field(pattern=_PLAIN, min_length=1, max_length=1_024)]
_Name = Annotated[str, Field(pattern=_PLAIN, min_length=1, max_length=2_048)]
_Count = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
_Lifetime = Annotated[int, Field(gt=0, le=MAX_TASK_S), BeforeValidator(_seconds)]
_Uses = Annotated[int, Field(ge=1, le=MAX_USES)]
_While = Annotated[int, Field(gt=0, le=MAX_GRANT_S), BeforeValidator(_seconds)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _BudgetsBody(_Model):
    requests: _Count | None = None
    octets: _Count | None = None


class _TaskBody(_Model):
    agent: _Name
    purpose: _Line = ""
    ttl: _Lifetime = 3_600
    scopes: Annotated[list[_Name], Field(max_length=MAX_SCOPES)] = []
    services: Annotated[list[_Name], Field(max_length=MAX_SERVICES)] | None = None
    budgets: _BudgetsBody = _BudgetsBody()
    ticket: _Words | None = None
    on_behalf_of: _Words | None = None
    approver: _Words | None = None
    depth: Annotated[int, Field(ge=0, le=MAX_DEPTH)] | None = None


class _EndBody(_Model):
    reason: _Line = ""


class _RevocationBody(_Model):
    kind: Literal["agent", "task", "token", "key", "issuer", "all"]
    id: _Name | None = None
    reason: _Words


class _AnswerBody(_Model):
    answer: Literal["approve", "deny"]
    uses: _Uses | None = None
    seconds: _While | None = None
    reason: _Line = ""


_M = TypeVar("_M", bound=_Model)


def parse_task(body: bytes) -> TaskAsked | Flaw:
    """The task that is asked for; nobody is its approver yet if it names none."""
    parsed = _parse(body, _TaskBody)
    if isinstance(parsed, Flaw):
        return parsed
    return TaskAsked(
        agent=parsed.agent,
        purpose=parsed.purpose,
        ttl_s=parsed.ttl,
        scopes=tuple(parsed.scopes),
        services=None if parsed.services is None else tuple(parsed.services),
        budgets=Budgets(parsed.budgets.requests, parsed.budgets.octets),
        ticket=parsed.ticket,
        on_behalf_of=parsed.on_behalf_of,
        approver=parsed.approver,
        depth=parsed.depth,
    )


def parse_reason(body: bytes) -> str | Flaw:
    """The reason for an end; a body that is empty or names none gives none."""
    parsed = _parse(body or b"{}", _EndBody)
    return parsed if isinstance(parsed, Flaw) else parsed.reason


def parse_answer(body: bytes) -> Grant | Denial | Flaw:
    """An operator's yes, once and for an hour unless it says otherwise, or no."""
    parsed = _parse(body, _AnswerBody)
    if isinstance(parsed, Flaw):
        return parsed
    if parsed.answer == "approve":
        return Grant(parsed.uses or 1, parsed.seconds or _GRANT_S, parsed.reason)
    if parsed.uses is not None or parsed.seconds is not None:
        return Flaw("answer: a no has neither uses nor seconds")
    return Denial(parsed.reason)


def parse_revocation(body: bytes) -> Ordered | Flaw:
    """The order to revoke. Only one about everything may go without an id."""
    parsed = _parse(body, _RevocationBody)
    if isinstance(parsed, Flaw):
        return parsed
    kind = Kind(parsed.kind)
    identity = EVERYTHING if kind is Kind.ALL and parsed.id is None else parsed.id
    if identity is None:
        return Flaw(f"id: name the {kind.value} to revoke")
    flaw = flaw_of_id(kind, identity)
    return flaw or Ordered(kind, identity, parsed.reason)


def flaw_of_id(kind: Kind, identity: str) -> Flaw | None:
    """Why this cannot be the id in an order of this kind, or None."""
    if kind is Kind.ALL and identity != EVERYTHING:
        return Flaw(f"id: an order about everything has the id {EVERYTHING}, or none")
    if kind is Kind.TASK and not TASK_ID.fullmatch(identity):
        return Flaw("id: the id of a task is t- and 26 of a-z 2-7")
    return None


def _parse(body: bytes, model: type[_M]) -> _M | Flaw:
    if len(body) > MAX_OCTETS:
        return Flaw(f"larger than {MAX_OCTETS} octets")
    document = parse_object(body)
    if document is None:
        return Flaw("the body is not one JSON object in UTF-8 with each key once")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        return Flaw(_words(error))


def _words(error: ValidationError) -> str:
    """What pydantic found. Values are not repeated: there may be a secret among them."""
    found = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        words = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            words = "this key is not known here"
        where = ".".join(str(step) for step in item["loc"])
        found.append(f"{where}: {words}" if where else words)
    return printable("; ".join(found))[:_MAX_WORDS]
