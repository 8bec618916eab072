"""How a record too long for one entry is made to fit: long values become digests, nothing is cut.

A value becomes ``{"len": octets, "sha256": hex}`` over its UTF-8 (a string) or its canonical bytes
(an array, an object). Largest first: strings, then members of a part, then whole parts. The envelope
is never touched, so that the record keeps its id, its place and its time.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import orjson

from proxy.audit import Malformed
from proxy.audit.canonical import Json, digest, encode

_ENVELOPE = frozenset({"v", "type", "id", "log", "ts", "decision_id"})


class _Slot(NamedTuple):
    value: Json
    replace: Callable[[Json], None]


def shrink(entry: bytes, limit: int) -> bytes:
    """Make the canonical bytes of a record fit ``limit`` octets.

    :raises Malformed: if the envelope alone is longer than ``limit``.
    """
    record: dict[str, Json] = orjson.loads(entry)
    size = len(entry)
    for slots in (_strings, _members, _parts):
        sized = [(len(encode(slot.value)), slot) for slot in slots(record)]
        for was, slot in sorted(sized, key=lambda pair: -pair[0]):
            if size <= limit:
                return encode(record)
            value = slot.value
            short = digest(value.encode() if isinstance(value, str) else encode(value))
            saved = was - len(encode(short))
            if saved > 0:
                slot.replace(short)
                size -= saved
    if size > limit:
        raise Malformed(f"a record of {size} octets cannot be made to fit {limit}")
    return encode(record)


def _slots(holder: Json) -> Iterator[_Slot]:
    if isinstance(holder, dict):
        for key, value in holder.items():
            yield _Slot(value, _setter(holder, key))
    elif isinstance(holder, list):
        for number, value in enumerate(holder):
            yield _Slot(value, _setter(holder, number))


def _setter(holder: dict[str, Json] | list[Json], key: str | int) -> Callable[[Json], None]:
    def replace(value: Json) -> None:
        holder.__setitem__(key, value)  # type: ignore[index]  # the key came from this holder

    return replace


def _parts(record: Json) -> Iterator[_Slot]:
    if isinstance(record, dict):
        shown = {name: part for name, part in record.items() if name not in _ENVELOPE}
        yield from (_Slot(part, _setter(record, name)) for name, part in shown.items())


def _members(record: Json) -> Iterator[_Slot]:
    for part in _parts(record):
        yield from (slot for slot in _slots(part.value) if isinstance(slot.value, dict | list))


def _strings(record: Json) -> Iterator[_Slot]:
    todo = [part.value for part in _parts(record)]
    while todo:
        for slot in _slots(todo.pop()):
            if isinstance(slot.value, str):
                yield slot
            else:
                todo.append(slot.value)
