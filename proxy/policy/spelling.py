"""Names that a lax reader takes for another one: what the upstream might read where we do not.

Several JSON readers compare member names without regard to case (Go's ``encoding/json`` does, and folds
U+017F and U+212A too); PHP reads ``a[]`` as ``a`` and ``a.b`` or ``a b`` as ``a_b``; it and Rails read
``a[b]`` in a form as the member ``b`` of ``a``, which is declared as ``a.b``; C ends a name at a NUL. A name
that only such a reader takes for one that matters is refused, because the two would not see the same call.
"""

import re
from collections.abc import Collection, Iterable

from proxy.errors import Code, Refusal

_ODD = re.compile(r"[\[\].\s]")
_BRACKETS = re.compile(r"[\[\]]+")
_UNDERSCORE = str.maketrans({" ": "_", ".": "_"})


def fold(name: str) -> str:
    """What the laxest reader makes of ``name``; what stands in brackets is a member: ``a[b]`` is ``a_b``."""
    parts = [part.strip().translate(_UNDERSCORE) for part in _BRACKETS.split(name.partition("\0")[0])]
    return "_".join(filter(None, parts)).casefold()


def readings(name: str) -> tuple[str, str]:
    """As ``fold``; and as a list or an object, of which what stands in brackets is a part."""
    return fold(name), fold(name.partition("[")[0])


def lookalike(names: Iterable[str], known: Collection[str]) -> Refusal | None:
    """Refuse the first of ``names`` that is none of ``known`` and yet could be taken for one of them."""
    others = [name for name in names if name not in known]
    if not others:
        return None
    meant = {fold(other): other for other in known}
    # Where only case matters, all are folded at once; a NUL inside a name makes more names, never fewer.
    text = "\0".join(others)
    if _ODD.search(text) is None and meant.keys().isdisjoint(text.casefold().split("\0")):
        return None
    for name in others:
        other = next((meant[one] for one in readings(name) if one in meant), None)
        if other is not None:
            return Refusal(Code.AMBIGUOUS_INPUT, f"{name!r} can be taken for {other!r}; spell it {other!r}")
    return None
