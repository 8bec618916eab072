"""I-JSON objects (RFC 7493): UTF-8, no lone surrogates, no NaN, and no name twice in one object.

Of two members with one name, parsers take the first, the last or both; whoever signed the document and
whoever reads it must not differ about what it says (RFC 8725, section 2.4).
"""

import json

import orjson


def parse_object(data: bytes) -> dict[str, object] | None:
    """The object that ``data`` is, or None if it is not exactly one I-JSON object."""
    try:
        document: object = orjson.loads(data)  # strict about text and numbers, silent about repeated names
        json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _unique(members: list[tuple[str, object]]) -> None:
    if len({name for name, _ in members}) != len(members):
        raise ValueError("a name occurs twice in an object")
