"""The parts of one sidecar, made and joined; started and stopped in the order that they need each other."""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy.broker.remote_pdp import RemotePdp
from proxy.broker.static import StaticBroker
from proxy.control.operations import Health
from proxy.engine.blocked import Blocked
from proxy.engine.caller import Doorman
from proxy.engine.deadlines import Deadlines
from proxy.engine.dial import Dialer, SystemResolver
from proxy.engine.enforce import Enforcer
from proxy.engine.listener import Listener, UnixListener
from proxy.engine.panel import Panel
from proxy.engine.pool import Pool
from proxy.engine.scribe import Scribe
from proxy.engine.server import Server
from proxy.http.address import AllowPrivate
from proxy.identity.arrival import Fixed
from proxy.identity.attribution import Attributor
from proxy.identity.budget import Spending, Spent
from proxy.identity.proof import Trust
from proxy.policy.window import Windows
from proxy.ports import Resolver
from proxy.settings import ControlSettings, Listen, Settings
from proxy.store import unix_socket
from proxy.store.keyring import Keyring
from proxy.store.tasks import TaskBook
from proxy.store.unix_socket import Bound
from proxy.wiring_approvals import ApprovalBook, ApprovalChronicle
from proxy.wiring_approvals import own as own_approvals
from proxy.wiring_budget import Keeper
from proxy.wiring_chronicle import Chronicle
from proxy.wiring_control import Control, Operators, Orders, control_token
from proxy.wiring_desk import make_desk
from proxy.wiring_engine import destinations, judge, leaves, terms
from proxy.wiring_farewell import farewell
from proxy.wiring_identity import Foreign, issuer_keys, trust
from proxy.wiring_parts import SystemClock
from proxy.wiring_reload import Reloader
from proxy.wiring_remote import deciding, remote_pdp
from proxy.wiring_revocation import Consequences
from proxy.wiring_revocation_file import Followed
from proxy.wiring_rules import CurrentAgents, Rulebook, Rules, Source
from proxy.wiring_service_budget import ServiceKeeper
from proxy.wiring_tasks import Office

TASKS = "tasks.sqlite3"


@dataclass(frozen=True, slots=True)
class Given:
    """What a sidecar is made from; see ``Sidecar.start``. ``mark`` is for its ``Chronicle``.

    ``log`` is the directory of its log; ``source`` is where its rules are, to be followed there.
    """

    settings: Settings
    rules: Rules
    state: Path
    keyring: Keyring
    environment: Mapping[str, str]
    alarm: Callable[[str], None]
    context: ssl.SSLContext
    fixed: Mapping[str, Fixed]
    resolver: Resolver | None
    mark: str | None
    log: Path
    source: Source | None


@dataclass(slots=True)
class Parts:
    """Everything that runs beside the log and the task book."""

    given: Given
    server: Server
    enforcer: Enforcer
    scribe: Scribe
    book: TaskBook
    foreign: Foreign
    spending: Spending
    windows: Windows
    approvals: ApprovalBook
    told: ApprovalChronicle
    chronicle: Chronicle
    consequences: Consequences
    rulebook: Rulebook
    remote: RemotePdp | None
    reloader: Reloader | None = None
    control: Control | None = None
    _followed: Followed | None = None
    _keeper: Keeper | None = None
    _services: ServiceKeeper | None = None
    _sockets: list[Bound] = field(default_factory=list)

    async def start(self) -> None:
        """Fetch keys, follow orders, listen: for operators first, so that nobody calls who cannot be stopped.

        :raises OSError: an address cannot be bound, or a file cannot be read.
        :raises ValueError: a file does not hold what it should.
        """
        settings = self.given.settings
        self.spending.restore({task: Spent(*used) for task, used in self.book.spent().items()})
        self._keeper = Keeper(self.book, self.spending, self.given.alarm)
        self.consequences.attach()  # before anything is waited for: whoever revokes waits for our word
        self._services = await ServiceKeeper.start(self.book, self.windows, self.given.alarm)
        await self.chronicle.start()
        await self.told.start()
        if self.reloader is not None:
            await self.reloader.start()
        await self.foreign.start()
        if settings.identity.revocations is not None:
            path = Path(settings.identity.revocations)
            self._followed = Followed(path, self.book, self.consequences, self.given.alarm)
            await self._followed.start()
        if self.control is not None:
            await self.control.start()
        await self.server.listen([self._listener(spec) for spec in settings.listen])

    def _listener(self, spec: Listen) -> Listener | UnixListener:
        fixed = self.given.fixed.get(spec.agent or "")
        if spec.unix is None:
            return Listener(spec.host, spec.port, fixed, self.foreign.tls(spec))
        bound = unix_socket.bind(Path(spec.unix), int(spec.mode, 8))
        self._sockets.append(bound)
        return UnixListener(bound.socket, fixed)

    async def stop(self, seconds: float) -> None:
        """Let what runs finish for ``seconds``, cut the rest, and write down what is left to write."""
        if self.reloader is not None:
            await self.reloader.close()
        if self.control is not None:
            await self.control.close()
        if self._followed is not None:
            await self._followed.close()
        await self.server.drain(seconds)
        for bound in self._sockets:
            unix_socket.remove(bound)
        await self.foreign.close()
        await self.consequences.settled()
        await self.chronicle.close()
        await self.told.close()
        self.scribe.note("shutdown", {})
        await self.enforcer.settled()
        if self._keeper is not None:
            await self._keeper.close()
        if self._services is not None:
            await self._services.close()
        if self.remote is not None:
            await self.remote.close()
        await self.approvals.close()


