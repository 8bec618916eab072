"""Rules for a sidecar: everything under ``rules/`` validated, or the decision to observe without any.

``Rules`` never change; what a running sidecar goes by is in a ``Rulebook``, which is given others in one
assignment on the event loop. Whoever keeps the book sees the new ones with its next question.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from proxy.identity.gaps import unknown_services
from proxy.identity.known import KnownAgents
from proxy.identity.principal import Agent, Method
from proxy.identity.registry import Registry, parse_agents
from proxy.policy.bundle import digest
from proxy.policy.catalogue import Service
from proxy.policy.cedar import RuleSet, load_rules
from proxy.policy.decision import Pdp
from proxy.policy.fact import Protocol
from proxy.policy.manifest import Signed, check_signed
from proxy.policy.observe import observe
from proxy.policy.shadow import ShadowPdp
from proxy.policy.signature import PublicKey, parse_public_key
from proxy.problems import Problem
from proxy.settings import PolicySettings
from proxy.store.rule_files import read_all, read_rules, rules_of

OBSERVER = Agent("observer", "development", "unrated", "", "", "observed without rules")
AGENTS = "agents.yaml"


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything under ``rules/``, validated: ``ruleset`` is None when only observing.

    ``shadow`` is decided too and never enforced. ``content`` is the digest of the files; ``signed`` says
    who has signed them, if that was asked for. ``pdp`` is the decision point that all this makes.
    """

    registry: Registry
    ruleset: RuleSet | None
    shadow: RuleSet | None = None
    content: str = ""
    signed: Signed | None = None
    pdp: Pdp = field(init=False, compare=False, repr=False)
    services: tuple[Service, ...] = field(init=False, compare=False, repr=False)
    ports: frozenset[int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        enforced: Pdp = observe() if self.ruleset is None else self.ruleset
        shadow = self.shadow
        services = () if self.ruleset is None else tuple(self.ruleset.catalogue.services)
        pdp = enforced if shadow is None else ShadowPdp(enforced, shadow, shadow.sha256)
        object.__setattr__(self, "pdp", pdp)
        object.__setattr__(self, "services", services)
        object.__setattr__(self, "ports", frozenset(port for service in services for port in service.ports))


@dataclass(frozen=True, slots=True)
class Source:
    """Where rules come from. ``signer`` must have signed them; those in the shadow need no signature.

    ``issuers`` are the names that ``agents.yaml`` may use when it changes; None is any.
    """

    directory: Path
    shadow: Path | None = None
    signer: PublicKey | None = None
    issuers: frozenset[str] | None = None

    @classmethod
    def of(
        cls, directory: Path, settings: PolicySettings, issuers: Iterable[str] | None = None
    ) -> "Source | Problem":
        """The source that settings describe, or what is wrong with them."""
        signer = None if settings.signer is None else parse_public_key(settings.signer)
        if isinstance(signer, str):
            return Problem("gatepass.yaml", None, f"policy.signer: {signer}")
        if settings.shadow is not None and settings.engine is not None:
            words = (
                "policy.shadow: nothing would be compared, because policy.engine decides; remove one of them"
            )
            return Problem("gatepass.yaml", None, words)
        shadow = None if settings.shadow is None else Path(settings.shadow)
        return cls(directory, shadow, signer, None if issuers is None else frozenset(issuers))


@dataclass(frozen=True, slots=True)
class Files:
    """The files that rules are made of, as read, and who has signed them."""

    rules: Mapping[str, bytes]
    signed: Signed | None

    @property
    def any(self) -> bool:
        """Whether there are rules at all."""
        return any(name.endswith((".cedar", ".yaml")) for name in self.rules)


def read(source: Source) -> Files | list[Problem]:
    """Read the rules that are to be enforced, and check their signature.

    :raises OSError: if a file cannot be read.
    """
    if source.signer is None:
        return Files(read_rules(source.directory), None)
    files = read_all(source.directory)
    signed = check_signed(files, source.signer)
    return signed if isinstance(signed, list) else Files(rules_of(files), signed)


def load(files: Mapping[str, bytes] | None, signed: Signed | None = None) -> Rules | list[Problem]:
    """Validate the files of ``rules/``; None means that there are no rules, and everything is observed."""
    if files is None:
        return Rules(Registry.of([OBSERVER]), None)
    registry = parse_agents(files.get(AGENTS, b"agents: []\n"), AGENTS)
    ruleset = load_rules(files, registry if isinstance(registry, Registry) else None)
    if isinstance(registry, Registry) and isinstance(ruleset, RuleSet):
        unknown = unknown_services(registry, {service.name for service in ruleset.catalogue.services})
        if unknown:
            return unknown
        _warm(ruleset.catalogue.services)
        return Rules(registry, ruleset, content=digest(files), signed=signed)
    return [
        *(registry if isinstance(registry, list) else []),
        *(ruleset if isinstance(ruleset, list) else []),
    ]


def _warm(services: Iterable[Service]) -> None:
    """Import now what the first call to such a service would have to wait for: reading GraphQL."""
    if any(Protocol.GRAPHQL in service.protocols for service in services):
        import_module("proxy.policy.graphql_acts")


class Rulebook:
    """The rules in force. Use it on the event loop alone."""

    def __init__(self, rules: Rules) -> None:
        self._current = rules
        self._callbacks: list[Callable[[Rules, Rules], None]] = []

    @property
    def current(self) -> Rules:
        """The rules in force. Ask once for what belongs together."""
        return self._current

    def on_change(self, callback: Callable[[Rules, Rules], None]) -> None:
        """Call back with the rules before and after, once others are in force."""
        self._callbacks.append(callback)

    def swap(self, rules: Rules) -> None:
        """Put others in force: from the next question on."""
        before, self._current = self._current, rules
        for callback in self._callbacks:
            callback(before, rules)


class CurrentAgents(KnownAgents):
    """The agents of the rules in force."""

    def __init__(self, book: Rulebook) -> None:
        self._book = book

    def get(self, agent_id: str) -> Agent | None:
        """See ``KnownAgents``."""
        return self._book.current.registry.get(agent_id)

    def may_use(self, agent_id: str, method: Method) -> bool:
        """See ``KnownAgents``."""
        return self._book.current.registry.may_use(agent_id, method)

    def by_token(self, issuer: str, subject: str, claims: Mapping[str, object]) -> tuple[Agent, ...]:
        """See ``KnownAgents``."""
        return self._book.current.registry.by_token(issuer, subject, claims)

    def by_spiffe_id(self, spiffe_id: str, method: Method) -> tuple[Agent, ...]:
        """See ``KnownAgents``."""
        return self._book.current.registry.by_spiffe_id(spiffe_id, method)

    def by_process(self, uid: int, executable: str) -> tuple[Agent, ...]:
        """See ``KnownAgents``."""
        return self._book.current.registry.by_process(uid, executable)


def shown(problems: Iterable[Problem]) -> list[str]:
    """Problems as records and alarms tell them: bounded."""
    return [str(problem)[:_SHOWN] for problem in problems][:_MOST]


_SHOWN, _MOST = 500, 16
