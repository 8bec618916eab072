"""Audit records: the entries of the log, as canonical JSON (``canonical``), at most 65,535 bytes each.

Every record: ``{"v":1,"type","id","log":{"origin","boot","seq"},"ts":{"wall_ns","mono_ns"}}``, then

* ``decision``: ``who``, ``what``, ``why``, ``credential`` — durable before anything leaves;
* ``outcome``: ``decision_id``, ``what`` — what came of an allowed decision;
* any other type (``boot``, ``shutdown``, ``task.open``, ``task.end``, ``rules.load``, ``recovery``,
  ``outcome.unknown``, ``heartbeat`` ...): ``body``. ``outcome.unknown`` names its ``decision_id`` there.

Nothing here is a secret and no record holds one: header values and bodies never come this far.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from orjson import Fragment

from proxy.audit import Malformed
from proxy.audit.canonical import Json, decode, encode_typed
from proxy.audit.shrink import shrink

MAX_ENTRY: Final = 65_535
"""Octets in one entry: its length travels as a uint16 (c2sp.org/tlog-tiles)."""

Part = Mapping[str, Json] | Fragment
"""A member object of a record; a ``Fragment`` of canonical bytes saves encoding it anew each time."""

_DIGITS: Final = 20  # of 2^64; int() is slow on many more, and refuses thousands
_PAIRS: Final = tuple(
    high + low for high in "0123456789ABCDEFGHJKMNPQRSTVWXYZ" for low in "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)


class Stamp(NamedTuple):
    """When and where a record was made: the part of the envelope that the caller knows.

    ``id`` is a ULID; ``wall_ns`` POSIX time, ``mono_ns`` a monotonic clock, both in nanoseconds;
    ``boot`` names one run of the sidecar. ``seq`` counts 0, 1, 2 ... without a gap, in log order, per
    boot and agent: a decision and its outcome count for the decision's agent (``who.agent.id``),
    a decision without an agent, its outcome, and every other record for the agent ``""``.
    """

    id: str
    wall_ns: int
    mono_ns: int
    origin: str
    boot: str
    seq: int


class Numbering:
    """Hands out ``Stamp.seq`` for one boot. Ask when the record is appended, not before."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def next(self, agent: str | None) -> int:
        """The next number of this agent; None and ``""`` both mean the sidecar itself."""
        key = agent or ""
        number = self._next.get(key, 0)
        self._next[key] = number + 1
        return number

    def give_back(self, agent: str | None) -> None:
        """Take back the last number: its record could not be made, and a gap reads as a deleted one."""
        self._next[agent or ""] -= 1


def ulid(wall_ns: int, randomness: bytes) -> str:
    """A ULID: 48 bits of milliseconds, then the first 80 bits of ``randomness`` (>= 10 octets)."""
    bits = int.from_bytes(randomness[:10], "big")
    pairs = _PAIRS
    return (
        f"{_era(wall_ns // 1_024_000_000)}{pairs[wall_ns // 1_000_000 & 1023]}"
        f"{pairs[bits >> 70]}{pairs[bits >> 60 & 1023]}"
        f"{pairs[bits >> 50 & 1023]}{pairs[bits >> 40 & 1023]}{pairs[bits >> 30 & 1023]}"
        f"{pairs[bits >> 20 & 1023]}{pairs[bits >> 10 & 1023]}{pairs[bits & 1023]}"
    )


@lru_cache(maxsize=4)
def _era(number: int) -> str:
    """The part of a moment that stays for 1,024 milliseconds."""
    return "".join(_PAIRS[number >> shift & 1023] for shift in (30, 20, 10, 0))


def decision(stamp: Stamp, *, who: Part, what: Part, why: Part, credential: Part | None) -> bytes:
    """The entry of a decision; ``stamp.id`` is the id that its outcome and the answer refer to."""
    record = _envelope(stamp, "decision")
    record["who"] = _part(who)
    record["what"] = _part(what)
    record["why"] = _part(why)
    record["credential"] = None if credential is None else _part(credential)
    return _entry(record)


def outcome(stamp: Stamp, *, decision_id: str, what: Part) -> bytes:
    """The entry that says how an allowed decision ended."""
    record = _envelope(stamp, "outcome")
    record["decision_id"] = decision_id
    record["what"] = _part(what)
    return _entry(record)


def event(stamp: Stamp, kind: str, body: Part) -> bytes:
    """The entry of anything else that happened; ``kind`` is its type.

    :raises ValueError: if ``kind`` is ``decision`` or ``outcome``, which have their own functions.
    """
    if kind in ("decision", "outcome"):
        raise ValueError(f"{kind} is not an event")
    record = _envelope(stamp, kind)
    record["body"] = _part(body)
    return _entry(record)


def _envelope(stamp: Stamp, kind: str) -> dict[str, Json]:
    return {
        "v": 1,
        "type": kind,
        "id": stamp.id,
        "log": {"origin": stamp.origin, "boot": stamp.boot, "seq": stamp.seq},
        "ts": {"wall_ns": str(stamp.wall_ns), "mono_ns": str(stamp.mono_ns)},
    }


