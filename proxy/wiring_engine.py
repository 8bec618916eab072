"""The engine's parts, made from settings and rules: who judges, which leaves are minted, what holds."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cryptography import x509

from proxy.engine.caller import Doorman
from proxy.engine.decide import Decider
from proxy.engine.destination import Destinations
from proxy.engine.enforce import Enforcer
from proxy.engine.front import Terms
from proxy.engine.holding import Holding
from proxy.engine.judge import Judge
from proxy.engine.leaf import Mint
from proxy.engine.leaf_cache import LeafCache
from proxy.engine.panel import Panel
from proxy.engine.pool import Pool
from proxy.engine.response import Patience
from proxy.engine.room import HELD, Room
from proxy.http.address import AllowPrivate, name_refusal
from proxy.http.canonical import Host, Origin, parse_host
from proxy.policy.decision import Pdp
from proxy.ports import Approvals, Clock, Desk, Tasks
from proxy.settings import Settings
from proxy.store.keyring import Keyring
from proxy.wiring_rules import Rulebook


def destinations(
    settings: Settings,
    rulebook: Rulebook,
    allowed: Sequence[AllowPrivate],
    own: Callable[[], frozenset[tuple[str, int]]],
) -> Destinations:
    """Which destinations may be named: the configured ports and the catalogue's; observing, every port."""
    if rulebook.current.ruleset is None:
        return Destinations(None, allowed, own, ip_literals=True)
    configured = settings.upstream.ports
    return Destinations(
        lambda: configured | rulebook.current.ports, allowed, own, ip_literals=settings.upstream.ip_literals
    )


def judge(
    settings: Settings,
    rulebook: Rulebook,
    pdp: Callable[[], Pdp],
    doorman: Doorman,
    panel: Panel,
    tasks: Tasks,
    approvals: Approvals,
    allowed_destinations: Destinations,
    clock: Clock,
) -> Judge:
    """The judge of every call. ``pdp`` is what the rules in force make of it."""
    holding = Holding(
        approvals, clock, wait=settings.approvals.wait, link=settings.approvals.link, over=doorman.over
    )
    return Judge(
        doorman=doorman,
        panel=panel,
        decider=Decider(panel, tasks, clock, settings.policy.content, holding),
        rules=pdp,
        destinations=allowed_destinations,
        header_count=settings.limits.header_count,
        header_line=settings.limits.header_line,
        target=settings.limits.target,
        encoded_slash=_encoded_slash(rulebook),
    )


def _encoded_slash(rulebook: Rulebook) -> Callable[[Origin], bool]:
    """Where paths may hold %2F: at services that say so; everywhere while only observing."""

    def may_hold(origin: Origin) -> bool:
        ruleset = rulebook.current.ruleset
        service = None if ruleset is None else ruleset.catalogue.find(origin)
        return ruleset is None or (service is not None and service.encoded_slash)

    return may_hold


def leaves(keyring: Keyring, allowed: Sequence[AllowPrivate]) -> LeafCache:
    """Leaves for intercepted hosts, signed by the sidecar's CA."""

    def may_sign(name: str) -> bool:
        host = parse_host(f"[{name}]".encode() if ":" in name else name.encode())
        return isinstance(host, Host) and name_refusal(host, allowed) is None

    return LeafCache(
        Mint(keyring.ca_key, keyring.ca_cert, may_sign),
        now=lambda: datetime.now(UTC),
        serial=x509.random_serial_number,
        spill=keyring.spill,
    )


def terms(
    settings: Settings,
    enforcer: Enforcer,
    desk: Desk,
    pool: Pool,
    leaf_cache: LeafCache,
    clock: Clock,
    now: Callable[[], float],
) -> Terms:
    """What every connection is held to."""
    limits, upstream = settings.limits, settings.upstream
    return Terms(
        enforcer=enforcer,
        desk=desk,
        pool=pool,
        leaves=leaf_cache,
        clock=clock,
        patience=Patience(
            first_byte=upstream.first_byte_timeout,
            upstream_idle=upstream.idle_timeout,
            downstream_idle=limits.body_timeout,
            head=limits.head,
            header_count=limits.header_count,
            header_line=limits.header_line,
        ),
        head_timeout=limits.head_timeout,
        handshake_timeout=limits.handshake_timeout,
        idle_timeout=limits.idle_timeout,
        connections_per_agent=limits.connections_per_agent,
        now=now,
        room=Room(max(HELD, 2 * settings.policy.content)),
    )
