"""Ways to prove who is calling, and whom what a peer shows fits.

An entry under ``authenticate`` is a set of facts, and so is what a peer shows; the entry fits if the peer
shows all of its facts. A look-up asks for one fact of each entry, so it costs as much as is shown, not as
much as is registered. Nothing is converted: ``True`` is not 1, and ``"1"`` is not 1.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from proxy.identity.principal import Method

ClaimValue = str | int | bool
Fact = tuple[str, type, ClaimValue]  # its name, the type of its value, its value
_SUBJECT = "sub"


@dataclass(frozen=True, slots=True)
class Way:
    """One entry, or what a peer shows. ``issuer`` is the name of an OIDC issuer, else "".

    An entry without facts fits nothing: sessions and listeners name their agent themselves.
    """

    method: Method
    issuer: str = ""
    facts: frozenset[Fact] = frozenset()


DEFAULT_WAYS = (Way(Method.SESSION), Way(Method.LISTENER))
EXTERNAL = frozenset({Method.OIDC, Method.JWT_SVID, Method.X509_SVID, Method.UNIX})


def token(issuer: str, subject: str | None, claims: Mapping[str, object]) -> Way:
    """A token of the issuer with this name: its subject, and each claim, or each member of a list."""
    return Way(Method.OIDC, issuer, frozenset(_facts(subject, claims)))


def svid(spiffe_id: str, method: Method) -> Way:
    """A SPIFFE ID, proved with ``JWT_SVID`` or ``X509_SVID``."""
    return Way(method, facts=frozenset({_fact("id", spiffe_id)}))


def process(uid: int, executable: str) -> Way:
    """A process of this machine; ``executable`` is "" where it is not known or does not matter."""
    facts = {_fact("uid", uid)} | ({_fact("executable", executable)} if executable else set())
    return Way(Method.UNIX, facts=frozenset(facts))


def _fact(name: str, value: ClaimValue) -> Fact:
    return name, type(value), value


def _facts(subject: str | None, claims: Mapping[str, object]) -> Iterator[Fact]:
    if subject is not None:
        yield _fact(_SUBJECT, subject)
    for name, value in claims.items():
        for member in value if isinstance(value, list) else (value,):
            if name != _SUBJECT and isinstance(member, ClaimValue):
                yield _fact(name, member)


class Ways:
    """Entries of many agents, to be looked up by what a peer shows."""

    __slots__ = ("_entries",)

    def __init__(self, ways: Iterable[tuple[str, Way]]) -> None:
        entries = [(agent, way) for agent, way in ways if way.facts]
        shared = Counter((way.method, way.issuer, fact) for _, way in entries for fact in way.facts)
        self._entries: dict[tuple[Method, str, Fact], list[tuple[frozenset[Fact], str]]] = {}
        for agent, way in entries:
            # kept under the fact that the fewest share, so that few are looked at for each
            key = min(((way.method, way.issuer, fact) for fact in way.facts), key=shared.__getitem__)
            self._entries.setdefault(key, []).append((way.facts, agent))

    def fitting(self, shown: Way) -> tuple[str, ...]:
        """The ids of the agents that have an entry all of whose facts are shown, sorted."""
        found = {
            agent
            for fact in shown.facts
            for facts, agent in self._entries.get((shown.method, shown.issuer, fact), ())
            if facts <= shown.facts
        }
        return tuple(sorted(found))
