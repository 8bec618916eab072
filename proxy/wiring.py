"""Where the parts meet: from settings, rules and a state directory to a running sidecar.

The only module besides ``cli`` that may import every part. It adds no behaviour of its own; what it
decides is which part gets which other one.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from proxy.audit.record import ulid
from proxy.audit.trace import unfinished
from proxy.broker.static import StaticBroker
from proxy.engine.deadlines import Deadlines
from proxy.engine.destination import Destinations
from proxy.engine.dial import Dialer, SystemResolver
from proxy.engine.enforce import Enforcer
from proxy.engine.front import Terms
from proxy.engine.judge import Fixed, Judge
from proxy.engine.leaf import Mint
from proxy.engine.leaf_cache import LeafCache
from proxy.engine.pool import Pool
from proxy.engine.response import Patience
from proxy.engine.server import Listener, Server
from proxy.http.address import AllowPrivate, name_refusal
from proxy.http.canonical import Host, Origin, parse_host
from proxy.identity.attribution import Attributor
from proxy.ports import Resolver
from proxy.settings import Settings
from proxy.store import bundles
from proxy.store.keyring import Keyring
from proxy.store.log import TiledLog
from proxy.store.reader import since_boot
from proxy.store.tasks import TaskBook
from proxy.wiring_parts import Entropy, SystemClock, log_origin, log_seed, task_event, upstream_context
from proxy.wiring_rules import Rules, load

__all__ = ["TASKS", "Rules", "Sidecar", "load", "log_origin", "task_event"]

TASKS = "tasks.sqlite3"


def _open_log(settings: Settings, directory: Path, origin: str, seed: bytes) -> tuple[TiledLog, list[str]]:
    """The log, started, and the decisions whose outcome was lost in a crash."""
    log = TiledLog.open(
        directory, origin=origin, signer_seed=seed, checkpoint_every=settings.log.checkpoint_every
    )
    lost = unfinished(since_boot(directory)) if log.recovered.unclean else []
    log.start()
    return log, lost


def _destinations(
    settings: Settings,
    rules: Rules,
    allowed: Sequence[AllowPrivate],
    own: Callable[[], frozenset[tuple[str, int]]],
) -> Destinations:
    """Which destinations may be named: the configured ports and the catalogue's; observing, every port."""
    if rules.ruleset is None:
        return Destinations(None, allowed, own, ip_literals=True)
    services = rules.ruleset.catalogue.services
    ports = settings.upstream.ports | {port for service in services for port in service.ports}
    return Destinations(ports, allowed, own, ip_literals=settings.upstream.ip_literals)


def _judge(
    settings: Settings,
    rules: Rules,
    keyring: Keyring,
    book: TaskBook,
    destinations: Destinations,
    clock: SystemClock,
) -> Judge:
    return Judge(
        attributor=Attributor(keyring.verifying_keys, keyring.issuer, keyring.audience, rules.registry, book),
        pdp=rules.pdp,
        tasks=book,
        destinations=destinations,
        clock=clock,
        header_count=settings.limits.header_count,
        header_line=settings.limits.header_line,
        target=settings.limits.target,
        encoded_slash=_encoded_slash(rules),
    )


def _encoded_slash(rules: Rules) -> Callable[[Origin], bool]:
    """Where paths may hold %2F: at services that say so; everywhere while only observing."""
    if rules.ruleset is None:
        return lambda _: True
    catalogue = rules.ruleset.catalogue
    return lambda origin: (service := catalogue.find(origin)) is not None and service.encoded_slash


def _leaves(keyring: Keyring, allowed: Sequence[AllowPrivate]) -> LeafCache:
    def may_sign(name: str) -> bool:
        host = parse_host(f"[{name}]".encode() if ":" in name else name.encode())
        return isinstance(host, Host) and name_refusal(host, allowed) is None

    return LeafCache(
        Mint(keyring.ca_key, keyring.ca_cert, may_sign),
        now=lambda: datetime.now(UTC),
        serial=x509.random_serial_number,
        spill=keyring.spill,
    )


def _terms(
    settings: Settings,
    enforcer: Enforcer,
    pool: Pool,
    leaves: LeafCache,
    clock: SystemClock,
    now: Callable[[], float],
) -> Terms:
    limits, upstream = settings.limits, settings.upstream
    return Terms(
        enforcer=enforcer,
        pool=pool,
        leaves=leaves,
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
    )


