"""The shape of JSON: names and types without values. Whether a document fits a schema depends on it alone.

Cedar takes a quarter of a decision to check a context by the schema. Ours says which members there are and of
which type, never which values; so of two contexts of one shape both fit, or neither does. Lists are of one
type: how long they are makes no difference, but for the empty one, which fits any.
"""

from collections.abc import Hashable

import orjson

_ESCAPES = frozenset({"__entity", "__expr", "__extn"})  # names that are no member in Cedar's JSON


class _Escaped(Exception):
    """An object means more than it says."""


def shape(document: bytes) -> Hashable | None:
    """The shape of a JSON document; None if it may mean more in Cedar's JSON than it says.

    :raises ValueError: if it is no JSON.
    """
    try:
        return _shape(orjson.loads(document))
    except _Escaped:
        return None


def _shape(value: object) -> Hashable:
    if isinstance(value, dict):
        if not _ESCAPES.isdisjoint(value):
            raise _Escaped
        return tuple([(name, _shape(member)) for name, member in value.items()])
    if isinstance(value, list):
        return frozenset([_shape(member) for member in value])
    return type(value).__name__
