"""The ``act`` claim: who acts for whom, and who did before (RFC 8693, section 4.1).

For the audit alone. The issuer worked the rights of a token out when it issued it, from the actors it
saw; RFC 8693 says that prior actors "are informational only" and "are not to be considered in access
control decisions". An actor that could add a right would make every token that is relayed worth more
than the one it came from. So nothing that decides may take what is returned here.
"""

from collections.abc import Mapping
from typing import TypeGuard

from proxy.identity.claims import MAX_NAME
from proxy.identity.principal import Actor

MAX_DEPTH = 16


def actors(claims: Mapping[str, object]) -> tuple[Actor, ...] | None:
    """The actors that a token names, the present one first; empty without ``act``, None if malformed.

    An actor has a ``sub`` and perhaps an ``iss``; whatever else the claim says is not about who it is.
    Never a right: see the top of this file.
    """
    found: list[Actor] = []
    level: Mapping[str, object] = claims
    while "act" in level:
        act = level["act"]
        if not isinstance(act, dict) or len(found) == MAX_DEPTH:
            return None
        subject, issuer = act.get("sub"), act.get("iss")
        if not is_name(subject) or not (issuer is None or is_name(issuer)):
            return None
        found.append(Actor(subject, issuer))
        level = act
    return tuple(found)


def is_name(value: object) -> TypeGuard[str]:
    """Whether ``value`` can name someone: printable characters, one to ``MAX_NAME`` of them."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()
