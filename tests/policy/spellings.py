"""The same request, written otherwise (RFC 3986, 6.2.2; RFC 9110, 5 and 7.2; RFC 9112, 3.2; RFC 8259).

``dice`` decides everything: a ``random.Random``, or hypothesis's.
"""

import json
import re
from random import Random
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from proxy.http.canonical import Origin
from tests.policy.shipped_calls import FORM, Made, octets

_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_TOKEN = re.compile(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)
_DETOURS = ["/.", "/%2e", "/zz/..", "/zz/%2E.", "/zz/%2e%2e", "/a/b/../..", "/zz/./.."]
_COMMENT = "# mutation { deleteAll }\n"


class Spelled(NamedTuple):
    """The octets of a head, the content, and where the connection leads (None: it is no tunnel)."""

    head: bytes
    body: bytes | None
    tunnel: Origin | None


def respelled(dice: Random, made: Made) -> Spelled:
    """The request in another spelling that HTTP, and what is spoken over it, say is the same."""
    text = path(dice, made.path) + (f"?{query(dice, made.query)}" if made.query else "")
    origin = made.origin
    tunnel = origin if dice.random() < 0.7 else None
    if tunnel is None or dice.random() < 0.3:
        scheme = "".join(either(dice, letter) for letter in origin.scheme)
        text = f"{scheme}://{authority(dice, origin)}{text}"
    kind = dict(made.headers).get("Content-Type", "")
    body = None if made.body is None else content(dice, made.body, kind)
    again = made._replace(body=body, headers=(*made.headers, ("Accept", "*/*"), ("X-Zq", "zq")))
    return Spelled(headers(dice, octets(again, text, authority(dice, origin))), body, tunnel)


def either(dice: Random, letter: str) -> str:
    """The letter in one of its cases."""
    return letter.upper() if dice.random() < 0.5 else letter.lower()


def authority(dice: Random, origin: Origin) -> str:
    """Host and port: cases, a trailing dot, the default port."""
    name = "".join(either(dice, letter) for letter in origin.host.name)
    dot = dice.choice(["", "", "."])
    usual = origin.port == {"http": 80, "https": 443}[origin.scheme]
    return name + dot + ("" if usual and dice.random() < 0.5 else f":{origin.port}")


def path(dice: Random, text: str) -> str:
    """Percent-encoding, and detours that dot segments take back."""
    segments = (encoded(dice, segment) for segment in text.split("/")[1:])
    return "".join(
        (dice.choice(_DETOURS) if dice.random() < 0.2 else "") + "/" + segment for segment in segments
    )


def encoded(dice: Random, text: str) -> str:
    """Unreserved characters encoded, and triplets in either case."""
    return "".join(_octet(dice, match[0]) for match in _TOKEN.finditer(text))


def _octet(dice: Random, token: str) -> str:
    if len(token) > 1:
        return "".join(either(dice, letter) for letter in token)
    if _UNRESERVED.fullmatch(token) and dice.random() < 0.25:
        return "%" + "".join(either(dice, digit) for digit in f"{ord(token):02x}")
    return token


def query(dice: Random, text: str) -> str:
    """Percent-encoding, pluses, empty pieces, and the order of parameters with different names."""
    pieces = [piece for piece in text.split("&") if piece]
    names = [parse_qsl(piece, keep_blank_values=True)[0][0] for piece in pieces]
    order = sorted(set(names), key=lambda _: dice.random())
    pieces = [piece for name in order for piece, own in zip(pieces, names, strict=True) if own == name]
    spaced = [re.sub(r"\+|%20", lambda _: dice.choice(["+", "%20"]), piece) for piece in pieces]
    made = [encoded(dice, piece) for piece in spaced]
    return dice.choice(["", "&"]) + dice.choice(["&", "&&"]).join(made) + dice.choice(["", "&"])


def headers(dice: Random, head: bytes) -> bytes:
    """The order of fields, the case of their names, and white space before values."""
    first, *lines = head.decode("utf-8").removesuffix("\r\n\r\n").split("\r\n")
    dice.shuffle(lines)
    fields = []
    for line in lines:
        name, _, value = line.partition(":")
        name = "".join(either(dice, letter) for letter in name)
        before = dice.choice(["", " ", "  ", " \t"])  # white space behind a value is refused
        fields.append(f"{name}:{before}{value.strip()}")
    return "\r\n".join([first, *fields, "", ""]).encode("utf-8")


# -- content --


def content(dice: Random, body: bytes, kind: str) -> bytes:
    """JSON or a form, written otherwise; anything else as it is."""
    if kind == FORM:
        return query(dice, body.decode()).strip("&").encode()
    if "json" not in kind:
        return body
    document = json.loads(body)
    if isinstance(document, dict) and isinstance(document.get("query"), str):
        document["query"] = graphql(dice, document["query"])
    return written(dice, document).encode("utf-8")


def written(dice: Random, value: Any) -> str:
    """A JSON value: white space, the order of members, escapes."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda _: dice.random())
        members = [f"{_string(dice, name)}{_blank(dice)}:{written(dice, value[name])}" for name in names]
        text = "{" + ",".join(_blank(dice) + member for member in members) + _blank(dice) + "}"
    elif isinstance(value, list):
        text = "[" + ",".join(written(dice, member) for member in value) + _blank(dice) + "]"
    else:
        text = _string(dice, value) if isinstance(value, str) else json.dumps(value)
    return _blank(dice) + text + _blank(dice)


def _string(dice: Random, text: str) -> str:
    def character(one: str) -> str:
        plain = json.dumps(one, ensure_ascii=False)[1:-1]
        return f"\\u{ord(one):04x}" if ord(one) < 0x10000 and dice.random() < 0.2 else plain

    return '"' + "".join(map(character, text)) + '"'


def _blank(dice: Random) -> str:
    return dice.choice(["", "", " ", "\n", "\t", " \r\n "])


def graphql(dice: Random, text: str) -> str:
    """An alias, a fragment, commas and comments; strings have no braces here."""
    kind, _, rest = text.partition("{")
    selection = rest.rpartition("}")[0].strip()
    selection = dice.choice(["", "a: ", "viewer: "]) + selection
    selection = dice.choice(
        [selection, f"... {{ {selection} }}", f"... @include(if: true) {{ {selection} }}"]
    )
    text = re.sub(" ", lambda _: dice.choice([" ", ",", "\n", " ,\t"]), f"{kind}{{ {selection} }}")
    head, brace, tail = text.partition("{")
    return dice.choice(["", _COMMENT]) + head + brace + dice.choice(["", _COMMENT]) + tail
