"""Requests that somebody has tampered with: what evasion is made of, put where it might help.

As in ``spellings``, ``dice`` decides everything.
"""

import json
import re
from collections.abc import Callable, Sequence
from random import Random

from tests.policy.shipped_calls import FORM, JSON, Made

_TARGET = [
    *(
        "/",
        "//",
        ".",
        "..",
        "/./",
        "/../",
        "/..;/",
        ";",
        ";x=1",
        "%2e",
        "%2E%2e",
        "/%2e%2e/",
        "%2f",
        "%2F..%2f",
        "%5c",
    ),
    *(
        "\\",
        "%00",
        "%0d%0a",
        "%20",
        "+",
        "%09",
        "?",
        "%3f",
        "%3F",
        "#",
        "%23",
        "&",
        "=",
        "%",
        "%25",
        "%252e",
        "%252F",
    ),
    *(
        "%c0%ae",
        "%ff",
        "%C3%A9",
        "é",
        ":",
        "@",
        "%40",
        "*",
        "{",
        "~",
        "%7E",
        "a",
        "Z",
        "0",
        ".json",
        "_method=DELETE",
    ),
    *(
        "?acl",
        "&acl",
        "acl=",
        "&ACL",
        "&policy",
        "&versionId=1",
        "&alt=media",
        "&uploads",
        "&Action=AssumeRole",
        "&a=1",
    ),
]
_NAMED = re.compile(r'"(\w+)":')
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "Post", "PROPFIND", "TRACE"]
_HEADERS = [
    *(("Content-Type", JSON), ("Content-Type", FORM), ("Content-Type", "text/plain"), ("Content-Type", "")),
    *(
        ("Host", "api.github.com"),
        ("Host", "pypi.org"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Method", "x"),
    ),
    *(
        ("Content-Encoding", "gzip"),
        ("Transfer-Encoding", "chunked"),
    ),
    *(
        ("X-Amz-Target", "DynamoDB_20120810.DeleteTable"),
        ("Mcp-Method", "tools/list"),
        ("Mcp-Name", "search"),
    ),
    *(
        ("X-Forwarded-Host", "x"),
        ("X-Original-URL", "/admin"),
        ("Connection", "content-type"),
        ("Expect", "x"),
    ),
]
_MEMBERS = [
    *(
        ("method", "tools/list"),
        ("method", "tools/call"),
        ("name", "delete_all"),
        ("name", "search"),
        ("id", 2),
    ),
    *(("params", {"name": "search"}), ("jsonrpc", "2.0"), ("operation", "upload"), ("operation", "download")),
    *(("query", "mutation { deleteRef { id } }"), ("query", "{ viewer { login } }"), ("operationName", "B")),
    *(
        ("variables", {}),
        ("model", "gpt-4o"),
        ("_method", "DELETE"),
        ("arguments", {}),
        ("uri", "x"),
        ("result", 1),
    ),
]
_GRAPHQL = [
    *(
        "mutation B { deleteRef { id } } ",
        "query B { viewer { id } } ",
        "fragment F on Q { deleteRef { id } } ",
    ),
    *(
        " ...F ",
        " deleteRef { id } ",
        " a: deleteRef { id } ",
        "\n",
        "#",
        "\r",
        "{",
        "}",
        " @skip(if: true) ",
        "B ",
    ),
]


def damaged(dice: Random, made: Made, others: Sequence[Made]) -> Made:
    """The request with one to three things changed; ``others`` are requests to take parts of."""
    steps: list[Callable[[Random, Made, Sequence[Made]], Made]] = [
        _target,
        _target,
        _target,
        _part,
        _fields,
        _content,
    ]
    for _ in range(dice.randint(1, 3)):
        made = dice.choice(steps)(dice, made, others)
    return made


def _inserted(dice: Random, text: str, pieces: Sequence[str]) -> str:
    """A piece put in, sometimes instead of what stood there."""
    at, gone = dice.randint(0, len(text)), dice.choice([0, 0, 1, 2])
    return text[:at] + dice.choice(pieces) + text[at + gone :]


def _target(dice: Random, made: Made, others: Sequence[Made]) -> Made:
    path, mark, query = _inserted(dice, made.target, _TARGET).partition("?")
    return made._replace(path=path + (mark if not query else ""), query=query)


def _part(dice: Random, made: Made, others: Sequence[Made]) -> Made:
    """A part of another request, or another method."""
    other = dice.choice([one for one in others if one.origin == made.origin])
    part = dice.choice(["method", "path", "query", "body", "headers", "verb"])
    if part == "verb":
        return made._replace(method=dice.choice(_METHODS))
    return made._replace(**{part: getattr(other, part)})


def _fields(dice: Random, made: Made, others: Sequence[Made]) -> Made:
    fields = [*made.headers]
    fields.insert(dice.randint(0, len(fields)), dice.choice(_HEADERS))
    return made._replace(headers=tuple(fields))


def _content(dice: Random, made: Made, others: Sequence[Made]) -> Made:
    text = (made.body or b"{}").decode("latin-1")
    kind = dice.choice([_twin, _twin, _member, _graphql, _raw, _batch])
    return made._replace(body=kind(dice, text, others).encode("latin-1"))


def _odd(dice: Random, name: str) -> str:
    """The name, or one that some reader takes for it."""
    other = [name.upper(), name.title(), f" {name}", f"{name}[]", name.replace("s", "\u017f")]
    return dice.choice([name, name, name, *other])


def _twin(dice: Random, text: str, others: Sequence[Made]) -> str:
    """A member once more, with what it is in another request."""
    found = [*_NAMED.finditer(text)]
    if not found:
        return f"{text}&Action=AssumeRole"
    match = dice.choice(found)
    values = [one for made in others if (one := _value(made.body, match[1])) is not None]
    member = f"{json.dumps(_odd(dice, match[1]))}: {json.dumps(dice.choice([*values, None]))}, "
    return text[: match.start()] + member + text[match.start() :]


def _value(body: bytes | None, name: str) -> object:
    """What a member of this name is anywhere in a JSON content."""
    if body is None or b"{" not in body:
        return None
    todo = [json.loads(body)]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            if name in value:
                return value[name]
            todo += value.values()
    return None


def _member(dice: Random, text: str, others: Sequence[Made]) -> str:
    name, value = dice.choice(_MEMBERS)
    places = [at + 1 for at, letter in enumerate(text) if letter == "{"] or [0]
    at = dice.choice([*places, len(text) - 1])
    member = f"{json.dumps(_odd(dice, name))}: {json.dumps(value)}"
    return text[:at] + dice.choice([f"{member},", f", {member}"]) + text[at:]


def _graphql(dice: Random, text: str, others: Sequence[Made]) -> str:
    return _inserted(dice, text, [json.dumps(piece)[1:-1] for piece in _GRAPHQL])


def _raw(dice: Random, text: str, others: Sequence[Made]) -> str:
    return _inserted(dice, text, ["{", "}", "[", "]", ",", '"', "null", "\xef\xbb\xbf", "0", "&"])


def _batch(dice: Random, text: str, others: Sequence[Made]) -> str:
    return dice.choice([f"[{text}]", f"[{text}, {text}]", f"{text}{text}", f"{text}\n"])