def assemble(
    given: Given, clock: SystemClock, scribe: Scribe, book: TaskBook, approvals: ApprovalBook
) -> Parts:
    """Make and join the parts; nothing runs yet."""
    settings, rulebook, alarm = given.settings, Rulebook(given.rules), given.alarm
    loop = asyncio.get_running_loop()
    allowed = [AllowPrivate(rule.host, rule.cidr, rule.port) for rule in settings.upstream.allow_private]
    resolver = given.resolver or SystemResolver(settings.upstream.hosts)
    parts: list[Parts] = []  # filled once they exist: dialler and judge ask them which addresses are ours

    def own() -> frozenset[tuple[str, int]]:
        if not parts:
            return frozenset()
        return parts[0].server.own() | (parts[0].control.own() if parts[0].control else frozenset())

    def heard(kind: str, body: Mapping[str, object]) -> None:
        scribe.note(
            kind,
            {
                name: [str(one) for one in value] if isinstance(value, list) else str(value)
                for name, value in body.items()
            },
        )
        foreign.keys_changed(str(body["issuer"]))

    keys = issuer_keys(settings.identity, resolver, given.context, allowed, alarm, heard)
    foreign = Foreign(given.keyring, keys, settings.identity, alarm, clock)
    believed = trust(settings.identity, given.keyring, keys)
    attributor = Attributor(
        believed,
        CurrentAgents(rulebook),
        book,
        standing={agent: fixed.task for agent, fixed in given.fixed.items() if fixed.task},
        revocations=lambda: book.revocations,
    )
    spending, windows, blocked = Spending(), Windows(), Blocked()
    remote = remote_pdp(settings.policy, rulebook, given.context, alarm)
    judging = judge(
        settings,
        rulebook,
        deciding(rulebook, remote),
        Doorman(attributor, keys, book, clock),
        Panel(spending, windows, remote),
        book,
        approvals,
        destinations(settings, rulebook, allowed, own),
        clock,
    )
    credentials = StaticBroker(given.environment, mono_ns=clock.mono_ns)
    enforcer = Enforcer(
        judge=judging,
        scribe=scribe,
        clock=clock,
        credentials=credentials,
        blocked=blocked,
        correlation=settings.correlation_header,
    )
    deadlines = Deadlines(loop.time)
    dialer = Dialer(resolver, given.context, deadlines, allowed, settings.upstream.connect_timeout, own)
    pool = Pool(dialer, settings.upstream.pool_size, settings.upstream.pool_idle, loop.time)

    def office() -> Office:
        rules, depth = rulebook.current, settings.identity.delegation_depth
        return Office(given.keyring, rules.registry, rules.services, os.urandom, depth)

    desk = make_desk(
        office,
        judging,
        book,
        spending,
        blocked,
        windows,
        lambda principal: own_approvals(approvals, principal),
    )
    server = Server(
        terms(settings, enforcer, desk, pool, leaves(given.keyring, allowed), clock, loop.time),
        deadlines,
        settings.limits.connections,
        alarm,
    )
    book.on_end(lambda task: approvals.task_over(task.id))
    chronicle = Chronicle(book, scribe, alarm, given.mark)
    consequences = Consequences(server, pool, credentials, chronicle, book, alarm)
    told = ApprovalChronicle(approvals, scribe, alarm, given.mark)
    made = Parts(
        given, server, enforcer, scribe, book, foreign, spending, windows, approvals, told, chronicle,
        consequences, rulebook, remote,
    )  # fmt: skip
    rulebook.on_change(farewell(server, pool))
    if given.source is not None and given.rules.ruleset is not None:
        made.reloader = Reloader(
            rulebook, given.source, given.log, scribe.note, alarm, settings.policy.reload
        )
    if settings.control.address is not None:
        made.control = _control(made, settings.control, office, believed)
    parts.append(made)
    return made


def _control(
    parts: Parts, settings: ControlSettings, office: Callable[[], Office], believed: Trust
) -> Control:
    given, book = parts.given, parts.book

    def health() -> Health:
        ready = book.fault is None and not parts.scribe.down
        facts = {"listening": parts.server.places, "tasks": book.fault or "ok"}
        return Health(ready, facts | {"log": "failed" if parts.scribe.down else "ok"})

    orders = Orders(given.state / TASKS, book, office, parts.consequences, parts.spending, health)
    token = control_token(given.state, os.urandom)
    operators = Operators(
        settings,
        token,
        believed,
        parts.foreign.keys,
        lambda: book.revocations,
        lambda: office().registry,
    )
    assert settings.address is not None, "there is a control API only where it has an address"
    host, _, port = settings.address.rpartition(":")
    return Control((host.strip("[]"), int(port)), orders, operators, given.alarm)
