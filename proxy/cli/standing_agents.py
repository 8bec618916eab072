"""Which agents call without a session token, as rules and settings say together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy.cli.config import where
from proxy.identity.principal import Method
from proxy.identity.registry import Registry
from proxy.identity.spiffe import SCHEME
from proxy.identity.ways import Way
from proxy.settings import IdentitySettings, Listen


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent that needs a standing task. ``proxy``: its own plain listener on a fixed port, if any."""

    agent: str
    purpose: str
    proxy: Listen | None


def standing_agents(
    identity: IdentitySettings, registry: Registry, listen: Sequence[Listen]
) -> list[Standing]:
    """The agents of listeners, then those that can prove themselves to what is configured."""
    own: dict[str, list[Listen]] = {}
    for listener in listen:
        if listener.agent is not None:
            own.setdefault(listener.agent, []).append(listener)
    found = [_of_listeners(agent, listeners) for agent, listeners in own.items()]
    for agent in registry:
        methods = sorted({way.method for way in _usable(registry.ways(agent.id), identity, listen)})
        if methods and agent.id not in own:
            found.append(Standing(agent.id, f"authenticates by {', '.join(methods)}", None))
    return found


def _of_listeners(agent: str, listeners: Sequence[Listen]) -> Standing:
    plain = (one for one in listeners if one.unix is None and one.tls is None and one.port != 0)
    return Standing(agent, "listener " + ", ".join(map(where, listeners)), next(plain, None))


def _usable(ways: Sequence[Way], identity: IdentitySettings, listen: Sequence[Listen]) -> Iterator[Way]:
    """Those that somebody can be known by here: what an entry names is configured, too."""
    issuers = {issuer.name for issuer in identity.issuers}
    domains = {domain.name for domain in identity.trust_domains}
    demanded = {listener.tls.trust_domain for listener in listen if listener.tls is not None} & domains
    for way in ways:
        match way.method:
            case Method.OIDC:
                usable = way.issuer in issuers
            case Method.JWT_SVID:
                usable = _trust_domain(way) in domains
            case Method.X509_SVID:
                usable = _trust_domain(way) in demanded
            case Method.UNIX:
                usable = any(listener.unix is not None for listener in listen)
            case _:
                usable = False
        if usable:
            yield way


def _trust_domain(way: Way) -> str:
    """The trust domain of the SPIFFE ID in an entry."""
    ids = (str(value) for name, _, value in way.facts if name == "id")
    return next(ids, "").removeprefix(SCHEME).partition("/")[0]