def _part(part: Part) -> Json:
    return part if type(part) is dict or isinstance(part, Fragment) else dict(part)


def _entry(record: dict[str, Json]) -> bytes:
    entry = encode_typed(record)
    return entry if len(entry) <= MAX_ENTRY else shrink(entry, MAX_ENTRY)


@dataclass(frozen=True, slots=True)
class Record:
    """One entry, read. Fields that its kind lacks are empty (``""``, ``0``) or None.

    ``kind`` is the record's type; ``time`` is POSIX nanoseconds; ``effect`` is ``"allow"`` or ``"deny"``
    of a decision; ``code`` is the reason code of a denial or of an outcome that was not complete;
    ``status`` is a decision's or outcome's HTTP status; ``result`` is an outcome's. ``decision_id`` is
    the record's own id for a decision. ``tasks`` are those whose story it belongs to besides ``task``: the
    tasks above a call's or a delegated task's own, and those that an order ended. ``raw`` is all of it.
    A value that became a digest for want of room prints as ``[sha256:...]``.
    """

    id: str
    kind: str
    time: int
    origin: str
    boot: str
    seq: int
    agent: str
    task: str
    effect: str
    result: str
    code: str
    rule: str
    detail: str
    method: str
    scheme: str
    host: str
    port: int
    path: str
    status: int | None
    decision_id: str
    tasks: tuple[str, ...]
    raw: Mapping[str, Json]

    @property
    def url(self) -> str:
        """The URL that a decision is about, without its query; ``""`` for other records."""
        if not self.host:
            return self.path
        usual = {"http": 80, "https": 443}.get(self.scheme)
        port = "" if self.port in (0, usual) else f":{self.port}"
        return (
            f"{self.scheme}://{self.host}{port}{self.path}"
            if self.scheme
            else f"{self.host}{port}{self.path}"
        )


def parse(entry: bytes) -> Record:
    """Read one entry.

    :raises Malformed: if it is not canonical JSON or lacks the envelope. Parts are read leniently:
        what a part lacks, or has in another type, is empty.
    """
    raw = decode(entry)
    if not isinstance(raw, dict) or raw.get("v") != 1:
        raise Malformed("not a record of version 1")
    log, times = _object(raw, "log"), _object(raw, "ts")
    who, what, why = _object(raw, "who"), _object(raw, "what"), _object(raw, "why")
    body = _object(raw, "body")
    kind, record_id, wall, seq = _text(raw, "type"), _text(raw, "id"), _text(times, "wall_ns"), log.get("seq")
    if not kind or not record_id or not _decimal(wall) or type(seq) is not int:
        raise Malformed("a record without type, id, time or number")
    own_id = record_id if kind == "decision" else ""
    return Record(
        id=record_id,
        kind=kind,
        time=int(wall),
        origin=_text(log, "origin"),
        boot=_text(log, "boot"),
        seq=seq,
        agent=_name(who, "agent") or _name(body, "agent"),
        task=_name(who, "task") or _name(body, "task"),
        effect=_text(why, "effect"),
        result=_text(what, "result"),
        code=_text(why, "code") or _text(what, "code"),
        rule=_text(why, "rule"),
        detail=_text(why, "detail") or _text(what, "detail") or _text(body, "detail"),
        method=_text(what, "method"),
        scheme=_text(what, "scheme"),
        host=_text(what, "host"),
        port=_number(what, "port") or 0,
        path=_text(what, "path"),
        status=_number(why, "status") if own_id else _number(what, "status"),
        tasks=_tasks(who, body),
        decision_id=own_id or _text(raw, "decision_id") or _text(body, "decision_id"),
        raw=raw,
    )


def _decimal(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS and str(int(digits)) == digits


def _object(holder: Mapping[str, Json], key: str) -> Mapping[str, Json]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def _name(holder: Mapping[str, Json], key: str) -> str:
    """The id of an agent or a task, whether its object stands here or its id alone."""
    return _text(_object(holder, key), "id") or _text(holder, key)


def _tasks(who: Mapping[str, Json], body: Mapping[str, Json]) -> tuple[str, ...]:
    """The tasks that a record is about besides its own: those above it, or all that an order ended."""
    chain, ended = who.get("chain"), body.get("tasks")
    links = chain if isinstance(chain, list) else []
    above = [_text(link, "task") for link in links if isinstance(link, dict)]
    listed = ended if isinstance(ended, list) else []
    named = [*above, _text(body, "parent"), *(task for task in listed if isinstance(task, str))]
    return tuple(task for task in named if task)


def _text(holder: Mapping[str, Json], key: str) -> str:
    value = holder.get(key)
    if isinstance(value, dict):
        for name in ("sha256", "base64"):
            if isinstance(value.get(name), str):
                return f"[{name}:{value[name]}]"
    return value if isinstance(value, str) else ""


def _number(holder: Mapping[str, Json], key: str) -> int | None:
    value = holder.get(key)
    return value if type(value) is int else None