class Sidecar:
    """A running sidecar. Made by ``start``, ended by ``drain``."""

    def __init__(
        self, server: Server, enforcer: Enforcer, log: TiledLog, book: TaskBook, settings: Settings
    ) -> None:
        self.server = server
        self.enforcer = enforcer
        self.log = log
        self.book = book
        self._settings = settings

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        return self.server.addresses

    @classmethod
    async def start(
        cls,
        settings: Settings,
        rules: Rules,
        *,
        state: Path,
        keyring: Keyring,
        environment: Mapping[str, str],
        alarm: Callable[[str], None],
        roots: Path | None = None,
        fixed: Mapping[str, Fixed] | None = None,
        log_name: str = "log",
        resolver: Resolver | None = None,
    ) -> "Sidecar":
        """Open the log, recover, load the tasks, listen.

        ``roots`` is a directory of extra roots for upstream TLS; ``fixed`` maps the agents of listeners
        with an identity of their own to it; ``log_name`` is the log's directory under ``state``.

        :raises LogInUse: another sidecar uses this state directory. :raises LogCorrupt: see ``TiledLog``.
        :raises OSError: an address cannot be bound, or a file cannot be read or written.
        """
        clock, entropy, loop = SystemClock(), Entropy(), asyncio.get_running_loop()
        origin, context = log_origin(settings, log_name), upstream_context(roots)
        log, lost = _open_log(settings, state / log_name, origin, log_seed(keyring, log_name))
        try:
            if rules.ruleset is not None:
                bundles.keep(state / log_name, rules.ruleset.sha256, rules.ruleset.bundle)
            book = await TaskBook.open(state / TASKS, now=time.time)
        except BaseException:
            log.close()  # else the next start takes this one for a crash
            raise
        allowed = [AllowPrivate(rule.host, rule.cidr, rule.port) for rule in settings.upstream.allow_private]
        listening: list[
            Server
        ] = []  # filled once it exists: dialler and judge ask it which addresses are ours

        def own() -> frozenset[tuple[str, int]]:
            return listening[0].own() if listening else frozenset()

        destinations = _destinations(settings, rules, allowed, own)
        enforcer = Enforcer(
            judge=_judge(settings, rules, keyring, book, destinations, clock),
            log=log,
            clock=clock,
            entropy=entropy,
            origin=origin,
            boot=ulid(time.time_ns(), entropy(10)),
            credentials=StaticBroker(environment, mono_ns=clock.mono_ns),
            alarm=alarm,
            correlation=settings.correlation_header,
        )
        deadlines = Deadlines(loop.time)
        dialer = Dialer(
            resolver or SystemResolver(settings.upstream.hosts),
            context,
            deadlines,
            allowed,
            settings.upstream.connect_timeout,
            own,
        )
        pool = Pool(dialer, settings.upstream.pool_size, settings.upstream.pool_idle, loop.time)
        server = Server(
            _terms(settings, enforcer, pool, _leaves(keyring, allowed), clock, loop.time),
            deadlines,
            settings.limits.connections,
            alarm,
        )
        listening.append(server)
        book.on_open(lambda task: enforcer.note("task.open", task_event(task)))
        book.on_end(lambda task: enforcer.note("task.end", task_event(task)))
        book.on_end(lambda task: server.end_task(task.id))
        book.on_end(lambda task: pool.drop(task.agent))
        sidecar = cls(server, enforcer, log, book, settings)
        sidecar._announce(rules, lost)
        given = fixed or {}
        try:
            await server.listen(
                [Listener(spec.host, spec.port, given.get(spec.agent or "")) for spec in settings.listen]
            )
        except BaseException:
            await sidecar.drain(0)
            raise
        return sidecar

    def _announce(self, rules: Rules, lost: list[str]) -> None:
        recovery = self.log.recovered
        for decision_id in lost:  # before ``boot``: whoever looks for them starts at the last one
            self.enforcer.note("outcome.unknown", {"decision_id": decision_id})
        self.enforcer.note("boot", {"unclean": recovery.unclean, "dropped_bytes": recovery.dropped_bytes})
        self.enforcer.note(
            "rules.load",
            {
                "ruleset_sha256": rules.ruleset.sha256 if rules.ruleset is not None else None,
                "observing": rules.ruleset is None,
            },
        )

    async def drain(self, seconds: float | None = None) -> None:
        """Stop: no new connections, running exchanges finish up to a deadline, the log is checkpointed."""
        await self.server.drain(self._settings.drain if seconds is None else seconds)
        self.enforcer.note("shutdown", {})
        await self.enforcer.settled()
        await self.book.close()
        await asyncio.to_thread(self.log.close)
