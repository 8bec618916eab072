"""What the present permits demand beyond agent, operation and scopes, so that suggested ones demand it too.

A log shows that a refund was paid, and not why another one waited. The permit that spoke knows: whatever it
reads of the call (an amount, a model, an approval) is taken over word for word, so a suggested permit never
allows what the present one would not.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

import orjson

from proxy.policy.conditions import parts
from proxy.policy.expression import quoted
from proxy.policy.statement import Policy

Clauses = tuple[str, ...]
_APPROVED = "context.approved"
_SEVERAL = re.compile(r"when \{ context\.task\.scopes\.containsAll\((\[.*\])\) \}")


def clauses(rules: Iterable[str], permits: Mapping[str, Policy]) -> Clauses:
    """The clauses of the one of these rules that demands most, ``when { ... }`` each; () if none is known.

    ``permits`` are the present ones by id. Each of the rules alone has allowed the call.
    """
    known = sorted({rule for rule in rules if rule in permits})
    return max((tuple(_clauses(permits[rule])) for rule in known), key=len, default=())


def beyond(demanded: Clauses, scopes: Collection[str], said: Collection[str]) -> Clauses:
    """The clauses that add something: none about ``scopes`` of the use, nor what is ``said`` anyway."""
    implied = {f"when {{ context.task.scopes.contains({quoted(scope)}) }}" for scope in scopes}
    implied |= {f"when {{ {words} }}" for words in said}
    return tuple(
        clause for clause in dict.fromkeys(demanded) if clause not in implied and not _all_of(clause, scopes)
    )


def _all_of(clause: str, scopes: Collection[str]) -> bool:
    """Whether a clause demands several scopes, all of them among these."""
    found = _SEVERAL.fullmatch(clause)
    try:
        return found is not None and set(orjson.loads(found[1])) <= set(scopes)
    except orjson.JSONDecodeError:
        return False  # Cedar writes some characters otherwise than JSON


def demands_approval(demanded: Clauses) -> bool:
    """Whether approvals are spoken of, so that nothing has to be added about them."""
    return any(_APPROVED in clause for clause in demanded)


def _clauses(permit: Policy) -> Iterator[str]:
    """The conditions in their order, for one may guard the next; the resource is one of them."""
    for part in parts(permit):
        if part.where == "resource":
            yield f"when {{ {part.text} }}"
        elif part.where in ("when", "unless"):
            yield part.words
