"""The parameters of a query, where everybody reads the same ones (RFC 3986, 3.4; WHATWG URL, 5).

Refused besides what does not decode: a parameter that makes an API see another method than the one that was
decided (Rails, Laravel, Symfony, Salesforce, ASP.NET), under whatever name a lax reader takes for it; and at
a service of the catalogue a raw semicolon, which some servers read as ``&``: what is behind it is a parameter
to them and part of a value to others. The names in OVERRIDES themselves a built-in rule forbids.

Decided: at a host in no service a semicolon stays, because nothing there is read of a query but its names;
what would be an override behind it is refused all the same.
"""

from collections.abc import Iterable

from proxy.errors import Code, Refusal
from proxy.http.canonical import query_pairs
from proxy.policy.catalogue import Service
from proxy.policy.media import Pairs
from proxy.policy.spelling import readings

OVERRIDES = ("_method", "X-HTTP-Method-Override", "x-http-method-override")
"""Names that the built-in rule ``gatepass.method_override`` knows."""
_FOLDED = frozenset(
    {"_method", "_httpmethod", "x_http_method_override", "x_http_method", "x_method_override"}
)


def parameters(query: str | None, service: Service | None) -> Pairs | Refusal:
    """The names and values of a query of a call to ``service`` (None: to a host that is in none)."""
    pairs = query_pairs(query)
    if isinstance(pairs, Refusal) or query is None or not pairs:
        return pairs
    known = {name for name, _ in pairs}
    hidden = method_override(known.difference(OVERRIDES))
    if hidden is None and ";" in query:
        if service is not None:
            why = "the query has a semicolon, which some servers read as &; write %3B, or & to separate"
            return Refusal(Code.AMBIGUOUS_INPUT, why)
        split = query_pairs(query.replace(";", "&"))
        assert not isinstance(split, Refusal), "it decodes with semicolons, so it does without"
        hidden = method_override({name for name, _ in split} - known)
    return hidden or pairs


def method_override(names: Iterable[str]) -> Refusal | None:
    """Refuse the first of the names of parameters or members that asks for another method."""
    for name in names:
        if any(one.replace("-", "_") in _FOLDED for one in readings(name)):
            why = f"{name!r} hides what the call does; send the method itself"
            return Refusal(Code.AMBIGUOUS_INPUT, why)
    return None
