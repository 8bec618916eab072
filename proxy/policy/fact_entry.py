"""The fields of a call that an operation declares: conditions (``when``) and facts.

A name in the content is a path: its dots separate nested objects. The name of a query parameter is one
name, dots or not.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from proxy.policy.entry import Model
from proxy.policy.fact import Condition, FactField, FactType, Place

_MAX_NAME = 64
_MAX_DEPTH = 8
_MAX_FIELDS = 64
_FORBIDDEN = frozenset('"\\?*')


def _check(value: str) -> str:
    parts = value.split(".")
    if len(parts) > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    for part in parts:
        if not part or len(part) > _MAX_NAME or not part.isprintable() or _FORBIDDEN & set(part):
            raise ValueError(f"no name of a field: 1 to {_MAX_NAME} printable characters between dots")
    return value


def _check_fact(value: str) -> str:
    if not value.isascii():  # it becomes a name in records, and those are ASCII: sorted alike by everybody
        raise ValueError("the name of a fact is ASCII, because records hold it")
    _check(value.removesuffix("?"))
    return value


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise ValueError("a string, a whole number, true or false, a list of those, or ~ for any value")


def _values(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        return (_scalar(value),)
    if not value:
        raise ValueError("a list of no values is never met")
    return tuple(dict.fromkeys(_scalar(item) for item in value))


def _type(value: object) -> FactType:
    if value in (["string"], "[string]"):
        return FactType.STRINGS
    if value in ("string", "long", "bool"):
        return FactType(str(value))
    raise ValueError("string, long, bool or [string]")


Values = Annotated[tuple[str, ...], BeforeValidator(_values)]
Type = Annotated[FactType, BeforeValidator(_type)]
Conditions = Annotated[
    dict[Annotated[str, AfterValidator(_check)], Values], Field(min_length=1, max_length=_MAX_FIELDS)
]
Facts = Annotated[
    dict[Annotated[str, AfterValidator(_check_fact)], Type], Field(min_length=1, max_length=_MAX_FIELDS)
]


def _path(place: Place, name: str) -> tuple[str, ...]:
    return (name,) if place is Place.QUERY else tuple(name.split("."))


def _distinct(paths: Iterable[tuple[str, ...]]) -> None:
    """No field twice, and none that is an object of others too."""
    known = set()
    for path in paths:
        if path in known:
            raise ValueError(f"{'.'.join(path)} is declared twice")
        known.add(path)
    for path in known:
        for length in range(1, len(path)):
            if path[:length] in known:
                outer = ".".join(path[:length])
                raise ValueError(f"{outer} cannot be a value and hold {'.'.join(path)} too")


class WhenEntry(Model):
    """Conditions: all of them have to hold."""

    query: Conditions | None = None
    body: Conditions | None = None

    @model_validator(mode="after")
    def _some(self) -> "WhenEntry":
        if self.query is None and self.body is None:
            raise ValueError("no condition: name fields under query or body")
        return self

    def conditions(self) -> tuple[Condition, ...]:
        """The conditions, in the order of the file."""
        given = {Place.QUERY: self.query, Place.BODY: self.body}
        return tuple(
            Condition(place, _path(place, name), values)
            for place, fields in given.items()
            for name, values in (fields or {}).items()
        )


def _checked(place: Place) -> Callable[[dict[str, FactType] | None], dict[str, FactType] | None]:
    def check(value: dict[str, FactType] | None) -> dict[str, FactType] | None:
        _distinct(_path(place, name.removesuffix("?")) for name in value or {})
        return value

    return check


class FactsEntry(Model):
    """Fields that rules may read, by where they stand."""

    query: Facts | None = None
    body: Facts | None = None
    input: Facts | None = None

    _query = field_validator("query")(_checked(Place.QUERY))
    _body = field_validator("body")(_checked(Place.BODY))
    _input = field_validator("input")(_checked(Place.INPUT))

    def given(self) -> Mapping[Place, Mapping[str, FactType]]:
        """The places that are used."""
        every = {Place.QUERY: self.query, Place.BODY: self.body, Place.INPUT: self.input}
        return {place: fields for place, fields in every.items() if fields is not None}

    def fields(self) -> tuple[FactField, ...]:
        """The fields, in the order of the file."""
        return tuple(
            FactField(place, _path(place, name.removesuffix("?")), kind, required=not name.endswith("?"))
            for place, fields in self.given().items()
            for name, kind in fields.items()
        )
