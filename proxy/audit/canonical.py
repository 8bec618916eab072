"""RFC 8785 (JSON Canonicalization Scheme), the subset in which the log is written.

The subset: no floats, integers within +-(2^53-1), ASCII member names, strings that are valid
Unicode, at most 254 levels. In it sorted compact JSON *is* RFC 8785, byte for byte. Wider numbers
travel as decimal strings, octets that are not UTF-8 as ``text`` types them.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import orjson
from orjson import Fragment

from proxy.audit import Malformed

Json: TypeAlias = str | int | bool | Sequence["Json"] | Mapping[str, "Json"] | Fragment | None
"""What ``encode`` takes: dicts, lists, tuples, scalars, and a ``Fragment`` of bytes that it made before."""

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_DATACLASS
_SCALARS = frozenset({str, int, bool, type(None), Fragment})


def encode(value: Json) -> bytes:
    """The canonical bytes of a value.

    A ``Fragment`` is embedded as it stands: give it only bytes that ``encode`` returned.

    :raises Malformed: for a float, an integer beyond 53 bits, a member name that is not ASCII, a lone
        surrogate, or a type that JSON does not have.
    """
    data = encode_typed(value)
    _refuse_strangers(value)
    return data


def encode_typed(value: Json) -> bytes:
    """As ``encode``, for a value whose members' types are checked where it is built: half the price.

    :raises Malformed: for an integer beyond 53 bits, a lone surrogate, or a type that JSON does not have.
    """
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise Malformed(f"no canonical JSON: {error}") from None


def decode(data: bytes) -> Json:
    """The value of canonical bytes; strictly undoes ``encode``.

    :raises Malformed: if the bytes are not JSON, or not exactly what ``encode`` prints for their value.
    """
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise Malformed("not JSON") from None
    if encode(value) != data:
        raise Malformed("not canonical JSON")
    return value


def text(data: bytes) -> Json:
    """Octets as a JSON value: a string if they are UTF-8, else ``{"base64": ...}``."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def digest(data: bytes) -> dict[str, Json]:
    """What stands in a record for octets too long for it: their SHA-256 (hex) and length in octets."""
    return {"len": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _refuse_strangers(value: object) -> None:
    """Refuse what the encoder prints but the subset lacks (it bounds depth and integers itself)."""
    children: Iterable[object]
    if type(value) in _SCALARS or isinstance(value, str):  # a StrEnum prints as its value
        return
    if isinstance(value, dict):
        if not "".join(value).isascii():
            raise Malformed("no canonical JSON: a member name is not ASCII")
        children = value.values()
    elif isinstance(value, list | tuple):
        children = value
    else:
        raise Malformed(f"no canonical JSON: {type(value).__name__}")
    for child in children:
        if type(child) not in _SCALARS:
            _refuse_strangers(child)
